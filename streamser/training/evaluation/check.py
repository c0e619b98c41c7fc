"""How an emotion model of any kind does on labelled utterances, in a few figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from streamser.audio.clip import Samples
from streamser.emotion.frontend import Mel
from streamser.emotion.model import EmotionModel, Prediction, Segment
from streamser.errors import AudioError, ConfigError
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.evaluation.metrics import ccc, uar, war
from streamser.training.manifest import SPLITS, Item
from streamser.training.sounds import Sounds

_BATCH = 8


class Checked(msgspec.Struct, frozen=True):
    """Hold figures; nan where there was nothing to measure.

    ``labelled`` utterances have one of our categories, ``rated`` one of each dimension.
    ``skipped`` could not be read.
    """

    war: float
    uar: float
    labelled: int
    ccc: tuple[float, ...]
    rated: tuple[int, ...]
    skipped: int

    def rows(self) -> Iterator[tuple[str, float, int]]:
        """Yield name, figure and number of utterances of what was measured."""
        if self.labelled:
            yield "WAR (accuracy)", self.war, self.labelled
            yield "UAR", self.uar, self.labelled
        for name, value, count in zip(DIMENSIONS, self.ccc, self.rated, strict=True):
            if count:
                yield f"CCC {name}", value, count


def chosen(items: Sequence[Item], split: str) -> list[Item]:
    """Return the items of a split; all of them for ``all`` and where no split is marked.

    Raises ``ConfigError`` for a split that there is not, or has none.
    """
    if split not in (*SPLITS, "all"):
        raise ConfigError(f"--split {split}: choose {', '.join(SPLITS)} or all.")
    if split == "all" or not any(item.split for item in items):
        return list(items)
    found = [item for item in items if item.split == split]
    if not found:
        raise ConfigError(f"--split {split}: the manifest marks none so; choose another, or all.")
    return found


def check_model(model: EmotionModel, items: Sequence[Item]) -> Checked:
    """Ask a model about items, each as the first utterance of a session, and count.

    Categories are those of the highest score, ``unsure`` or not, so that figures compare with
    published ones. A model that gives no categories, or not a dimension, has no figure there.
    Raises ``ConfigError`` where nothing can be measured at all.
    """
    sounds, readings, used, skipped = Sounds(), [], [], 0
    batch: list[tuple[Item, Segment]] = []
    for item in items:
        try:
            batch.append((item, Segment(samples=_sound(sounds, item), text=item.text)))
        except AudioError:
            skipped += 1
        if len(batch) == _BATCH:
            readings += _ask(model, [spoken for _, spoken in batch])
            used += [item for item, _ in batch]
            batch = []
    if batch:
        readings += _ask(model, [spoken for _, spoken in batch])
        used += [item for item, _ in batch]
    checked = _count(used, readings, skipped)
    if not any(True for _ in checked.rows()):
        raise ConfigError(
            f"nothing can be measured: the utterances have no label of what {model.name} gives,"
            f" or lack what it reads ({', '.join(model.modalities)})."
        )
    return checked


def _sound(sounds: Sounds, item: Item) -> Samples:
    sound = sounds.load(item)
    if isinstance(sound, Mel):
        raise AudioError(f"{item.id} has log-mel features only, and no recording.")
    return np.zeros(0, np.float32) if sound is None else sound


def _ask(model: EmotionModel, batch: Sequence[Segment]) -> list[Prediction]:
    speaker = model.new_speaker()
    return [speaker.predict(features) for features in model.extract(batch)]


def _count(items: Sequence[Item], readings: Sequence[Prediction], skipped: int) -> Checked:
    pairs = [
        (CATEGORIES.index(item.category), _likeliest(reading))
        for item, reading in zip(items, readings, strict=True)
        if item.category is not None and _has_judged(reading)
    ]
    truth, guess = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    agreements, rated = [], []
    for index, name in enumerate(DIMENSIONS):
        values = [
            (2.0 * item.dimensions[index] - 1.0, given)
            for item, reading in zip(items, readings, strict=True)
            if (given := getattr(reading.dimensions, name)) is not None
            and not math.isnan(item.dimensions[index])
        ]
        rated.append(len(values))
        agreements.append(
            ccc([value[0] for value in values], [value[1] for value in values])
            if len(values) > 1
            else math.nan
        )
    return Checked(
        war=war(truth, guess, len(CATEGORIES)),
        uar=uar(truth, guess, len(CATEGORIES)),
        labelled=len(pairs),
        ccc=tuple(agreements),
        rated=tuple(rated),
        skipped=skipped,
    )


def _has_judged(reading: Prediction) -> bool:
    """Tell whether scores are more than the even ones of a model that knows no categories."""
    return bool(reading.modalities) and len(set(reading.scores.values())) > 1


def _likeliest(reading: Prediction) -> int:
    return CATEGORIES.index(max(reading.scores, key=reading.scores.__getitem__))
