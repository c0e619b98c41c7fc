"""The labelled recordings: what the corpora's readers give, and who spoke."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES
from streamser.training.corpora.acted import read_cremad, read_emodb, read_ravdess
from streamser.training.corpora.reading import Row, read_rows
from streamser.training.manifest import Item
from tools.compact_report.plan import Plan

__all__ = ["CORPORA", "TITLES", "Corpus", "Labelled", "read_corpus"]


class Labelled(msgspec.Struct, frozen=True):
    """Hold a clip and what its corpus says of it: the emotion by the corpus's own name."""

    item: Item
    emotion: str
    gender: str
    age: float

    @property
    def label(self) -> int:
        """Return the number of its category; -1 for an emotion that is none of the four."""
        category = self.item.category
        return -1 if category is None else CATEGORIES.index(category)


class Corpus(msgspec.Struct, frozen=True):
    """Hold the clips of a corpus that are measured."""

    name: str
    clips: tuple[Labelled, ...]

    @property
    def title(self) -> str:
        """Return what people call it."""
        return TITLES[self.name]

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Return each clip's category by number, -1 for none, [N]."""
        return np.array([clip.label for clip in self.clips], np.int64)

    def by_speaker(self) -> dict[str, list[int]]:
        """Return the places of each speaker's clips."""
        places: dict[str, list[int]] = defaultdict(list)
        for place, clip in enumerate(self.clips):
            places[clip.item.speaker].append(place)
        return dict(places)


class _Origin(NamedTuple):
    folder: str
    prefix: str
    read: Callable[[Path], list[Item]]


def _read_cremad(root: Path) -> list[Item]:
    items = read_cremad(root, votes="intended", categories="all", dimensions="voice")
    return [item for item in items if item.split == "test"]


_ORIGINS: Final = {
    "cremad": _Origin("cremad_mel", "", _read_cremad),
    "emodb": _Origin("emodb", "emodb-", lambda root: read_emodb(root, categories="all")),
    "ravdess": _Origin(
        "ravdess_eval", "ravdess-", lambda root: read_ravdess(root, categories="all")
    ),
}
CORPORA: Final = tuple(_ORIGINS)
TITLES: Final = {
    "cremad": "CREMA-D",
    "emodb": "EmoDB",
    "ravdess": "RAVDESS",
    "speech": "plain speech",
}


def read_corpus(data: Path, name: str, plan: Plan) -> Corpus:
    """Read a corpus: CREMA-D's test speakers, or all of EmoDB or RAVDESS.

    All emotions are kept, so that streams are as varied as they were recorded; those that are
    none of the four have no label. Raises ``ConfigError`` where it is not there.
    """
    origin = _ORIGINS[name]
    root = data / origin.folder
    if not root.is_dir():
        raise ConfigError(f"{data} has no {origin.folder}/: name the folder of the real data.")
    rows = _rows(root / "labels.csv", origin.prefix)
    items = origin.read(root)
    if unknown := next((item.id for item in items if item.id not in rows), None):
        raise ConfigError(f"{root / 'labels.csv'} says nothing of {unknown}.")
    clips = [
        Labelled(item, row["emotion"], row["gender"], row.number("age"))
        for item, row in ((item, rows[item.id]) for item in items)
    ]
    return Corpus(name, tuple(_thinned(clips, plan)))


def _rows(path: Path, prefix: str) -> dict[str, Row]:
    rows = list(read_rows(path, ("speaker", "gender", "age", "emotion")))
    key = "name" if rows and "name" in rows[0].cells else "path"
    return {prefix + Path(row.cells.get(key, "")).stem: row for row in rows}


def _thinned(clips: Sequence[Labelled], plan: Plan) -> list[Labelled]:
    """Keep as many speakers as the plan says, and clips of each, emotions in turn."""
    speakers = list(dict.fromkeys(clip.item.speaker for clip in clips))[: plan.speakers]
    kept: list[Labelled] = []
    for speaker in speakers:
        by_emotion: dict[str, list[Labelled]] = defaultdict(list)
        for clip in clips:
            if clip.item.speaker == speaker:
                by_emotion[clip.emotion].append(clip)
        turns = [clip for turn in zip_longest(*by_emotion.values()) for clip in turn if clip]
        chosen = {clip.item.id for clip in turns[: plan.clips]}
        kept += [clip for clip in clips if clip.item.id in chosen]
    return kept
