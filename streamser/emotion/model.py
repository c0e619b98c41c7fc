"""What every emotion model looks like from outside.

A model has two halves. ``extract`` is heavy and batched: it runs on the device thread, sees
one segment at a time, and finds the same whatever it was asked before. A ``SpeakerModel`` is light
and belongs to one session: it predicts in the light of what that speaker sounded like before.
So results do not depend on which sessions shared a batch, and a session's events do not depend
on timing.

A ``Predictor`` is a model of one method: what it says of a clip does not depend on who spoke
before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from streamser.audio.clip import Samples
from streamser.errors import ModelError
from streamser.taxonomy import Dimensions

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
    count less.
    """

    samples: Samples
    text: str | None
    place: Place | None = None
    certainty: float | None = None


Features = Any
"""What a model's ``extract`` found; only speaker models of the same model can read it."""


class Prediction(msgspec.Struct, frozen=True):
    """Hold one judgement of emotion.

    ``scores`` maps every category of ``streamser.taxonomy.CATEGORIES`` to a probability and
    sums to 1; ``category`` is the likeliest, or ``"unsure"`` where the scores are flat;
    ``confidence`` is the likeliest one's probability; ``uncertainty`` is the normalised entropy
    of the scores in [0, 1]; ``modalities`` says what was used (``"audio"``, ``"text"``);
    ``evidence`` names the measurements behind the judgement.
    """

    category: str
    confidence: float
    scores: dict[str, float]
    dimensions: Dimensions
    uncertainty: float
    modalities: tuple[str, ...]
    evidence: dict[str, float] = {}


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


class _Unmoved:
    """Take predictions as they are."""

    def predict(self, prediction: Prediction) -> Prediction:
        return prediction

    def adapt(self, prediction: Prediction) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def restore(self, state: bytes) -> None:
        if state:
            raise ModelError(DAMAGED_STATE)

    def reset(self) -> None:
        pass
