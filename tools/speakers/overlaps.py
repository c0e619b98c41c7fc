"""Leave out voices of utterances in which two speak at once, as a session does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path

import msgspec
from msgspec.structs import replace

from streamser.audio.clip import Samples
from streamser.pipeline.requests import UNCERTAIN
from streamser.speech.diarisation import Spoken
from streamser.speech.overlap import Segmentation, load_segmentation
from tools.speakers.keeping import KeptRecords
from tools.speakers.meetings import Meeting, Said

__all__ = ["Mixed", "Overlaps", "alone", "mixed_of", "spoken_at_once"]


def alone(heard: Sequence[Spoken], shares: Sequence[float]) -> tuple[Spoken, ...]:
    """Return utterances without the voices of those in which two speak at once for long.

    ``shares`` are those of their time, [0, 1]. Whose such an utterance is nobody can tell.
    """
    return tuple(
        each if share < UNCERTAIN else replace(each, windows=())
        for each, share in zip(heard, shares, strict=True)
    )


class Mixed(msgspec.Struct, frozen=True):
    """Count utterances in which two are heard at once for long; ``truly``: and do speak so."""

    heard: int = 0
    truly: int = 0
    missed: int = 0
    """Those in which two do, and are not heard."""


def mixed_of(meeting: Meeting, heard: Sequence[Spoken], shares: Sequence[float]) -> Mixed:
    """Compare what is heard at once, shares in [0, 1], with what is said at once."""
    told = [share >= UNCERTAIN for share in shares]
    true = [spoken_at_once(meeting.said, each.start, each.end) >= UNCERTAIN for each in heard]
    both = sum(t and s for t, s in zip(told, true, strict=True))
    return Mixed(sum(told), both, sum(true) - both)


def spoken_at_once(said: Sequence[Said], start: int, end: int) -> float:
    """Return the share, [0, 1], of a stretch in which two turns lie over each other."""
    both = 0
    for first, second in combinations(said, 2):
        both += max(0, min(first.end, second.end, end) - max(first.start, second.start, start))
    return both / max(1, end - start)


class _Share(msgspec.Struct, frozen=True):
    start: int
    end: int
    share: float


class Overlaps:
    """Hear in which share of each utterance two speak at once; keep that, a file a meeting."""

    def __init__(self, folder: Path | None) -> None:
        self._kept = KeptRecords(folder, "overlaps", _Share)

    def of(self, name: str, meeting: Meeting, heard: Sequence[Spoken]) -> list[float]:
        """Return the shares, [0, 1], read where they were kept for the same utterances."""
        kept = self._kept.read(name)
        if [(each.start, each.end) for each in kept] != [(each.start, each.end) for each in heard]:
            kept = [
                _Share(each.start, each.end, self._share(meeting.samples[each.start : each.end]))
                for each in heard
            ]
            self._kept.write(name, kept)
        return [each.share for each in kept]

    @cached_property
    def _segmentation(self) -> Segmentation:
        return load_segmentation()

    def _share(self, samples: Samples) -> float:
        spans = self._segmentation.hear(samples).overlaps()
        return sum(span.end - span.start for span in spans) / max(1, len(samples))
