"""Read the emotion of each utterance against one past for all, each voice's own, and the truth's.

Heavy halves of readings are worked out once, and kept; the light halves, which judge an utterance
by what the one who speaks sounded like before, run once for each way to say who speaks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.emotion.compact.model import CompactFeatures, CompactModel
from streamser.emotion.compact.statistics import Measured
from streamser.emotion.model import Features, Segment, SpeakerModel
from streamser.pipeline.session_config import VoicesApart
from streamser.pipeline.speaker_state import SpeakerModels, main_label
from streamser.speech.diarisation import Spoken
from streamser.taxonomy import CATEGORIES
from streamser.training.evaluation.metrics import confusion, recalls
from tools.speakers.keeping import KeptRecords
from tools.speakers.meetings import Meeting, Said

__all__ = ["AFTER", "APART", "DRAWS", "ONE", "TRUE", "WAYS", "KeptFeatures", "Recognised"]
__all__ += ["lost", "meant", "read_emotions", "recognised", "uar"]

ONE: Final = "one"
APART: Final = "apart"
AFTER: Final = "after"
TRUE: Final = "true"
WAYS: Final = (ONE, APART, AFTER, TRUE)
"""Whose past an utterance is judged by: that of all; that of the voice told apart, at once; of the
voice it turned out to be by the end; of who spoke."""

MAPPING: Final = {"neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "angry"}
"""Acted emotions that are categories. Calm passes for neutral where recordings are read; others
are part of what is usual for a speaker, and no answer to them is right."""

DRAWS: Final = 2_000
_NOBODYS: Final = -1

Counts: TypeAlias = tuple[tuple[int, ...], ...]
"""Utterances by what was meant (rows) and what was read, of ``CATEGORIES``."""


class Recognised(msgspec.Struct, frozen=True):
    """Hold how the utterances of a meeting were read, by each of ``WAYS``.

    ``others`` were meant as something that is no category, or nobody spoke in them.
    """

    counts: dict[str, Counts] = {}
    others: int = 0

    @property
    def utterances(self) -> int:
        """Return how many count."""
        return int(np.sum(self.counts.get(TRUE, ())))


def meant(said: Sequence[Said], start: int, end: int) -> Said | None:
    """Return the turn with most of its time between two samples; ``None`` where there is none."""
    shares = [(min(each.end, end) - max(each.start, start), each) for each in said]
    most, turn = max(shares, key=lambda each: each[0], default=(0, None))
    return turn if most > 0 else None


def read_emotions(
    meeting: Meeting,
    heard: Sequence[Spoken],
    features: Sequence[Features],
    make: Callable[[], SpeakerModel],
    apart: VoicesApart,
) -> Recognised:
    """Read each utterance in all ways, in order; what is read is the likeliest category.

    Told apart it is done as a session does it, with ``SpeakerModels``: corrections move what was
    learnt. ``AFTER`` judges anew by who it was in the end, each utterance by those before.
    """
    turns = [meant(meeting.said, each.start, each.end) for each in heard]
    truth = [
        _NOBODYS if turn is None or turn.emotion not in MAPPING else _number(MAPPING[turn.emotion])
        for turn in turns
    ]
    at_once, final = _told_apart(heard, features, make, apart)
    people = [None if turn is None else turn.person for turn in turns]
    answers = {
        ONE: _by(features, [None] * len(heard), make),
        APART: at_once,
        AFTER: _by(features, final, make),
        TRUE: _by(features, people, make),
    }
    counts = {
        way: tuple(tuple(row) for row in confusion(truth, given, len(CATEGORIES)).tolist())
        for way, given in answers.items()
    }
    return Recognised(counts, truth.count(_NOBODYS))


def recognised(several: Iterable[Recognised]) -> Recognised:
    """Add up several meetings."""
    added = list(several)
    sums = {
        way: np.sum([each.counts[way] for each in added if way in each.counts], axis=0)
        for way in dict.fromkeys(way for each in added for way in each.counts)
    }
    counts = {way: tuple(tuple(row) for row in each.tolist()) for way, each in sums.items()}
    return Recognised(counts, sum(each.others for each in added))


def uar(counts: Counts) -> float:
    """Return the mean recall of the categories that were meant at all."""
    return float(_uar(np.array(counts)))


def lost(several: Sequence[Recognised], way: str, seed: int) -> tuple[float, float, float]:
    """Return by how much the UAR is below that of true speakers, and a 95 % interval of it.

    The interval comes from meetings drawn anew (percentiles), both ways in the same ones.
    """
    ours = np.array([each.counts[way] for each in several])
    true = np.array([each.counts[TRUE] for each in several])
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(several), size=(DRAWS, len(several)))
    differences = _uar(true[drawn].sum(axis=1)) - _uar(ours[drawn].sum(axis=1))
    low, high = np.nanpercentile(differences, (2.5, 97.5))
    whole = _uar(true.sum(axis=0)) - _uar(ours.sum(axis=0))
    return float(whole), float(low), float(high)


def _uar(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    found = recalls(counts)
    known = ~np.isnan(found)
    sums: npt.NDArray[np.float64] = np.where(known, found, 0.0).sum(axis=-1)
    # Without any utterance there is no figure.
    return sums / np.where(known.any(axis=-1), known.sum(axis=-1), np.nan)


def _told_apart(
    heard: Sequence[Spoken],
    features: Sequence[Features],
    make: Callable[[], SpeakerModel],
    apart: VoicesApart,
) -> tuple[list[int], list[str | None]]:
    """Return what a session reads, and whose each utterance is at the meeting's end."""
    models = SpeakerModels(make, "", apart)
    answers: list[int] = []
    labels: dict[int, str | None] = {}
    for spoken, found in zip(heard, features, strict=True):
        who = models.hear(spoken)
        answers.append(_answer(models, found, who.label))
        models.adapt(found, who.label, item=spoken.item, end=spoken.end)
        labels[spoken.item] = who.label
        for change in who.changes:
            labels[change.item] = main_label(change.parts)
    return answers, [labels[spoken.item] for spoken in heard]


def _by(
    features: Sequence[Features],
    labels: Sequence[str | None],
    make: Callable[[], SpeakerModel],
) -> list[int]:
    models = SpeakerModels(make, "")
    answers = []
    for found, label in zip(features, labels, strict=True):
        answers.append(_answer(models, found, label))
        models.adapt(found, label)
    return answers


def _answer(models: SpeakerModels, found: Features, label: str | None) -> int:
    scores = models.predict(found, label).scores
    return _number(max(CATEGORIES, key=scores.__getitem__))


def _number(category: str) -> int:
    return CATEGORIES.index(category)


class _Kept(msgspec.Struct, frozen=True):
    start: int
    end: int
    values: bytes
    speech_seconds: float


class KeptFeatures:
    """Measure utterances by voice alone; keep that in a folder, a file a meeting.

    Acted sentences say nothing of the emotion: words would only make them neutral.
    """

    def __init__(self, model: CompactModel, folder: Path | None) -> None:
        self._model = model
        self._kept = KeptRecords(folder, "features", _Kept)

    def new_speaker(self) -> SpeakerModel:
        """Return a speaker model that has heard nobody yet."""
        return self._model.new_speaker()

    def of(self, name: str, meeting: Meeting, heard: Sequence[Spoken]) -> list[CompactFeatures]:
        """Return the features of utterances, read where they were kept."""
        places = [(each.start, each.end) for each in heard]
        kept = self._kept.read(name)
        if [(each.start, each.end) for each in kept] != places:
            kept = [self._measured(meeting, *place) for place in places]
            self._kept.write(name, kept)
        return [
            CompactFeatures(Measured(np.frombuffer(k.values, np.float32), k.speech_seconds), None)
            for k in kept
        ]

    def _measured(self, meeting: Meeting, start: int, end: int) -> _Kept:
        (found,) = self._model.extract([Segment(meeting.samples[start:end], None)])
        measured = found.measured
        return _Kept(
            start, end, measured.values.astype(np.float32).tobytes(), measured.speech_seconds
        )
