"""What the program says to people: one line at a time, on stderr, never on stdout."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import Any, TextIO

import typer

from streamser.cli.ending import mute
from streamser.visible import printable

__all__ = ["clock", "coloured", "complain", "counted", "signed", "tell", "warn"]


def tell(line: str) -> None:
    """Say something that is good to know; dim on a terminal."""
    _say(line, dim=True)


def warn(line: str) -> None:
    """Say that something is not as it should be, while the work goes on."""
    _say(f"streamser: {line}", fg="yellow")


def complain(line: str) -> None:
    """Say why the work cannot be done."""
    _say(f"streamser: error: {line}", fg="red")


def clock(ms: float) -> str:
    """Write a place in the audio, in ms, as ``m:ss.t`` or ``h:mm:ss.t``."""
    tenths = int(ms) // 100
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def signed(value: float | None) -> str:
    """Write a value in [-1, 1] with its sign and two digits; a dash if it was not measured."""
    # Adding 0.0 turns -0.0 into 0.0.
    return "–" if value is None else f"{round(value, 2) + 0.0:+.2f}"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 utterance``, ``2 utterances``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def coloured(stream: TextIO) -> bool:
    """Tell whether colours may be written: to a terminal that has them, unless NO_COLOR is set."""
    refused = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not refused


def _say(line: str, **style: Any) -> None:
    # Not typer.secho: it writes past the proxy by which a live display keeps out of the way.
    line = printable(line)
    if sys.stderr.isatty():
        # A terminal breaks rows wherever they end; what is longer than one stays to be copied.
        width = max(1, shutil.get_terminal_size().columns)
        line = "\n".join(textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False))
    said = typer.style(line, **style) if coloured(sys.stderr) else line
    try:
        print(said, file=sys.stderr, flush=True)
    except OSError:
        # Nobody is left to be told; the work itself may still be wanted.
        mute(sys.stderr)
