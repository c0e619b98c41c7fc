"""Score who was said to speak when: by time, by count, and by whose an emotion was taken for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE
from streamser.errors import ModelError
from tools.speakers.meetings import Meeting, Said

if TYPE_CHECKING:
    from pyannote.core import Annotation
    from pyannote.metrics.diarization import DiarizationErrorRate

__all__ = ["COLLARS_S", "Figures", "Told", "figured", "judge", "total"]

COLLARS_S: Final = (0.0, 0.25)
"""What is left out on *either* side of each boundary between turns, as NIST's scorer does."""


class Told(msgspec.Struct, frozen=True):
    """Hold whose a stretch of sound was said to be; ``None``: nobody's that could be named."""

    start: int
    end: int
    label: str | None


class Times(msgspec.Struct, frozen=True):
    """Hold seconds: of speech, of it missed, taken for another's; and of what was no speech."""

    speech: float = 0.0
    missed: float = 0.0
    confused: float = 0.0
    invented: float = 0.0

    def __add__(self, other: Times) -> Times:
        return Times(
            self.speech + other.speech,
            self.missed + other.missed,
            self.confused + other.confused,
            self.invented + other.invented,
        )

    @property
    def der(self) -> float:
        """Return the diarisation error rate: all errors over all speech."""
        return (self.missed + self.confused + self.invented) / max(self.speech, 1e-9)


class Figures(msgspec.Struct, frozen=True):
    """Hold what a meeting, or several together, came to.

    ``times`` belong to ``COLLARS_S``. Of ``read_s`` seconds of speech that somebody was said to
    have spoken, the emotion of ``wrong_s`` was credited to who did not. ``counted`` of
    ``meetings`` had as many labels as people.
    """

    times: tuple[Times, ...]
    read_s: float
    wrong_s: float
    meetings: int
    counted: int
    labels: int
    people: int

    @property
    def attribution_error(self) -> float:
        """Return the share of read speech whose emotion went to the wrong person."""
        return self.wrong_s / max(self.read_s, 1e-9)


def judge(meeting: Meeting, told: Sequence[Told]) -> Figures:
    """Compare what was told with who spoke, by the mapping of labels that fits best.

    What is told must not overlap. Raises ``ModelError`` without ``pyannote.metrics``.
    """
    found = figured(meeting, told)
    reference, guess = _annotations(meeting, told)
    mapping = _metric(0.0).optimal_mapping(reference, guess, uem=_whole(meeting))
    read, wrong = _credited(meeting.said, told, mapping)
    return replace(found, read_s=read, wrong_s=wrong)


def figured(meeting: Meeting, told: Sequence[Told]) -> Figures:
    """Compare what was told with who spoke by time and by count alone: it may overlap.

    Raises ``ModelError`` without ``pyannote.metrics``.
    """
    reference, guess = _annotations(meeting, told)
    times = []
    for collar in COLLARS_S:
        parts = _metric(collar)(reference, guess, detailed=True, uem=_whole(meeting))
        times.append(
            Times(
                parts["total"],
                parts["missed detection"],
                parts["confusion"],
                parts["false alarm"],
            )
        )
    labels = len(guess.labels())
    return Figures(tuple(times), 0.0, 0.0, 1, int(labels == meeting.people), labels, meeting.people)


def total(figures: Iterable[Figures]) -> Figures:
    """Add up several: rates are then over all of their time."""
    added = list(figures)
    return Figures(
        tuple(
            sum((each.times[index] for each in added), Times()) for index in range(len(COLLARS_S))
        ),
        sum(each.read_s for each in added),
        sum(each.wrong_s for each in added),
        sum(each.meetings for each in added),
        sum(each.counted for each in added),
        sum(each.labels for each in added),
        sum(each.people for each in added),
    )


def _credited(
    said: Sequence[Said], told: Sequence[Told], mapping: Mapping[str, str]
) -> tuple[float, float]:
    """Return the seconds of speech that were read, and of those credited to the wrong person.

    Where two speak at once, a reading is right if it is credited to either.
    """
    edges = sorted(
        {edge for turn in said for edge in (turn.start, turn.end)}
        | {edge for each in told for edge in (each.start, each.end)}
    )
    read = wrong = 0
    for start, end in pairwise(edges):
        speaking = {each.person for each in said if each.start <= start and end <= each.end}
        reading = [each for each in told if each.start <= start and end <= each.end]
        if not speaking or not reading:
            continue
        read += end - start
        if mapping.get(reading[0].label or "") not in speaking:
            wrong += end - start
    return read / SAMPLE_RATE, wrong / SAMPLE_RATE


def _metric(collar: float) -> DiarizationErrorRate:
    try:
        from pyannote.metrics.diarization import DiarizationErrorRate
    except ImportError:
        raise ModelError(
            "judging needs pyannote.metrics: run pip install pyannote.metrics"
        ) from None
    # pyannote's collar is the width of the whole, half of it before a boundary.
    return DiarizationErrorRate(collar=2 * collar)


def _annotations(meeting: Meeting, told: Sequence[Told]) -> tuple[Annotation, Annotation]:
    """Return who spoke, and who was said to: what nobody is said to have spoken is missed."""
    named = [each for each in told if each.label is not None and each.end > each.start]
    return (
        _annotation((each.start, each.end, each.person) for each in meeting.said),
        _annotation((each.start, each.end, str(each.label)) for each in named),
    )


def _annotation(spans: Iterable[tuple[int, int, str]]) -> Annotation:
    from pyannote.core import Annotation, Segment

    made = Annotation()
    for number, (start, end, name) in enumerate(spans):
        made[Segment(start / SAMPLE_RATE, end / SAMPLE_RATE), number] = name
    return made


def _whole(meeting: Meeting) -> object:
    from pyannote.core import Segment, Timeline

    return Timeline([Segment(0, len(meeting.samples) / SAMPLE_RATE)])
