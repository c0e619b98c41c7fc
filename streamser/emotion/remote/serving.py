"""The other end: what is asked of a big model by servers elsewhere is answered."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.model import EmotionModel, Prediction, Segment
from streamser.emotion.remote.wire import (
    WIRE,
    AskedClips,
    ModelCard,
    ReadClips,
    asked_segments,
    from_bytes,
    to_bytes,
)
from streamser.errors import ConfigError


class ReadingService:
    """Read clips with a model, both halves of it; it belongs to the device thread.

    Raises ``ConfigError`` for a model that learns what is usual of speakers: whom it hears, it
    would have to be told with each clip. Such models are small, and stay where the sound is.
    """

    def __init__(self, model: EmotionModel) -> None:
        speaker = model.new_speaker()
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, 2 * SAMPLE_RATE).astype(np.float32)
        (found,) = model.extract([Segment(noise, None)])
        speaker.adapt(found)
        if speaker.snapshot():
            raise ConfigError(
                f"{model.name} learns what is usual of each speaker: it runs beside the sound"
                " (emotion.model), and not elsewhere. Deploy a checkpoint or public models."
            )
        self._model = model
        self._speaker = speaker
        self.card = ModelCard(WIRE, model.name, tuple(model.modalities))

    def read(self, segments: Sequence[Segment]) -> list[tuple[Prediction, float]]:
        """Read clips, float32 [n] at 16 kHz; a reading of each and the ms that all of them took.

        Raises what the model raises.
        """
        began = time.perf_counter()
        found = self._model.extract(segments)
        readings = [self._speaker.predict(each) for each in found]
        took_ms = 1000 * (time.perf_counter() - began)
        return [(reading, took_ms) for reading in readings]

    def greeting(self) -> bytes:
        """Say which model is here."""
        return to_bytes(self.card)

    def answer(self, read: Sequence[tuple[Prediction, float]]) -> bytes:
        """Write readings as they are sent."""
        longest = max((took for _, took in read), default=0.0)
        readings = tuple(reading for reading, _ in read)
        return to_bytes(ReadClips(WIRE, self.card.model, readings, round(longest, 3)))


def segments_of(body: bytes) -> list[Segment]:
    """Return what a question is about; raises ``ModelError`` for what is none."""
    return asked_segments(from_bytes(body, AskedClips))
