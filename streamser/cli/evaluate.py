"""``streamser evaluate``: how good a model is on utterances whose emotion is known.

``streamser crossval``: how good a design is, by the paper's experiment on a corpus of one's own.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.console import Stopped, catching, counted, tell, warn
from streamser.cli.options import check_folder, needs_extra
from streamser.errors import ConfigError

if TYPE_CHECKING:
    from types import FrameType

    from streamser.training.crossval import Cell, CrossvalPlan

_WIDTH = 160


class ModalityChoice(StrEnum):
    """What the model gets."""

    AUDIO = "audio"
    TEXT = "text"
    BOTH = "both"
    ALL = "all"


class WordsChoice(StrEnum):
    """Whose words the model reads."""

    GOLD = "gold"
    ASR = "asr"


class SplitChoice(StrEnum):
    """Which utterances of a manifest."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"
    ALL = "all"


class DeviceChoice(StrEnum):
    """Where the model runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def evaluate(
    context: typer.Context,
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="compact or another name, directory of a model, or its hub name."
        ),
    ],
    manifest: Annotated[
        Path, typer.Argument(metavar="MANIFEST", help="Table that `streamser corpus` wrote.")
    ],
    split: Annotated[
        SplitChoice | None,
        typer.Option("--split", help="Utterances to answer. [test; all where none is marked]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where report and pictures go. [runs/evaluate-MODEL-MANIFEST]",
        ),
    ] = None,
    modality: Annotated[
        ModalityChoice, typer.Option("--modality", help="What the model gets; all: each in turn.")
    ] = ModalityChoice.ALL,
    text: Annotated[
        WordsChoice | None,
        typer.Option("--text", help="Transcripts or a recogniser's words. [each that is there]"),
    ] = None,
    snr: Annotated[
        str,
        typer.Option("--snr", metavar="DB,DB", help="Add noise as well, at each of these ratios."),
    ] = "",
    noise: Annotated[
        Path | None,
        typer.Option("--noise", metavar="DIR", help="WAV and FLAC noises. [white, pink, brown]"),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, metavar="N", help="Of the bootstrap's draws.")
    ] = 0,
    device: Annotated[
        DeviceChoice, typer.Option("--device", help="auto: cuda if there.")
    ] = DeviceChoice.AUTO,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, metavar="N", help="Draws; 0: no intervals.")
    ] = 1000,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at a clip that cannot be read, not skip it.")
    ] = False,
) -> None:
    """Measure a model on labelled utterances, each figure with its 95 % interval.

    Writes evaluation.json, evaluation.md and pictures into --out.
    """
    ratios = _ratios(snr)
    is_checkpoint = not _is_no_checkpoint(checkpoint)
    place = out or Path("runs") / f"evaluate-{_named(checkpoint)}-{manifest.stem}"
    check_folder("--out", place)
    from rich.console import Console

    from streamser.machine import cpu_name
    from streamser.training.manifest import read_manifest

    # Before torch, which takes longer to come than a table to be refused.
    read_manifest(manifest)

    with needs_extra("train", "an evaluation"):
        from streamser.training.evaluate_model import evaluate_model
        from streamser.training.evaluation.evaluate import EvaluationRequest, bare, write_evaluation
        from streamser.training.evaluation.evaluate import evaluate as evaluate_checkpoint
        from streamser.training.evaluation.report import summary

    request = EvaluationRequest(
        checkpoint=checkpoint,
        manifest=manifest,
        split=None if split is None else split.value,
        modality=modality.value,
        text=None if text is None else text.value,
        snrs=ratios,
        noise=noise,
        seed=seed,
        device=device.value,
        replicates=bootstrap,
        strict=strict,
        command=_command(context, bare),
        cpu=cpu_name(),
    )
    measure = evaluate_checkpoint if is_checkpoint else evaluate_model
    evaluated = measure(request, lambda title: tell(f"{title} …"))
    if skipped := evaluated.evaluation.provenance.skipped:
        warn(f"{counted(skipped, 'clip')} of {manifest.name} could not be read, left out.")
    if taught := evaluated.evaluation.provenance.taught_line:
        warn(f"{taught}.")
    files = write_evaluation(evaluated, place)
    # In a file or a log nobody wants the 80 columns of a terminal that is not there.
    width = None if sys.stdout.isatty() else _WIDTH
    Console(highlight=False, width=width).print(summary(evaluated.evaluation))
    tell(f"written: {', '.join(str(file) for file in files)}")


def _is_no_checkpoint(name: str) -> bool:
    from streamser.emotion.choose import check_checkpoint_name, comes_with_us
    from streamser.emotion.compact.model import is_bundle
    from streamser.plugins import EMOTION_MODELS, find_plugin

    if comes_with_us(name) or find_plugin(EMOTION_MODELS, name) is not None:
        return True
    # A slip of the pen would else be looked for on the hub.
    check_checkpoint_name(name)
    return is_bundle(Path(name).expanduser())


def _ratios(text: str) -> tuple[float, ...]:
    try:
        ratios = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        ratios = (math.nan,)
    if not all(-60 <= ratio <= 120 for ratio in ratios):
        raise ConfigError(f"--snr {text}: give ratios in dB with commas, such as 20,10,5,0.")
    return tuple(dict.fromkeys(ratios))


def _named(checkpoint: str) -> str:
    """Name a checkpoint; `streamser train` calls each ``model``, in a folder that has a name."""
    path = Path(checkpoint).absolute()
    return (path.parent if path.name == "model" else path).name


def _command(context: typer.Context, bare: Callable[[str | Path], str]) -> str:
    """Write the command as it was typed, but for paths that only this machine has."""
    words = ["streamser", "evaluate"]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if value is None or value == parameter.default:
            continue
        name = [] if parameter.param_type_name == "argument" else [parameter.opts[0]]
        is_place = parameter.name in ("checkpoint", "manifest", "out", "noise")
        if parameter.name != "strict":
            name.append(bare(value) if is_place else str(value))
        words += name
    return shlex.join(words)


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

    origin = origin_of(
        plan, source, protocol=protocol.value, command=_crossval_command(sys.argv[1:])
    )
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


def _crossval_command(words: Sequence[str]) -> str:
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
