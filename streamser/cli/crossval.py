"""``streamser crossval``: the paper's experiment on a corpus of one's own."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.errors import ConfigError

if TYPE_CHECKING:
    from streamser.training.crossval import Cell

__all__ = ["crossval"]


class Protocol(StrEnum):
    """How speakers are parted."""

    SPEAKER = "speaker"
    SESSION = "session"
    GROUPS = "groups"
    OWN = "own"


def crossval(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="Training preset or TOML file.")],
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", metavar="FILE", help="A corpus; else data.manifest."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where results go, and are found again.")
    ] = Path("runs/crossval"),
    protocol: Annotated[
        Protocol,
        typer.Option(
            "--protocol",
            help="Leave one speaker or session out, groups of speakers, or the manifest's splits.",
        ),
    ] = Protocol.SPEAKER,
    groups: Annotated[
        int, typer.Option("--groups", min=3, metavar="K", help="Folds of --protocol groups.")
    ] = 5,
    rows: Annotated[
        str,
        typer.Option(
            "--rows",
            metavar="NAMES",
            help="table2, all, or names with commas: baseline, self-attention, cross-attention, "
            "bridge-tokens, rmm, same-kv, concat, voice, words.",
        ),
    ] = "table2",
    tasks: Annotated[
        str,
        typer.Option(
            "--tasks", metavar="NAMES", help="With commas: both (multi-task), category, dimension."
        ),
    ] = "both,category,dimension",
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, metavar="N", help="Trainings of every system.")
    ] = 3,
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, metavar="N", help="Trainings at a time, on CPU.")
    ] = 1,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=100, metavar="N", help="Replicates of intervals.")
    ] = 2000,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any training setting; repeat."),
    ] = None,
    report_only: Annotated[
        bool, typer.Option("--report", help="Train nothing; report what is there.")
    ] = False,
) -> None:
    """Train and test the paper's ablation grid on all folds; goes on where it was stopped.

    Writes report.md and report.json into --out, and every test prediction below it.
    """
    from streamser.training.ablation import systems
    from streamser.training.crossval import Plan, pending, run_cells
    from streamser.training.folds import folds
    from streamser.training.grid import measure
    from streamser.training.grid_report import origin_of, write_grid
    from streamser.training.manifest import read_manifest
    from streamser.training.presets import load_train_settings

    settings = load_train_settings(config, assign or ())
    source = manifest or (Path(settings.data.manifest) if settings.data.manifest else None)
    if source is None:
        raise ConfigError("no manifest; give --manifest FILE (`streamser corpus` makes one).")
    items = read_manifest(source)
    plan = Plan(
        systems=tuple(systems(settings, _rows(rows), _names(tasks))),
        folds=tuple(folds(items, protocol.value, k=groups)),
        seeds=tuple(range(seeds)),
        out=out,
    )
    cells = plan.cells()
    left = pending(plan)
    typer.echo(
        f"{len(plan.systems)} systems x {len(plan.folds)} folds x {seeds} seeds = "
        f"{len(cells)} trainings, {len(cells) - len(left)} done.",
        err=True,
    )
    if not report_only:
        finished = len(cells) - len(left)

        def tell(cell: Cell, seconds: float) -> None:
            nonlocal finished
            finished += 1
            typer.echo(f"[{finished}/{len(cells)}] {cell.name}: {seconds:.0f} s", err=True)

        run_cells(plan, left, jobs=jobs, report=tell)
    elif left:
        raise ConfigError(f"{len(left)} trainings are missing; run without --report first.")
    command = " ".join(["streamser", *(_bare(word) for word in sys.argv[1:])])
    origin = origin_of(plan, source, protocol=protocol.value, command=command)
    report = write_grid(measure(plan, bootstrap=bootstrap), origin, settings, out)
    typer.echo(report.read_text(encoding="utf-8"))


def _bare(word: str) -> str:
    """Strip the folders of a path: they are the machine's, not the experiment's."""
    return Path(word).name if word.startswith("/") else word


def _rows(text: str) -> tuple[str, ...]:
    from streamser.training.ablation import PAPER_ROWS, ROWS

    presets = {"table2": PAPER_ROWS, "all": tuple(row.name for row in ROWS)}
    return presets.get(text) or _names(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
