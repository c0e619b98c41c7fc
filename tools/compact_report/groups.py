"""Whether the voice is read equally well of everybody: by gender and by age."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from streamser.taxonomy import CATEGORIES
from streamser.training.evaluation.metrics import UAR
from tools.compact_report.bench import Bench
from tools.compact_report.clips import CORPORA, Labelled
from tools.compact_report.figures import UNSURE_SHARE, answers_of, figures, recall_of
from tools.compact_report.records import Cell, Section, Table

__all__ = ["by_group"]

_AGES: Final = (("below 30", 0, 30), ("30 to 49", 30, 50), ("50 and older", 50, 200))


def by_group(bench: Bench) -> Section:
    """Measure the voice by gender, and on CREMA-D by age."""
    rows: list[tuple[Cell, ...]] = []
    for name in CORPORA:
        rows += _rows(bench, name, lambda clip: clip.gender)
        if name == "cremad":
            rows += _rows(bench, name, _age)
    return Section(
        title="By gender and age",
        text="Warm UAR and recall in the streams of `Voice alone` by the speaker's gender, and on "
        "CREMA-D by age. Groups are small (see `speakers`), and their intervals wide.",
        tables=(
            Table(
                "", ("corpus", "speakers of", "speakers", "UAR", *CATEGORIES, "unsure"), tuple(rows)
            ),
        ),
    )


def _age(clip: Labelled) -> str:
    return next((name for name, low, high in _AGES if low <= clip.age < high), "")


def _order(group: str) -> tuple[int, str]:
    ages = [name for name, _, _ in _AGES]
    return (ages.index(group) if group in ages else 0, group)


def _rows(bench: Bench, name: str, group: Callable[[Labelled], str]) -> list[tuple[Cell, ...]]:
    corpus, played = bench.corpus(name), bench.played(name)
    groups = np.array([group(clip) for clip in corpus.clips])
    measures = {"UAR": UAR, **{each: recall_of(each) for each in CATEGORIES}}
    rows: list[tuple[Cell, ...]] = []
    for each in sorted(set(groups.tolist()) - {""}, key=_order):
        runs = [answers_of(corpus, one, one.warm & (groups[one.clip] == each)) for one in played]
        found = figures(runs, measures | {"unsure": UNSURE_SHARE}, bench.plan)
        speakers = {
            clip.item.speaker for clip, of in zip(corpus.clips, groups, strict=True) if of == each
        }
        rows.append((corpus.title, each, len(speakers), *found.values()))
    return rows
