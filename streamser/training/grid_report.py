"""The experiment's report as people read it: the paper's Table 2 with our numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from msgspec.structs import replace

from streamser.errors import StreamserError
from streamser.machine import describe_machine
from streamser.saving import replacing
from streamser.training.ablation import title_of
from streamser.training.bootstrap import Difference, Estimate
from streamser.training.crossval import Plan
from streamser.training.grid import Contrast, Figure, Grid, SystemFigures
from streamser.training.items import Item
from streamser.training.settings import TrainSettings

__all__ = ["Origin", "origin_of", "write_grid"]

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


def origin_of(plan: Plan, manifest: Path, *, protocol: str, command: str) -> Origin:
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
        rows.append([title_of(each.row), second, *cells])
        if paper and not tested:
            rows.append(["", "*the paper*", *(_paper(_find(each, name)) for name in names)])
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


def _cell(figure: Figure | None, *, many: bool) -> str:
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


def _paper(figure: Figure | None) -> str:
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


def _find(system: SystemFigures, name: str) -> Figure | None:
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
