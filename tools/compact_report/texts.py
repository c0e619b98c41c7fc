"""Words alone through the shipped path: texts in, readings out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from streamser.emotion.compact.encoders import TOKENIZER, WORDS
from streamser.emotion.compact.model import CompactFeatures, CompactModel, describe
from streamser.emotion.model import Prediction
from streamser.training.evaluation.predictions import Predictions
from streamser.training.manifest import Item
from tools.compact_report.bench import Bench
from tools.compact_report.figures import answers
from tools.compact_report.play import tabulate

__all__ = ["WordGroup", "read_texts", "word_answers", "word_groups"]

_BATCH = 16


class WordGroup(NamedTuple):
    """Hold models that share an encoder of words: what it gives is computed once for all."""

    encoder: CompactModel
    members: tuple[int, ...]


def word_groups(models: Sequence[CompactModel], directories: Sequence[Path]) -> list[WordGroup]:
    """Sort models by the encoder of words that they hold; members are places in ``models``."""
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, directory in enumerate(directories):
        parts = describe(directory).parts
        places[parts[WORDS], parts[TOKENIZER]].append(place)
    return [WordGroup(models[group[0]], tuple(group)) for group in places.values()]


def read_texts(bench: Bench, texts: Sequence[str]) -> list[list[Prediction]]:
    """Return each model's readings of texts, without any voice: lists [models][texts]."""
    readings: list[list[Prediction | None]] = [[None] * len(texts) for _ in bench.models]
    for group in word_groups(bench.models, bench.directories):
        listeners = {place: bench.models[place].new_speaker() for place in group.members}
        for places, findings in _in_batches(group.encoder, texts):
            for model, listener in listeners.items():
                for place, finding in zip(places, findings, strict=True):
                    readings[model][place] = listener.predict(finding)
    return [[each for each in row if each is not None] for row in readings]


def word_answers(
    bench: Bench, items: Sequence[Item], texts: Sequence[str], corpus: str
) -> list[Predictions]:
    """Return each model's answers to texts in the place of their items' own."""
    return [_answers(items, each, corpus) for each in read_texts(bench, texts)]


def _in_batches(
    encoder: CompactModel, texts: Sequence[str]
) -> Iterator[tuple[list[int], list[CompactFeatures]]]:
    # Texts of like length together: padding costs time. What they give does not depend on it.
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    for start in range(0, len(order), _BATCH):
        places = order[start : start + _BATCH]
        yield places, encoder.examine([(None, texts[place]) for place in places])


def _answers(items: Sequence[Item], readings: Sequence[Prediction], corpus: str) -> Predictions:
    played = tabulate([(0, place, 0) for place in range(len(items))], [0.0] * len(items), readings)
    return answers(
        played.scores,
        played.dimensions,
        played.named,
        labels=np.array(
            [-1 if item.votes is None else int(np.argmax(item.votes)) for item in items], np.int64
        ),
        ids=[item.id for item in items],
        speakers=[item.id for item in items],
        corpus=corpus,
        truth=np.array([item.dimensions for item in items], np.float64).reshape(-1, 3),
    )
