"""What a finished experiment shows: every system's figures, and which differences are real."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np

from streamser.training.ablation import PAPER, System
from streamser.training.bootstrap import Difference, Estimate, compare, estimate
from streamser.training.crossval import Cell, Plan, conditions, read_cell, total_seconds
from streamser.training.measures import UAR, WAR, Measure, ccc_of
from streamser.training.predictions import Predictions

__all__ = ["Contrast", "Figure", "Grid", "SystemFigures", "measure"]

Runs = dict[str, list[Predictions]]
"""By condition: one table for each seed, all folds' test items together."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one figure of one system.

    ``pooled`` is taken over the test items of all folds together, averaged over the seeds, with
    its 95 % interval over speakers; ``seed_sd`` is the deviation of the pooled figure over
    seeds; ``fold_mean`` and ``fold_sd`` are over the folds that have it (each averaged over
    seeds), ``None`` with one fold. ``paper`` is what arXiv 2401.00536 reports, where the corpus
    is IEMOCAP.
    """

    name: str
    pooled: Estimate
    seed_sd: float | None
    fold_mean: float | None
    fold_sd: float | None
    paper: float | None = None


class SystemFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a system reached when tested with some modalities."""

    row: str
    task: str
    condition: str
    figures: tuple[Figure, ...]


class Contrast(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a question, the two systems that answer it, and by how much they differ."""

    question: str
    first: str
    second: str
    condition: str
    figure: str
    result: Difference


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that an experiment shows; ``skipped`` counts test clips that cannot be read."""

    systems: tuple[SystemFigures, ...]
    contrasts: tuple[Contrast, ...]
    hours: float
    skipped: int = 0


def measure(plan: Plan, *, bootstrap: int) -> Grid:
    """Read the predictions of a finished plan and work out its figures.

    Raises ``ModelError`` where a cell has none.
    """
    tables = {cell.name: read_cell(plan, cell) for cell in plan.cells()}
    pooled = {system.name: _pool(plan, system, tables) for system in plan.systems}
    iemocap = all(
        item.corpus == "iemocap" for fold in plan.folds for item in (*fold.train, *fold.test)
    )
    found = [
        SystemFigures(
            row=system.row,
            task=system.task,
            condition=condition,
            figures=_figures(
                plan, system, condition, pooled[system.name], tables, bootstrap, iemocap
            ),
        )
        for system in plan.systems
        for condition in conditions(system)
    ]
    return Grid(
        systems=tuple(found),
        contrasts=tuple(_contrasts(plan.systems, pooled, bootstrap)),
        hours=total_seconds(plan, plan.cells()) / 3600,
        skipped=_skipped(plan, pooled),
    )


def _pool(plan: Plan, system: System, tables: dict[str, dict[str, Predictions]]) -> Runs:
    return {
        condition: [
            Predictions.join(
                [tables[Cell(system, fold, seed).name][condition] for fold in plan.folds]
            )
            for seed in plan.seeds
        ]
        for condition in conditions(system)
    }


def _skipped(plan: Plan, pooled: dict[str, Runs]) -> int:
    answered = len(next(iter(pooled[plan.systems[0].name].values()))[0])
    return sum(len(fold.test) for fold in plan.folds) - answered


def _measures(system: System) -> dict[str, Measure]:
    heads = system.settings.model.heads
    found = {"UAR": UAR, "WAR": WAR} if heads.categories else {}
    return found | {f"CCC {name}": ccc_of(i) for i, name in enumerate(heads.dimensions)}


def _figures(
    plan: Plan,
    system: System,
    condition: str,
    runs: Runs,
    tables: dict[str, dict[str, Predictions]],
    bootstrap: int,
    iemocap: bool,
) -> tuple[Figure, ...]:
    measures = _measures(system)
    pooled = estimate(runs[condition], list(measures.values()), replicates=bootstrap)
    found = []
    for (name, one), whole in zip(measures.items(), pooled, strict=True):
        seeds = [_value(run, one) for run in runs[condition]]
        folds = [
            float(
                np.mean(
                    [
                        _value(tables[Cell(system, fold, seed).name][condition], one)
                        for seed in plan.seeds
                    ]
                )
            )
            for fold in plan.folds
        ]
        found.append(
            Figure(
                name=name,
                pooled=whole,
                seed_sd=_deviation(seeds),
                fold_mean=_mean(folds) if len(folds) > 1 else None,
                fold_sd=_deviation(folds),
                paper=_paper(system, condition, name) if iemocap else None,
            )
        )
    return tuple(found)


def _value(predictions: Predictions, one: Measure) -> float:
    return float(one.value(one.parts(predictions).sum(axis=0)))


def _deviation(values: Sequence[float]) -> float | None:
    known = _known(values)
    return statistics.stdev(known) if len(known) > 1 else None


def _mean(values: Sequence[float]) -> float | None:
    known = _known(values)
    return statistics.fmean(known) if known else None


def _known(values: Sequence[float]) -> list[float]:
    # A fold may have no label of a kind.
    return [value for value in values if not math.isnan(value)]


def _paper(system: System, condition: str, name: str) -> float | None:
    reported = PAPER.get((system.row, system.task))
    if reported is None or condition != "both":
        return None
    percent = {"UAR": reported.uar, "WAR": reported.war}
    if name in percent:
        value = percent[name]
        return None if value is None else value / 100
    return {"CCC valence": reported.valence, "CCC arousal": reported.arousal}.get(name)


def _contrasts(
    systems: Sequence[System], pooled: dict[str, Runs], bootstrap: int
) -> list[Contrast]:
    known = {system.name: system for system in systems}
    found = []
    for question, first, second, condition in _questions():
        if first not in known or second not in known:
            continue
        # A unimodal system is compared by what it takes.
        one, other = (
            pooled[name].get(condition) or next(iter(pooled[name].values()))
            for name in (first, second)
        )
        # All systems come from the same settings: a dimension has the same column in each.
        ours, theirs = (_measures(known[name]) for name in (first, second))
        for figure in ours:
            if figure not in theirs or figure == "WAR":
                continue
            found.append(
                Contrast(
                    question=question,
                    first=first,
                    second=second,
                    condition=condition,
                    figure=figure,
                    result=compare(one, other, ours[figure], replicates=bootstrap),
                )
            )
    return found


def _questions() -> list[tuple[str, str, str, str]]:
    """List what is asked: question, the two systems' names, and the condition of the test."""
    steps = ("baseline", "self-attention", "cross-attention", "bridge-tokens", "rmm")
    found = [
        (f"does {after} add to {before}?", f"{after}.both", f"{before}.both", "both")
        for before, after in pairwise(steps)
    ]
    found += [
        (f"does multi-task help {row}?", f"{row}.both", f"{row}.{task}", "both")
        for row in steps
        for task in ("category", "dimension")
    ]
    found += [
        ("does mixing K and V help bridge tokens?", "bridge-tokens.both", "same-kv.both", "both"),
        ("do bridge tokens beat concatenation?", "bridge-tokens.both", "concat.both", "both"),
        ("are both better than the voice?", "bridge-tokens.both", "voice.both", "both"),
        ("are both better than the words?", "bridge-tokens.both", "words.both", "both"),
    ]
    found += [
        (f"does RMM help where only {name} is there?", "rmm.both", "bridge-tokens.both", condition)
        for name, condition in (("the voice", "audio"), ("the text", "text"))
    ]
    return found
