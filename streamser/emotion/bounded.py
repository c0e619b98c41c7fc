"""The light half of a model that others bring: it may raise, hang, or say what is no reading."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from queue import SimpleQueue
from typing import Any, Final, TypeVar

from streamser.emotion.model import EmotionModel, Features, Prediction, Segment, SpeakerModel
from streamser.errors import ModelError, StreamserError
from streamser.taxonomy import CATEGORIES, DIMENSIONS, UNSURE, Dimensions

T = TypeVar("T")

_MODALITIES: Final = frozenset({"audio", "text"})
_MOST_EVIDENCE: Final = 64
_STATE_BYTES: Final = 2**20
"""Of a speaker; a server remembers some hundreds for each meeting."""

_PATIENCE_S: Final = 3.0
"""How long a call may take. Everybody's events wait for it, and it is meant to take none."""
_TOLERANCE: Final = 1e-3
"""Of the sum of scores, which models round as they like."""


class BoundedModel:
    """Be a plug-in's model, with speaker models that cannot keep those who ask them."""

    def __init__(self, model: EmotionModel, method: str = "extract") -> None:
        self._model = model
        self._method = method
        self.name = model.name
        self.modalities = model.modalities

    def extract(self, batch: Sequence[Segment]) -> list[Features]:
        """Measure a batch; the worker that asks has a deadline of its own.

        Raises ``ModelError`` for whatever the plug-in's ``method`` raises, and where it does not
        return a list of as many features as clips.
        """
        try:
            found: Any = self._model.extract(batch)
            features = list(found) if isinstance(found, Iterable) else None
        except StreamserError:
            raise
        except (Exception, SystemExit) as error:
            raise _fault(self.name, self._method, error) from error
        if features is None:
            made = type(found).__name__
            raise ModelError(f"{self.name}: {self._method}() returned {made}, not a list")
        if len(features) != len(batch):
            raise ModelError(
                f"{self.name}: {self._method}() returned a list of {len(features)} for"
                f" {len(batch)} clips: one a clip, in order"
            )
        return features

    def forget(self, session_id: str) -> None:
        """Drop what is kept of a session that has ended."""
        self._model.forget(session_id)

    def new_speaker(self) -> BoundedSpeaker:
        """Return one for a new session; raises ``ModelError`` where none can be made."""
        try:
            return BoundedSpeaker(self._model.new_speaker(), self.name)
        except (Exception, SystemExit) as error:
            raise _fault(self.name, "new_speaker", error) from error


class BoundedSpeaker:
    """Ask a plug-in's speaker model on a thread of its own, and wait for an answer so long at most.

    Raises ``ModelError`` for whatever it raises, for a reading that is none, and after
    ``patience_s`` without an answer. One that has not answered is asked nothing any more: what it
    knows by then is anybody's guess. It crosses to another process as the model that it asks.
    """

    def __init__(self, speaker: SpeakerModel, name: str, patience_s: float = _PATIENCE_S) -> None:
        self._speaker = speaker
        self._name = name
        self._patience_s = patience_s
        self._calls: SimpleQueue[Callable[[], None] | None] | None = None
        self._stuck: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the thread behind."""
        return BoundedSpeaker, (self._speaker, self._name, self._patience_s)

    def predict(self, features: Features) -> Prediction:
        """Judge features against what was learnt so far."""
        reading = self._ask("predict", lambda: self._speaker.predict(features))
        return plain_reading(reading, self._name)

    def adapt(self, features: Features) -> None:
        """Take a finished utterance into the speaker's baseline."""
        self._ask("adapt", lambda: self._speaker.adapt(features))

    def snapshot(self) -> bytes:
        """Return what was learnt."""
        state = self._ask("snapshot", self._speaker.snapshot)
        if not isinstance(state, bytes):
            raise ModelError(f"{self._name}: snapshot() returned {type(state).__name__}, not bytes")
        if len(state) > _STATE_BYTES:
            raise ModelError(
                f"{self._name}: snapshot() returned {len(state)} bytes: some kB at most"
            )
        return state

    def restore(self, state: bytes) -> None:
        """Go on from what ``snapshot`` returned."""
        self._ask("restore", lambda: self._speaker.restore(state))

    def reset(self) -> None:
        """Forget the speaker."""
        self._ask("reset", self._speaker.reset)

    def _ask(self, what: str, call: Callable[[], T]) -> T:
        if self._stuck is not None:
            raise ModelError(f"{self._name}: {self._stuck}() has never returned, it is not asked")
        if self._calls is None:
            self._calls = _serve_calls(self, f"speaker model of {self._name}")
        answer: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()

        def answered() -> None:
            try:
                answer.put((call(), None))
            # Another's code: it may even ask for the program's end, which is not for it to say.
            except BaseException as error:
                answer.put((None, error))

        self._calls.put(answered)
        try:
            result, error = answer.get(timeout=self._patience_s)
        except Exception:
            self._stuck = what
            why = f"{self._name}: {what}() has not returned within {self._patience_s:g} s"
            raise ModelError(why) from None
        if error is not None:
            raise _fault(self._name, what, error) from error
        return result  # type: ignore[return-value]


def plain_reading(reading: Any, name: str) -> Prediction:
    """Return a model's reading in plain types, as events are written in; numpy's numbers are fine.

    Raises ``ModelError`` for what a model calls a reading, and is none: scores are those of all
    categories, in [0, 1], with the sum 1; the rest is finite; evidence are 64 numbers at most.
    """
    if not isinstance(reading, Prediction):
        raise ModelError(f"{name}: predict() returned {type(reading).__name__}, not a Prediction")
    scores = reading.scores
    if not isinstance(scores, dict) or set(scores) != set(CATEGORIES):
        raise ModelError(f"{name}: scores must be those of {', '.join(CATEGORIES)}")
    fine = all(_within(score, 0.0, 1.0) for score in scores.values())
    if not fine or abs(sum(scores.values()) - 1.0) > _TOLERANCE:
        raise ModelError(f"{name}: scores must be within 0 and 1, with the sum 1")
    if reading.category not in (*CATEGORIES, UNSURE):
        raise ModelError(f"{name}: there is no category {str(reading.category)[:40]!r}")
    if not (_within(reading.confidence, 0.0, 1.0) and _within(reading.uncertainty, 0.0, 1.0)):
        raise ModelError(f"{name}: confidence and uncertainty must be within 0 and 1")
    dimensions = reading.dimensions
    if not isinstance(dimensions, Dimensions):
        raise ModelError(f"{name}: dimensions must be Dimensions")
    values = [getattr(dimensions, each) for each in DIMENSIONS]
    if not all(value is None or _within(value, -math.inf, math.inf) for value in values):
        raise ModelError(f"{name}: dimensions must be numbers, or None")
    used, evidence = reading.modalities, reading.evidence
    if not isinstance(used, tuple | list) or not set(used) <= _MODALITIES:
        raise ModelError(f"{name}: modalities are 'audio' and 'text', in a tuple")
    if not isinstance(evidence, dict) or len(evidence) > _MOST_EVIDENCE:
        raise ModelError(f"{name}: evidence are {_MOST_EVIDENCE} numbers at most, by their names")
    if not all(
        isinstance(key, str) and key.isprintable() and _within(value, -math.inf, math.inf)
        for key, value in evidence.items()
    ):
        raise ModelError(f"{name}: evidence must be finite numbers, by names that can be printed")
    plain = (None if value is None else float(value) for value in values)
    return Prediction(
        category=next(each for each in (*CATEGORIES, UNSURE) if each == reading.category),
        confidence=float(reading.confidence),
        scores={each: float(scores[each]) for each in CATEGORIES},
        dimensions=Dimensions(**dict(zip(DIMENSIONS, plain, strict=True))),
        uncertainty=float(reading.uncertainty),
        modalities=tuple(each for each in ("audio", "text") if each in used),
        evidence={str(key): float(value) for key, value in evidence.items()},
    )


def _within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, Real) and math.isfinite(value) and low <= float(value) <= high


def _serve_calls(owner: BoundedSpeaker, name: str) -> SimpleQueue[Callable[[], None] | None]:
    """Make calls on a thread of their own, for as long as there is the one who asks."""
    calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def serve() -> None:
        while (call := calls.get()) is not None:
            call()
            # It would keep the owner until the next one comes.
            del call

    threading.Thread(target=serve, name=name, daemon=True).start()
    weakref.finalize(owner, calls.put, None)
    return calls


def _fault(name: str, what: str, error: BaseException) -> ModelError:
    if isinstance(error, ModelError):
        return error
    line = str(error).strip().partition("\n")[0]
    reason = f"{type(error).__name__}: {line}" if line else type(error).__name__
    # Whoever runs batches halves one that ran out of memory, and knows it by these words.
    if isinstance(error, MemoryError) or "out of memory" in line.lower():
        return ModelError(f"{name}: {what}() ran out of memory ({reason})", code="out_of_memory")
    return ModelError(f"{name}: {what}() failed ({reason})")
