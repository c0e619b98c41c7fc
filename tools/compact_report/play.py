"""Let a listener hear streams: judge every utterance, then learn it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.emotion.model import Features, Prediction, SpeakerModel
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions
from tools.compact_report.streams import COLD, WARM, Stream

__all__ = ["Ears", "Judged", "Played", "play", "tabulate"]

Floats = npt.NDArray[np.float64]

_PAUSE_SECONDS = 0.5  # between two utterances of a stream, for its clock


class Ears(Protocol):
    """Whatever makes listeners: any emotion model."""

    def new_speaker(self) -> SpeakerModel:
        """Return a listener that has heard nobody yet."""
        ...


class Judged(Protocol):
    """What a reading says, whether it comes from a listener or in an event."""

    @property
    def category(self) -> str:
        """Return a category, or ``unsure``."""
        ...

    @property
    def scores(self) -> dict[str, float]:
        """Return the probability of each category."""
        ...

    @property
    def dimensions(self) -> Dimensions:
        """Return valence, arousal and dominance."""
        ...


class Played(msgspec.Struct, frozen=True, eq=False):
    """Hold N readings in the order they were made.

    ``stream`` and ``clip`` are places, ``heard`` counts the utterances before, ``clock`` is when
    it began in seconds of the stream, int64 or float64 [N]; ``scores`` [N, 4] are probabilities,
    ``dimensions`` [N, 3] in [-1, 1] or ``nan``, ``named`` [N] tells which were not ``unsure``.
    """

    stream: npt.NDArray[np.int64]
    clip: npt.NDArray[np.int64]
    heard: npt.NDArray[np.int64]
    clock: Floats
    scores: Floats
    dimensions: Floats
    named: npt.NDArray[np.bool_]

    @property
    def cold(self) -> npt.NDArray[np.bool_]:
        """Tell which are of a stream's first four utterances."""
        return self.heard < COLD

    @property
    def warm(self) -> npt.NDArray[np.bool_]:
        """Tell which are of a stream's eleventh utterance on."""
        return self.heard >= WARM


def play(
    model: Ears, streams: Sequence[Stream], findings: Sequence[Features], seconds: Sequence[float]
) -> Played:
    """Let a fresh listener hear each stream; ``findings`` and ``seconds`` go by clip."""
    readings: list[Prediction] = []
    places: list[tuple[int, int, int]] = []
    clock: list[float] = []
    for number, stream in enumerate(streams):
        listener, now = model.new_speaker(), 0.0
        for heard, clip in enumerate(stream.clips):
            readings.append(listener.predict(findings[clip]))
            listener.adapt(findings[clip])
            places.append((number, clip, heard))
            clock.append(now)
            now += seconds[clip] + _PAUSE_SECONDS
    return tabulate(places, clock, readings)


def tabulate(
    places: Sequence[tuple[int, int, int]], clock: Sequence[float], readings: Sequence[Judged]
) -> Played:
    """Put readings in a table; ``places`` are stream, clip and utterances heard before."""
    where = np.array(places, np.int64).reshape(-1, 3)
    dimensions = [
        (d.valence, d.arousal, d.dominance) for d in (reading.dimensions for reading in readings)
    ]
    return Played(
        stream=where[:, 0],
        clip=where[:, 1],
        heard=where[:, 2],
        clock=np.array(clock, np.float64),
        scores=np.array(
            [[reading.scores[name] for name in CATEGORIES] for reading in readings], np.float64
        ).reshape(-1, len(CATEGORIES)),
        dimensions=np.array(dimensions, np.float64).reshape(-1, 3),
        named=np.array([reading.category != UNSURE for reading in readings], np.bool_),
    )
