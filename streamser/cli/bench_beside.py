"""``streamser bench beside``: our designs and what a user would otherwise write."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from streamser.cli.options import JsonFile, MarkdownFile, check_writable, save_report
from streamser.errors import ConfigError

__all__ = ["beside"]

_WIDTH = 160


def beside(
    only: Annotated[
        str | None,
        typer.Option(
            "--only",
            metavar="PART,…",
            help="Of locks, words, vad, pipeline, whisper, matrix. [all]",
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            "--recordings",
            metavar="DIR",
            help="WAV and FLAC files to measure with. [the bundled demo]",
        ),
    ] = None,
    whisper: Annotated[
        Path | None,
        typer.Option(
            "--asr-model", metavar="DIR", help="whisper: its weights. [random, size tiny]"
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", help="Sound, weights, and when streams begin.")
    ] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Try everything for seconds; no figures to quote.")
    ] = False,
    json_file: JsonFile = None,
    markdown_file: MarkdownFile = None,
) -> None:
    """Compare our designs with the usual ones: same sound, weights and machine, as ratios.

    locks: live streams held, against a lock around one model and a process a stream. vad:
    against silero-vad's VADIterator. pipeline: against transformers' audio-classification.
    whisper: against faster-whisper from threads. matrix: the share of the machine's
    matrix-product rate. Takes about a quarter of an hour, most of it for locks. Keep the
    machine otherwise idle.
    """
    for option, file in (("--json", json_file), ("--markdown", markdown_file)):
        if file is not None:
            check_writable(option, file)
    import msgspec
    from rich.console import Console

    from streamser.bench.beside.report import PARTS
    from streamser.bench.beside.run import BesidePlan, run_beside
    from streamser.bench.beside.tables import beside_markdown, print_beside
    from streamser.cli.console import tell
    from streamser.cli.signals import ending_soon

    parts = PARTS if only is None else _parts(only, PARTS)
    if whisper is not None and not whisper.is_dir():
        raise ConfigError(f"--asr-model {whisper}: it is no folder; name that of a Whisper.")
    plan = BesidePlan(
        command=shlex.join(["streamser", *sys.argv[1:]]),
        parts=parts,
        recordings=recordings,
        whisper=whisper,
        seed=seed,
        quick=quick,
    )
    with ending_soon():
        report = run_beside(plan, tell)
    # In a file or a log nobody wants the 80 columns of a terminal that is not there.
    width = None if sys.stdout.isatty() else _WIDTH
    try:
        print_beside(report, Console(highlight=False, width=width))
    finally:
        # A full stdout does not cost the report.
        if json_file is not None:
            encoded = msgspec.json.format(msgspec.json.encode(report), indent=2)
            save_report("--json", json_file, encoded + b"\n")
        if markdown_file is not None:
            save_report("--markdown", markdown_file, beside_markdown(report).encode())


def _parts(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    asked = [part.strip() for part in text.split(",")]
    if unknown := [part for part in asked if part not in known]:
        raise ConfigError(f"--only {unknown[0] or text}: there are {', '.join(known)}.")
    return tuple(part for part in known if part in asked)
