"""``streamser train``: teach the fused model on a manifest of utterances."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.console import INTERRUPTED, Stopped, catching, tell
from streamser.cli.options import needs_extra
from streamser.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from streamser.training.checkpointing import Beginning, EpochRow
    from streamser.training.manifest import Item
    from streamser.training.settings import TrainSettings
    from streamser.training.train import Report


def train(
    config: Annotated[
        str,
        typer.Argument(
            metavar="CONFIG", help="ablation, base, compact, paper, whisper, or a TOML file."
        ),
    ],
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest", metavar="FILE", help="Table of `streamser corpus`. [data.manifest]"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where it all goes. [runs/CONFIG-SEED]"),
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting by its dotted key; repeat."),
    ] = None,
    init: Annotated[
        list[str] | None,
        typer.Option(
            "--init",
            metavar="NAME",
            help="Begin with the encoder of a public model (`streamser models`), or with"
            " audio=NAME or text=NAME: a directory or hub name; repeat.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training that is in --out.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the training that is in --out, begin anew.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Take pretrained encoders from the cache alone.")
    ] = False,
) -> None:
    """Train a model on the train utterances, choosing its best epoch on the dev ones.

    Prints where the checkpoint of the best epoch is: DIR/model. Ctrl-C saves and ends; --resume
    goes on as if nothing had happened, after a kill too, and ends with the same weights.
    """
    if resume and fresh:
        raise ConfigError("--resume and --fresh exclude each other.")
    begin: Beginning = "resume" if resume else "fresh" if fresh else "new"
    from streamser.training.settings import encoder_assignments, load_train_settings

    # What is set expressly wins.
    settings = load_train_settings(config, [*encoder_assignments(init or ()), *(assign or ())])
    source = manifest or (Path(settings.data.manifest) if settings.data.manifest else None)
    if source is None:
        raise ConfigError("no manifest; give --manifest FILE (`streamser corpus` makes one).")
    place = out or Path("runs") / f"{Path(config).stem}-{settings.run.seed}"

    from streamser.training.manifest import read_manifest

    checkpoint = _train(settings, read_manifest(source), place, begin, offline=offline)
    typer.echo(checkpoint)


def _train(
    settings: TrainSettings, items: list[Item], out: Path, begin: Beginning, *, offline: bool
) -> Path:
    with needs_extra("train", "a training"):
        from streamser.training import train as training
    wish = _Wish()
    with _reporting() as report, catching(wish.on_signal, "SIGINT", "SIGTERM", "SIGHUP"):
        wish.report = report
        try:
            result = training.train(
                settings,
                items,
                out,
                report=wish,
                begin=begin,
                stop=lambda: wish.code is not None,
                offline=offline,
            )
        except training.Paused:
            tell(_how_to_go_on())
            raise typer.Exit(wish.code or INTERRUPTED) from None
        except KeyboardInterrupt:
            if (out / "state.safetensors").exists():
                tell(_how_to_go_on())
            raise
    return result.directory


class _Wish:
    """Turn signals into the wish to stop after the running step, once steps are being made.

    Before that, and at the second signal, there is nothing to save: they end the program.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self.report: Report | None = None
        self._learning = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.code is not None or not self._learning:
            raise Stopped(number)
        self.code = 128 + number

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Hear that steps are about to be made."""
        self._learning = True
        if self.report is not None:
            self.report.begin(epochs, steps, done)

    def step(self) -> None:
        """Pass a step on."""
        if self.report is not None:
            self.report.step()

    def epoch(self, row: EpochRow, best: bool) -> None:
        """Pass an epoch on."""
        if self.report is not None:
            self.report.epoch(row, best)

    def note(self, line: str) -> None:
        """Pass a note on."""
        if self.report is not None:
            self.report.note(line)


class _Lines:
    """Say a line for each epoch."""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Remember how many epochs there are."""
        self._epochs = epochs

    def step(self) -> None:
        """Say nothing."""

    def epoch(self, row: EpochRow, best: bool) -> None:
        """Say what an epoch gave."""
        tell(_described(row, self._epochs, best))

    def note(self, line: str) -> None:
        """Say it."""
        tell(line)


class _Bar(_Lines):
    """Show a bar of steps below the lines."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Show the bar."""
        super().begin(epochs, steps, done)
        self._task = self._progress.add_task("training", total=epochs * steps, completed=done)

    def step(self) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task)


@contextlib.contextmanager
def _reporting() -> Iterator[Report]:
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Remaining())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress)


def _described(row: EpochRow, epochs: int, best: bool) -> str:
    parts = [f"epoch {row.epoch}/{epochs}"]
    parts += [
        f"{name} {value:.3f}"
        for name, value in (
            ("train loss", row.train_loss),
            ("dev loss", row.dev_loss),
            ("dev UAR", row.dev_uar),
        )
        if value is not None
    ]
    agreement = [f"{value:.3f}" for value in row.dev_ccc if value is not None]
    parts += [f"dev CCC {' '.join(agreement)}"] if agreement else []
    parts += [f"{row.masked} masked"] if row.masked else []
    return ", ".join([*parts, f"{row.seconds:.1f} s"]) + (", the best so far" if best else "")


def _how_to_go_on() -> str:
    words = [word for word in sys.argv[1:] if word not in ("--fresh", "--resume")]
    return f"stopped; go on with: {shlex.join(['streamser', *words, '--resume'])}"
