"""Where the model that ships is surest and wrong."""

from __future__ import annotations

from typing import Final

import numpy as np

from streamser.taxonomy import CATEGORIES
from streamser.training.corpora.registry import read_goemotions
from tools.compact_report.bench import Bench
from tools.compact_report.clips import CORPORA
from tools.compact_report.records import Cell, Figure, Section, Table
from tools.compact_report.texts import word_answers

__all__ = ["failures"]

_MOST: Final = 8


def failures(bench: Bench) -> Section:
    """List the most confident wrong answers of each corpus, by id alone."""
    rows = [row for name in CORPORA for row in _voices(bench, name)]
    return Section(
        title="Failure cases",
        text=f"The surest wrong answers of the model that ships, {_MOST} at most a corpus: voices "
        "warm, probabilities averaged over the streams; GoEmotions' comments as written. Ids only: "
        "the recordings and texts are their corpora's.",
        tables=(
            Table("", ("corpus", "id", "label", "answer", "probability"), (*rows, *_texts(bench))),
        ),
    )


def _voices(bench: Bench, name: str) -> list[tuple[Cell, ...]]:
    corpus, played = bench.corpus(name), bench.played(name)[0]
    sums = np.zeros((len(corpus.clips), len(CATEGORIES)))
    counts = np.zeros(len(corpus.clips))
    np.add.at(sums, played.clip[played.warm], played.scores[played.warm])
    np.add.at(counts, played.clip[played.warm], 1)
    scores = sums / np.maximum(counts, 1)[:, None]
    ids = [clip.item.id for clip in corpus.clips]
    return _surest(corpus.title, ids, corpus.labels, scores)


def _texts(bench: Bench) -> list[tuple[Cell, ...]]:
    items = [item for item in read_goemotions(bench.data / "text") if item.split == "test"]
    items = items[: bench.plan.texts]
    texts = [item.text or "" for item in items]
    found = word_answers(bench, items, texts, "goemotions")[0]
    ids = [item.id for item in items]
    return _surest("GoEmotions", ids, found.labels, np.exp(found.logits))


def _surest(
    title: str,
    ids: list[str],
    labels: np.ndarray[tuple[int], np.dtype[np.int64]],
    scores: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> list[tuple[Cell, ...]]:
    answer, top = scores.argmax(axis=1), scores.max(axis=1)
    wrong = np.flatnonzero((labels >= 0) & (answer != labels) & (top > 0))
    surest = wrong[np.argsort(-top[wrong], kind="stable")][:_MOST]
    return [
        (
            title,
            ids[place],
            CATEGORIES[labels[place]],
            CATEGORIES[answer[place]],
            Figure(value=float(top[place])),
        )
        for place in surest
    ]
