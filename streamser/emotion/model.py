"""What every emotion model looks like from outside, and what of others is taken.

A model has two halves. ``extract`` is heavy and batched: it runs on the device thread, sees
one segment at a time, and finds the same whatever it was asked before. A ``SpeakerModel`` is light
and belongs to one session: it predicts in the light of what that speaker sounded like before.
So results do not depend on which sessions shared a batch, and a session's events do not depend
on timing.

A ``Predictor`` is a model of one method: what it says of a clip does not depend on who spoke
before. The light half of a model that others bring may raise, hang, or say what is no reading:
``BoundedModel``.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from queue import SimpleQueue
from typing import Any, Final, Protocol, TypeVar

import msgspec

from streamser.audio.clip import Samples
from streamser.errors import ModelError, StreamserError
from streamser.taxonomy import CATEGORIES, DIMENSIONS, UNSURE, Dimensions

DAMAGED_STATE: Final = "the state of a speaker is damaged, or of another model: start without it"


class Place(msgspec.Struct, frozen=True):
    """Say where a clip is from: sound of one session and utterance is one and the same sound.

    ``start`` is the absolute sample with which the clip begins. A ``growing`` one will be
    followed by more of the utterance: what a model finds may leave out the newest of it.
    """

    session_id: str
    utterance: int
    start: int
    growing: bool = False


class Segment(msgspec.Struct, frozen=True, eq=False):
    """Hold what a model is asked about: sound, and its words where there are any to trust.

    With a ``place``, a model may keep what it has worked out for the next clip of the same
    utterance; what it finds does not depend on what is kept. ``certainty`` is how sure the
    recogniser is of the words, in [0, 1], ``None`` where it does not say: a model may let them
    count less. ``waited_s`` is how long somebody has waited for the answer before it was asked
    for; 0 where nobody does.
    """

    samples: Samples
    text: str | None
    place: Place | None = None
    certainty: float | None = None
    waited_s: float = 0.0


Features = Any
"""What a model's ``extract`` found; only speaker models of the same model can read it."""


class Prediction(msgspec.Struct, frozen=True):
    """Hold one judgement of emotion.

    ``scores`` maps every category of ``streamser.taxonomy.CATEGORIES`` to a probability and
    sums to 1; ``category`` is the likeliest, or ``"unsure"`` where the scores are flat;
    ``confidence`` is the likeliest one's probability; ``uncertainty`` is the normalised entropy
    of the scores in [0, 1]; ``modalities`` says what was used (``"audio"``, ``"text"``);
    ``evidence`` names the measurements behind the judgement. ``model`` is who has judged, where
    that may be another than the model that was asked.
    """

    category: str
    confidence: float
    scores: dict[str, float]
    dimensions: Dimensions
    uncertainty: float
    modalities: tuple[str, ...]
    evidence: dict[str, float] = {}
    model: str | None = None


class SpeakerModel(Protocol):
    """Predict emotion from features as one speaker makes them sound; pure, small, never blocks."""

    def predict(self, features: Features) -> Prediction:
        """Judge features against what was learnt so far; learns nothing itself."""
        ...

    def adapt(self, features: Features) -> None:
        """Take a finished utterance into the speaker's baseline; called in utterance order."""
        ...

    def snapshot(self) -> bytes:
        """Return what was learnt, some kilobytes at most; nothing where nothing is learnt."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on from what ``snapshot`` returned; raises ``ModelError`` for anything else."""
        ...

    def reset(self) -> None:
        """Forget the speaker: the next utterance is the first."""
        ...


class EmotionModel(Protocol):
    """Find the traces of emotion in clips; lives on the device thread."""

    name: str
    modalities: tuple[str, ...]
    """What it can make use of: ``"audio"``, ``"text"`` or both."""

    def extract(self, batch: Sequence[Segment]) -> list[Features]:
        """Measure a batch; features of each item, in order, independent of its neighbours."""
        ...

    def forget(self, session_id: str) -> None:
        """Drop what is kept of a session that has ended."""
        ...

    def new_speaker(self) -> SpeakerModel:
        """Return a speaker model for a new session, knowing nobody yet."""
        ...


class Predictor(Protocol):
    """Judge clips, each by itself; the least that a plug-in brings."""

    name: str
    modalities: tuple[str, ...]
    """What it can make use of: ``"audio"``, ``"text"`` or both."""

    def predict(self, segments: Sequence[Segment]) -> list[Prediction]:
        """Judge a batch; one prediction a clip, in order, independent of its neighbours."""
        ...


class PredictorModel:
    """Let a ``Predictor`` be the emotion model it is asked to be: nothing is learnt or kept."""

    def __init__(self, predictor: Predictor) -> None:
        self.name = predictor.name
        self.modalities = predictor.modalities
        self._predictor = predictor

    def extract(self, batch: Sequence[Segment]) -> list[Prediction]:
        """Judge a batch."""
        return self._predictor.predict(batch)

    def forget(self, session_id: str) -> None:
        """Forget nothing: nothing is kept of a session."""

    def new_speaker(self) -> SpeakerModel:
        """Return what hands predictions on."""
        return _Unmoved()


class StatelessSpeaker:
    """Be that half of a speaker model which learns, where nothing is to be learnt."""

    def adapt(self, features: object) -> None:
        """Learn nothing: what a voice usually sounds like is not asked for."""

    def snapshot(self) -> bytes:
        """Return nothing."""
        return b""

    def restore(self, state: bytes) -> None:
        """Take nothing; raises ``ModelError`` for anything else."""
        if state:
            raise ModelError(DAMAGED_STATE)

    def reset(self) -> None:
        """Forget nothing: there is no state."""


class _Unmoved(StatelessSpeaker):
    """Take predictions as they are."""

    def predict(self, prediction: Prediction) -> Prediction:
        return prediction


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
