"""Models of one method: what they say of a clip does not depend on who spoke before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamser.emotion.model import DAMAGED_STATE, Prediction, Segment, SpeakerModel
from streamser.errors import ModelError


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
