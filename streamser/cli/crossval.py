"""``streamser crossval``: the paper's experiment on a corpus of one's own."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.console import counted, tell
from streamser.cli.options import check_folder, needs_extra
from streamser.cli.signals import Stopped, catching
from streamser.errors import ConfigError

if TYPE_CHECKING:
    from types import FrameType

    from streamser.training.crossval import Cell, CrossvalPlan


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
        int,
        typer.Option(
            "--seeds", min=1, metavar="N", help="Trainings of every system, from run.seed on."
        ),
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
    check_folder("--out", out)
    from streamser.training.crossval import CrossvalPlan, check_labels, pending, systems
    from streamser.training.folds import folds
    from streamser.training.manifest import read_manifest
    from streamser.training.settings import load_train_settings

    settings = load_train_settings(config, assign or ())
    source = manifest or (Path(settings.data.manifest) if settings.data.manifest else None)
    if source is None:
        raise ConfigError("no manifest; give --manifest FILE (`streamser corpus` makes one).")
    items = read_manifest(source)
    plan = CrossvalPlan(
        systems=tuple(systems(settings, _rows(rows), _names(tasks))),
        folds=tuple(folds(items, protocol.value, k=groups)),
        seeds=tuple(range(settings.run.seed, settings.run.seed + seeds)),
        out=out,
    )
    check_labels(plan)
    cells = plan.cells()
    left = pending(plan)
    if left and report_only:
        raise ConfigError(
            f"{len(left)} of {counted(len(cells), 'training')} missing; run without --report first."
        )
    parts = ((plan.systems, "system"), (plan.folds, "fold"), (plan.seeds, "seed"))
    tell(
        f"{' x '.join(counted(len(part), noun) for part, noun in parts)} = "
        f"{counted(len(cells), 'training')}, {len(cells) - len(left)} done."
    )
    _run(plan, left, jobs)

    from streamser.training.grid import measure, origin_of, write_grid

    origin = origin_of(plan, source, protocol=protocol.value, command=_command(sys.argv[1:]))
    report = write_grid(measure(plan, bootstrap=bootstrap), origin, settings, out)
    typer.echo(report.read_text(encoding="utf-8"))


def _run(plan: CrossvalPlan, left: Sequence[Cell], jobs: int) -> None:
    """Run the trainings that are left; Ctrl-C and the like end all processes at once."""
    from streamser.training.crossval import run_cells

    with needs_extra("train", "a training"):
        import streamser.training.train  # noqa: F401

    total = len(plan.cells())
    finished = total - len(left)

    def hear(cell: Cell, seconds: float) -> None:
        nonlocal finished
        finished += 1
        tell(f"[{finished}/{total}] {cell.name}: {seconds:.0f} s")

    try:
        with catching(_stop, "SIGTERM", "SIGHUP"):
            run_cells(plan, left, jobs=jobs, report=hear)
    except KeyboardInterrupt:
        tell(f"stopped after {finished} of {total}; the same command goes on.")
        raise


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def _command(words: Sequence[str]) -> str:
    """Write the command as it was typed, but for folders that only this machine has."""
    return shlex.join(["streamser", *map(_bare, words)])


def _bare(word: str) -> str:
    before, equals, place = word.rpartition("=")
    path = Path(place)
    return before + equals + path.name if path.is_absolute() or ".." in path.parts else word


def _rows(text: str) -> tuple[str, ...]:
    from streamser.training.crossval import PAPER_ROWS, ROWS

    presets = {"table2": PAPER_ROWS, "all": tuple(row.name for row in ROWS)}
    return presets.get(text) or _names(text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
