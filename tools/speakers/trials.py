"""Other ways to tell voices apart, to be judged beside what stands: ``bench --trials``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from msgspec.structs import replace

from streamser.speech.clustering import VoiceSpace, plain_space
from streamser.speech.diarisation import Spoken, Telling
from tools.speakers.hearing import SpaceOf, diarise
from tools.speakers.scoring import Told

__all__ = ["TRIALS"]

Trial: TypeAlias = Callable[[Sequence[Spoken], SpaceOf], tuple[list[Told], list[Told]]]

_NEVER: Final = 1e9
_STANDS: Final = Telling()
_SUMS: Final = Telling(brief=0.0, pieces=0.0)


def _without(
    heard: Sequence[Spoken],
    space_of: SpaceOf,
    telling: Telling = _STANDS,
    **parts: float,
) -> tuple[list[Told], list[Told]]:
    def changed(size: int) -> VoiceSpace:
        return replace(space_of(size), **parts)

    return diarise(heard, changed, telling)


def _otherwise(
    heard: Sequence[Spoken], space_of: SpaceOf, **parts: float
) -> tuple[list[Told], list[Told]]:
    return diarise(heard, space_of, replace(Telling(), **parts))


def _plain(heard: Sequence[Spoken], space_of: SpaceOf) -> tuple[list[Told], list[Told]]:
    def plain(size: int) -> VoiceSpace:
        return replace(plain_space(size, 0.4), alike=0.5, moods=0.0, excited=0.0, homes=_NEVER)

    return diarise(heard, plain, Telling(link=0.0, cut=0.0, pieces=0.0, brief=0.0))


def _leader(
    heard: Sequence[Spoken], space_of: SpaceOf, threshold: float
) -> tuple[list[Told], list[Told]]:
    """Follow the leaders: a voice an utterance, a mean a speaker, a cosine, and no second look."""
    sums: list[np.ndarray] = []
    told = []
    for each in heard:
        if not each.windows:
            told.append(Told(each.start, each.end, None))
            continue
        voice = np.mean([window.voice for window in each.windows], axis=0)
        voice = voice / np.linalg.norm(voice) * (each.end - each.start)
        likeness = [
            float(voice @ one / np.linalg.norm(voice) / np.linalg.norm(one)) for one in sums
        ]
        best = int(np.argmax(likeness)) if likeness else -1
        if best < 0 or likeness[best] < threshold:
            best = len(sums)
            sums.append(np.zeros_like(voice))
        sums[best] = sums[best] + voice
        told.append(Told(each.start, each.end, str(best)))
    return told, told


def _offline(
    heard: Sequence[Spoken], space_of: SpaceOf, threshold: float
) -> tuple[list[Told], list[Told]]:
    """Cluster all windows of a meeting at its end: average linkage of cosines."""
    from scipy.cluster.hierarchy import fcluster, linkage

    voices = np.array([window.voice for each in heard for window in each.windows], np.float64)
    labels = np.ones(len(voices), np.int64)
    if len(voices) > 1:
        distances = 1 - (voices @ voices.T)[np.triu_indices(len(voices), 1)]
        labels = fcluster(linkage(distances, "average"), 1 - threshold, "distance")
    told, number = [], 0
    for each in heard:
        middles = [(window.start + window.end) // 2 for window in each.windows]
        edges = [each.start, *((a + b) // 2 for a, b in pairwise(middles))]
        for start, end in zip(edges, [*edges[1:], each.end], strict=True):
            told.append(Told(start, end, str(labels[number]) if middles else None))
            number += bool(middles)
    return told, told


TRIALS: Final[dict[str, Trial]] = {
    "means of speakers, cosine ≥ .55, no second look": partial(_leader, threshold=0.55),
    "windows clustered at the end, cosine ≥ .35": partial(_offline, threshold=0.35),
    "what stands": lambda heard, space_of: diarise(heard, space_of, Telling()),
    "without excited": partial(_without, excited=0.0),
    "without excited and moods": partial(_without, excited=0.0, moods=0.0),
    "without homes": partial(_without, homes=_NEVER),
    "sums alone, moods .13, excited .3": partial(_without, telling=_SUMS, moods=0.13, excited=0.3),
    "moods .13, excited .3": partial(_without, moods=0.13, excited=0.3),
    "without brief": partial(_otherwise, brief=0.0),
    "without brief and pieces": partial(_otherwise, brief=0.0, pieces=0.0),
    "… but link -15": partial(_otherwise, brief=0.0, pieces=0.0, link=-15.0),
    "never cut": partial(_otherwise, cut=_NEVER),
    "windows of an utterance count as one": partial(_without, alike=1.0),
    "nothing learnt": _plain,
}
"""The first two are how others do it; of what stands one part is taken out each time."""
