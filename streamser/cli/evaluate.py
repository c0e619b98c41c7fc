"""``streamser evaluate``: how good a model is on utterances whose emotion is known."""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from streamser.cli.console import counted, tell, warn
from streamser.cli.options import check_folder, needs_extra
from streamser.errors import ConfigError

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
    from streamser.emotion.compact.bundle import is_bundle
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
