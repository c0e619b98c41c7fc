"""What a finished experiment shows: the paper's Table 2 with our numbers, and what is real."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from streamser.errors import StreamserError
from streamser.machine import describe_machine
from streamser.saving import replacing
from streamser.training import crossval
from streamser.training.evaluation.bootstrap import Difference, Estimate, compare, estimate
from streamser.training.evaluation.metrics import UAR, WAR, Measure, ccc_of
from streamser.training.evaluation.predictions import Predictions
from streamser.training.manifest import Item
from streamser.training.settings import TrainSettings

Runs = dict[str, list[Predictions]]
"""By condition: one table for each seed, all folds' test items together."""


class GridFigure(msgspec.Struct, frozen=True, kw_only=True):
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
    figures: tuple[GridFigure, ...]


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


def measure(plan: crossval.CrossvalPlan, *, bootstrap: int) -> Grid:
    """Read the predictions of a finished plan and work out its figures.

    Raises ``ModelError`` where a cell has none.
    """
    tables = {cell.name: crossval.read_cell(plan, cell) for cell in plan.cells()}
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
        for condition in crossval.conditions(system)
    ]
    return Grid(
        systems=tuple(found),
        contrasts=tuple(_contrasts(plan.systems, pooled, bootstrap)),
        hours=crossval.total_seconds(plan, plan.cells()) / 3600,
        skipped=_skipped(plan, pooled),
    )


def _pool(
    plan: crossval.CrossvalPlan, system: crossval.System, tables: dict[str, dict[str, Predictions]]
) -> Runs:
    return {
        condition: [
            Predictions.join(
                [tables[crossval.Cell(system, fold, seed).name][condition] for fold in plan.folds]
            )
            for seed in plan.seeds
        ]
        for condition in crossval.conditions(system)
    }


def _skipped(plan: crossval.CrossvalPlan, pooled: dict[str, Runs]) -> int:
    answered = len(next(iter(pooled[plan.systems[0].name].values()))[0])
    return sum(len(fold.test) for fold in plan.folds) - answered


def _measures(system: crossval.System) -> dict[str, Measure]:
    heads = system.settings.model.heads
    found = {"UAR": UAR, "WAR": WAR} if heads.categories else {}
    return found | {f"CCC {name}": ccc_of(i) for i, name in enumerate(heads.dimensions)}


def _figures(
    plan: crossval.CrossvalPlan,
    system: crossval.System,
    condition: str,
    runs: Runs,
    tables: dict[str, dict[str, Predictions]],
    bootstrap: int,
    iemocap: bool,
) -> tuple[GridFigure, ...]:
    measures = _measures(system)
    pooled = estimate(runs[condition], list(measures.values()), replicates=bootstrap)
    found = []
    for (name, one), whole in zip(measures.items(), pooled, strict=True):
        seeds = [_value(run, one) for run in runs[condition]]
        folds = [
            float(
                np.mean(
                    [
                        _value(tables[crossval.Cell(system, fold, seed).name][condition], one)
                        for seed in plan.seeds
                    ]
                )
            )
            for fold in plan.folds
        ]
        found.append(
            GridFigure(
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


def _paper(system: crossval.System, condition: str, name: str) -> float | None:
    reported = crossval.PAPER.get((system.row, system.task))
    if reported is None or condition != "both":
        return None
    percent = {"UAR": reported.uar, "WAR": reported.war}
    if name in percent:
        value = percent[name]
        return None if value is None else value / 100
    return {"CCC valence": reported.valence, "CCC arousal": reported.arousal}.get(name)


def _contrasts(
    systems: Sequence[crossval.System], pooled: dict[str, Runs], bootstrap: int
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


_FIGURES = ("UAR", "WAR", "CCC valence", "CCC arousal", "CCC dominance")
_TASKS = {"both": "multi-task", "category": "categories only", "dimension": "dimensions only"}
_TESTED = {"both": "voice and words", "audio": "voice alone", "text": "words alone"}


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Say what an experiment was made from, so that anybody can make it again."""

    command: str
    manifest: str
    manifest_sha256: str
    protocol: str
    folds: int
    seeds: int
    items: dict[str, int]
    speakers: dict[str, int]
    corpora: tuple[str, ...]
    machine: str
    packages: str


def origin_of(
    plan: crossval.CrossvalPlan, manifest: Path, *, protocol: str, command: str
) -> Origin:
    """Describe the data of a plan (those of its first fold) and this machine."""
    fold = plan.folds[0]
    parts = {"train": fold.train, "dev": fold.dev, "test": fold.test}
    machine = describe_machine()
    return Origin(
        command=command,
        manifest=manifest.name,
        manifest_sha256=hashlib.sha256(manifest.read_bytes()).hexdigest()[:16],
        protocol=protocol,
        folds=len(plan.folds),
        seeds=len(plan.seeds),
        items={name: len(items) for name, items in parts.items()},
        speakers={name: _speakers(items) for name, items in parts.items()},
        corpora=tuple(sorted({item.corpus for items in parts.values() for item in items})),
        machine=f"{machine.cpu}, {machine.cores} cores, {machine.python}",
        packages=_packages(),
    )


def write_grid(grid: Grid, origin: Origin, settings: TrainSettings, out: Path) -> Path:
    """Write ``report.json`` and ``report.md`` into a folder; return the latter's path.

    Raises ``StreamserError`` where the disk refuses.
    """
    whole = {"origin": origin, "settings": _public(settings), "grid": grid}
    path = out / "report.md"
    try:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out / "report.json") as file:
            file.write(msgspec.json.format(msgspec.json.encode(whole), indent=1))
        with replacing(path) as file:
            file.write(markdown(grid, origin).encode())
    except OSError as error:
        raise StreamserError(
            f"the report cannot be written to {out}: {error.strerror or error}."
        ) from None
    return path


def markdown(grid: Grid, origin: Origin) -> str:
    """Render the report."""
    names = [name for name in _FIGURES if any(_find(system, name) for system in grid.systems)]
    main = [each for each in grid.systems if each.condition in ("both", _only(each))]
    alone = [each for each in grid.systems if each not in main and each.task == "both"]
    lines = [
        "# Cross-validation of the ablation grid",
        "",
        *_preamble(origin, grid),
        "",
        "## Every system, tested with all that it takes",
        "",
        *_systems_table(main, names, many=origin.folds > 1),
    ]
    if alone:
        lines += [
            "",
            "## The same multi-task models with one modality missing in the test",
            "",
            *_systems_table(alone, names, many=origin.folds > 1, tested=True),
        ]
    if not grid.contrasts:
        return "\n".join([*lines, ""])
    lines += [
        "",
        "## Which differences are real",
        "",
        "First minus second, averaged over the seeds; 95 % interval and two-sided p of a paired "
        "bootstrap over the test speakers. No correction for the number of comparisons.",
        "",
        *_contrast_table(grid.contrasts),
        "",
    ]
    return "\n".join(lines)


def _preamble(origin: Origin, grid: Grid) -> list[str]:
    parts = ", ".join(
        f"{name} {_counted(count, 'utterance')} of {_counted(origin.speakers[name], 'speaker')}"
        for name, count in origin.items.items()
    )
    return [
        f"- made by: `{origin.command}`",
        f"- data: `{origin.manifest}` (sha256 {origin.manifest_sha256}…), corpus "
        f"{', '.join(origin.corpora)}",
        f"- protocol: {origin.protocol}, {_counted(origin.folds, 'fold')}, "
        f"{_counted(origin.seeds, 'seed')}; "
        f"{'in the first fold ' if origin.folds > 1 else ''}{parts}",
        f"- machine: {origin.machine}; {origin.packages}; {grid.hours:.1f} hours of training, "
        "added up over all trainings",
        "- a figure: pooled over the test items of all folds, mean over the seeds, ± standard "
        "deviation over the seeds [95 % interval of a bootstrap over the test speakers]",
        *(
            [f"- {_counted(grid.skipped, 'test clip')} could not be read, left out everywhere"]
            if grid.skipped
            else []
        ),
    ]


def _systems_table(
    systems: Sequence[SystemFigures], names: Sequence[str], *, many: bool, tested: bool = False
) -> list[str]:
    paper = any(figure.paper is not None for each in systems for figure in each.figures)
    heads = ["system", *(["tested with"] if tested else ["task"]), *names]
    rows = []
    for each in systems:
        second = _TESTED[each.condition] if tested else _TASKS[each.task]
        cells = [_cell(_find(each, name), many=many) for name in names]
        rows.append([crossval.title_of(each.row), second, *cells])
        if paper and not tested:
            rows.append(["", "*the paper*", *(_paper_cell(_find(each, name)) for name in names)])
    return _table(heads, rows)


def _contrast_table(contrasts: Iterable[Contrast]) -> list[str]:
    rows = [
        [
            each.question,
            _TESTED[each.condition] if each.condition != "both" else "all",
            each.figure,
            _number(each.result.first),
            _number(each.result.second),
            _difference(each.result),
            "–" if each.result.p is None else f"{each.result.p:.3f}",
        ]
        for each in contrasts
    ]
    heads = ["question", "tested with", "figure", "first", "second", "difference", "p"]
    return _table(heads, rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(heads)} |",
        f"|{'---|' * len(heads)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _cell(figure: GridFigure | None, *, many: bool) -> str:
    if figure is None:
        return "–"
    text = _number(figure.pooled.value)
    if figure.seed_sd is not None:
        text += f" ± {figure.seed_sd:.3f}"
    text += _interval(figure.pooled)
    if many and figure.fold_mean is not None:
        spread = "" if figure.fold_sd is None else f" ± {figure.fold_sd:.3f}"
        text += f"; folds {figure.fold_mean:.3f}{spread}"
    return text


def _paper_cell(figure: GridFigure | None) -> str:
    return "–" if figure is None else _number(figure.paper)


def _difference(result: Difference) -> str:
    value = result.difference.value
    return "–" if value is None else f"{value:+.3f}{_interval(result.difference, sign='+')}"


def _interval(estimate: Estimate, sign: str = "") -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _find(system: SystemFigures, name: str) -> GridFigure | None:
    return next((figure for figure in system.figures if figure.name == name), None)


def _only(system: SystemFigures) -> str:
    """Return the condition of a system that takes one modality, which is all that it takes."""
    return {"voice": "audio", "words": "text"}.get(system.row, "both")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _public(settings: TrainSettings) -> TrainSettings:
    """Take out what tells of somebody's disk."""
    names = {
        name: Path(getattr(settings.augment, name)).name for name in ("noise_folder", "room_folder")
    }
    return replace(
        settings,
        data=replace(settings.data, manifest=Path(settings.data.manifest).name),
        augment=replace(settings.augment, **names),
    )


def _speakers(items: Iterable[Item]) -> int:
    return len({(item.corpus, item.speaker) for item in items})


def _packages() -> str:
    from importlib import metadata

    names = ("streamser", "torch", "numpy")
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)
