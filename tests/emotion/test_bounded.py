"""What a plug-in's listener does harms nobody: it may raise, hang, or answer nonsense."""

from __future__ import annotations

import gc
import pickle
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from streamser.emotion.model import BoundedModel, BoundedSpeaker, Prediction
from streamser.errors import ModelError
from streamser.taxonomy import Dimensions

GOOD = Prediction(
    category="happy",
    confidence=0.7,
    scores={"neutral": 0.1, "happy": 0.7, "sad": 0.1, "angry": 0.1},
    dimensions=Dimensions(valence=0.5),
    uncertainty=0.5,
    modalities=("audio",),
)


class Doing:
    """A listener that does in every method what it is told to."""

    def __init__(self, do: Callable[[], Any]) -> None:
        self._do = do

    def predict(self, finding: float) -> Any:
        return self._do()

    def adapt(self, finding: float) -> Any:
        return self._do()

    def snapshot(self) -> Any:
        return self._do()

    def restore(self, state: bytes) -> Any:
        return self._do()

    def reset(self) -> Any:
        return self._do()


class Counting:
    """A listener that crosses to other processes, and counts what it learnt."""

    def __init__(self) -> None:
        self.learnt = 0

    def predict(self, finding: float) -> Prediction:
        return GOOD

    def adapt(self, finding: float) -> None:
        self.learnt += 1

    def snapshot(self) -> bytes:
        return str(self.learnt).encode()

    def restore(self, state: bytes) -> None:
        self.learnt = int(state)

    def reset(self) -> None:
        self.learnt = 0


CALLS: dict[str, Callable[[BoundedSpeaker], Any]] = {
    "predict": lambda listener: listener.predict(0.0),
    "adapt": lambda listener: listener.adapt(0.0),
    "snapshot": lambda listener: listener.snapshot(),
    "restore": lambda listener: listener.restore(b"1"),
    "reset": lambda listener: listener.reset(),
}


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Let what hangs go on once the test is over."""
    event = threading.Event()
    yield event
    event.set()


def fail(error: BaseException) -> Callable[[], Any]:
    """Make something that raises."""

    def do() -> Any:
        raise error

    return do


def test_a_good_listener_is_what_it_was() -> None:
    """Its answers pass, and what it has learnt stays with it."""
    listener = BoundedSpeaker(Counting(), "fine")
    assert listener.predict(0.0) == GOOD
    listener.adapt(0.0)
    listener.adapt(0.0)
    assert listener.snapshot() == b"2"
    listener.restore(b"5")
    assert listener.snapshot() == b"5"
    listener.reset()
    assert listener.snapshot() == b"0"


def test_a_listener_crosses_to_another_process_with_what_it_knows() -> None:
    """Also after it was asked; its thread stays behind."""
    listener = BoundedSpeaker(Counting(), "fine")
    listener.adapt(0.0)
    assert pickle.loads(pickle.dumps(listener)).snapshot() == b"1"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("error", [KeyError("no voice"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_listener_raises_is_a_fault_of_the_model(name: str, error: BaseException) -> None:
    """It ends neither the thread that asks nor the program, and the next call is made."""
    listener = BoundedSpeaker(Doing(fail(error)), "evil")
    for _ in range(2):
        with pytest.raises(ModelError, match=rf"^evil: {name}\(\) failed"):
            CALLS[name](listener)


@pytest.mark.parametrize("name", CALLS)
def test_a_listener_that_hangs_is_given_up(name: str, gate: threading.Event) -> None:
    """Once it has not answered in time it is asked nothing any more."""
    listener = BoundedSpeaker(Doing(gate.wait), "evil", patience_s=0.02)
    with pytest.raises(ModelError, match=rf"{name}\(\) has not returned within 0.02 s"):
        CALLS[name](listener)
    with pytest.raises(ModelError, match=rf"{name}\(\) has never returned"):
        listener.adapt(0.0)


def test_the_thread_ends_with_the_listener() -> None:
    """A server makes a listener for every stream."""
    listener = BoundedSpeaker(Counting(), "passing")
    listener.adapt(0.0)
    (thread,) = [each for each in threading.enumerate() if each.name == "speaker model of passing"]
    del listener
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("reading", "what"),
    [
        (None, "returned NoneType"),
        (msgspec.structs.replace(GOOD, scores={"happy": 1.0}), "scores must be those of"),
        (
            msgspec.structs.replace(GOOD, scores={**GOOD.scores, "happy": float("nan")}),
            "within 0 and 1",
        ),
        (msgspec.structs.replace(GOOD, scores=dict.fromkeys(GOOD.scores, 0.7)), "the sum 1"),
        (msgspec.structs.replace(GOOD, category="bored"), "no category 'bored'"),
        (msgspec.structs.replace(GOOD, confidence=float("inf")), "confidence"),
        (msgspec.structs.replace(GOOD, confidence="high"), "confidence"),
        (msgspec.structs.replace(GOOD, dimensions=None), "Dimensions"),
        (msgspec.structs.replace(GOOD, dimensions=Dimensions(float("nan"))), "dimensions"),
        (msgspec.structs.replace(GOOD, modalities=None), "modalities"),
        (msgspec.structs.replace(GOOD, modalities=("smell",)), "modalities"),
        (msgspec.structs.replace(GOOD, evidence={"x": object()}), "evidence"),
        (msgspec.structs.replace(GOOD, evidence={"x": float("nan")}), "evidence"),
        (msgspec.structs.replace(GOOD, evidence={"\ud800": 1.0}), "evidence"),
        (msgspec.structs.replace(GOOD, evidence={f"k{n}": 1.0 for n in range(65)}), "64"),
    ],
)
def test_what_is_no_reading_is_refused(reading: Any, what: str) -> None:
    """NaN would be told as null, and break who reads it."""
    with pytest.raises(ModelError, match=what):
        BoundedSpeaker(Doing(lambda: reading), "evil").predict(0.0)


def test_a_reading_is_told_in_plain_types() -> None:
    """Numbers of numpy and kinds of str are what models make, and no event can be written of."""

    class Name(str):
        __slots__ = ()

    half: Any = np.float32(0.5)
    reading = msgspec.structs.replace(
        GOOD,
        category=Name("happy"),
        confidence=np.float64(0.75),
        scores={Name(each): np.float32(value) for each, value in GOOD.scores.items()},
        dimensions=Dimensions(valence=half),
        uncertainty=half,
        modalities=["audio"],
        evidence={Name("loud"): np.int64(3)},
    )
    told = BoundedSpeaker(Doing(lambda: reading), "numeric").predict(0.0)
    again = msgspec.json.decode(msgspec.json.encode(told), type=Prediction)
    assert again == told
    assert (told.confidence, told.dimensions, told.evidence) == (
        0.75,
        Dimensions(valence=0.5),
        {"loud": 3.0},
    )
    assert told.scores == pytest.approx(GOOD.scores)


def test_a_snapshot_without_bound_is_refused() -> None:
    """A server remembers those of hundreds."""
    with pytest.raises(ModelError, match="some kB at most"):
        BoundedSpeaker(Doing(lambda: bytes(2**21)), "evil").snapshot()


def test_a_snapshot_that_is_none_is_refused() -> None:
    """It would be kept, and given to the next session."""
    with pytest.raises(ModelError, match=r"snapshot\(\) returned str"):
        BoundedSpeaker(Doing(lambda: "state"), "evil").snapshot()


def test_a_model_that_makes_no_listener_says_so() -> None:
    """As a fault of the model, whatever it raised."""

    class Barren:
        name = "barren"
        modalities: tuple[str, ...] = ("audio",)

        def extract(self, batch: Any) -> list[Any]:
            return [None] * len(batch)

        def forget(self, session_id: str) -> None:
            return

        def new_speaker(self) -> Any:
            raise SystemExit(1)

    with pytest.raises(ModelError, match=r"barren: new_speaker\(\) failed \(SystemExit: 1\)"):
        BoundedModel(Barren()).new_speaker()
