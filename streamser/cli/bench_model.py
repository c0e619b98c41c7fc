"""``streamser bench model``: what a fused model of full size costs on this machine."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamser.cli.report_files import JsonFile, MarkdownFile, check_writable, save_report
from streamser.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from streamser.emotion.fused.config import FusedConfig

__all__ = ["model"]

_WIDTH = 160


class Work(StrEnum):
    """What a model is measured at."""

    INFER = "infer"
    TRAIN = "train"
    BOTH = "both"


class Device(StrEnum):
    """Where a model is measured."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(StrEnum):
    """What a model computes in."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def model(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="paper, base, compact, whisper, or a TOML file.")
    ] = "paper",
    batch: Annotated[str, typer.Option("--batch", metavar="N,N,…", help="Batch sizes.")] = "1,8,32",
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=60, help="Sound of an utterance.")
    ] = 5.0,
    tokens: Annotated[
        int, typer.Option("--tokens", min=2, max=512, help="Tokens of an utterance.")
    ] = 20,
    device: Annotated[Device, typer.Option("--device", help="auto: cuda if there.")] = Device.AUTO,
    precision: Annotated[
        Precision,
        typer.Option("--precision", help="auto: bfloat16 autocast on cuda, float32 on the CPU."),
    ] = Precision.AUTO,
    mode: Annotated[Work, typer.Option("--mode", help="Answering, learning, or both.")] = Work.BOTH,
    checkpointing: Annotated[
        bool,
        typer.Option("--checkpointing", help="Recompute activations: less memory, more time."),
    ] = False,
    memory: Annotated[
        float | None,
        typer.Option(
            "--memory", min=0.1, metavar="GIB", help="Most that a case may take. [what is free]"
        ),
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of CONFIG; repeat."),
    ] = None,
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
) -> None:
    """Measure a fused model with random weights: time, memory, and its matrix products alone.

    Every batch size runs in a process of its own, which is stopped where the memory does not
    suffice. Nothing is downloaded for the presets. Keep the machine otherwise idle.
    """
    sizes = _sizes(batch)
    for option, file in (("--json", json_file), ("--markdown", markdown_file)):
        if file is not None:
            check_writable(option, file)
    import msgspec
    from msgspec.structs import replace
    from rich.console import Console

    from streamser.cli.ending import ending_soon
    from streamser.cli.talk import tell
    from streamser.training.settings import load_train_settings

    settings = load_train_settings(config, assign or ())
    run = replace(settings.run, device=device.value, precision=precision.value)
    settings = replace(settings, run=run)
    if checkpointing:
        settings = replace(settings, model=_checkpointed(settings.model))

    try:
        from streamser.bench.model import MODES, ModelBench, run_model_bench
        from streamser.bench.model_tables import model_markdown, print_model_report
    except (ImportError, OSError) as error:  # torch without its libraries is an OSError
        raise ModelError(
            f"measuring a model needs what is not installed ({error}): "
            "run pip install 'streamser[train]'."
        ) from error

    bench = ModelBench(
        config=config,
        settings=settings,
        modes=tuple(each for each in MODES if mode in (Work.BOTH, each)),
        batches=sizes,
        seconds=seconds,
        tokens=tokens,
        memory_mib=None if memory is None else memory * 1024,
    )
    with ending_soon():
        report = run_model_bench(bench, tell)
    # In a file or a log nobody wants the 80 columns of a terminal that is not there.
    width = None if sys.stdout.isatty() else _WIDTH
    try:
        print_model_report(report, Console(highlight=False, width=width))
    finally:
        # A full stdout does not cost the report.
        if json_file is not None:
            encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
            save_report("--json", json_file, encoded + b"\n")
        if markdown_file is not None:
            save_report("--markdown", markdown_file, model_markdown(report).encode())


def _sizes(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and int(part) for part in parts):
        raise ConfigError(f"--batch {text}: write sizes of 1 or more with commas, such as 1,8,32.")
    return tuple(int(part) for part in parts)


def _checkpointed(config: FusedConfig) -> FusedConfig:
    """Switch on gradient checkpointing wherever an encoder has it."""
    from msgspec.structs import replace

    encoders: dict[str, Any] = {"acoustic": config.acoustic, "text": config.text}
    able = {
        name: replace(encoder, gradient_checkpointing=True)
        for name, encoder in encoders.items()
        if hasattr(encoder, "gradient_checkpointing")
    }
    if not able:
        raise ConfigError("--checkpointing: this model has no pretrained encoder.")
    return replace(config, **able)
