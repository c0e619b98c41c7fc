"""An emotion model of one idea: who is louder than usual is excited."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from streamser.emotion.calibration import entropy
from streamser.emotion.model import DAMAGED_STATE, Prediction, Segment
from streamser.errors import ModelError
from streamser.settings import EmotionSettings
from streamser.taxonomy import Dimensions

__all__ = ["Loudness", "LoudnessSpeaker"]

_EXCITED_DB = 6.0


class Loudness:
    """Measure how loud clips are, in dB; it lives on the device thread."""

    name = "loudness"
    modalities = ("audio",)

    def __init__(self, settings: EmotionSettings, *, offline: bool) -> None:
        # A real one loads its weights here: settings.device, settings.threads.
        pass

    def extract(self, segments: Sequence[Segment]) -> list[float]:
        """Measure each clip by itself: float32 [n] at 16 kHz, n >= 0."""
        return [_decibels(segment.samples) for segment in segments]

    def forget(self, session_id: str) -> None:
        """Forget nothing: nothing is kept of a session."""

    def new_speaker(self) -> LoudnessSpeaker:
        """Return a model of the next session's speaker."""
        return LoudnessSpeaker()


class LoudnessSpeaker:
    """Know how loud one session's speaker usually is."""

    def __init__(self) -> None:
        self._heard = 0
        self._usual = 0.0

    def predict(self, features: float) -> Prediction:
        """Judge features against what was learnt so far."""
        above = features - self._usual if self._heard else 0.0
        arousal = math.tanh(above / _EXCITED_DB)
        weights = {
            "neutral": 1.0,
            "happy": math.exp(arousal),
            "sad": math.exp(-2 * arousal),
            "angry": math.exp(2 * arousal),
        }
        scores = {name: weight / sum(weights.values()) for name, weight in weights.items()}
        likeliest = max(scores, key=scores.__getitem__)
        return Prediction(
            category=likeliest if scores[likeliest] > 0.4 else "unsure",
            confidence=scores[likeliest],
            scores=scores,
            dimensions=Dimensions(valence=None, arousal=arousal),
            uncertainty=entropy(scores),
            modalities=("audio",),
            evidence={"above_usual_db": round(above, 1)},
        )

    def adapt(self, features: float) -> None:
        """Take a finished utterance into what is usual."""
        self._heard += 1
        self._usual += (features - self._usual) / self._heard

    def snapshot(self) -> bytes:
        """Return what was learnt."""
        return f"{self._heard} {self._usual!r}".encode()

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot; raises `ModelError` for anything else."""
        try:
            heard, usual = state.split()
            self._heard, self._usual = int(heard), float(usual)
        except ValueError:
            raise ModelError(DAMAGED_STATE) from None

    def reset(self) -> None:
        """Forget the speaker."""
        self._heard, self._usual = 0, 0.0


def _decibels(samples: np.ndarray) -> float:
    power = float(np.mean(samples**2)) if len(samples) else 0.0
    return 10 * math.log10(power + 1e-9)
