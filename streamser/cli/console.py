"""What the program says to people, one line at a time on stderr; and its standard streams."""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
import textwrap
from typing import Any, TextIO

import typer

from streamser.cli.signals import mute
from streamser.text import printable

_ESCAPING = "streamser-escape"


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


def mend_streams() -> None:
    """Replace streams that the caller has closed, and let no character be unprintable."""
    # In this order: each takes the lowest free descriptor, which is the one that is missing.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    codecs.register_error(_ESCAPING, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPING)


def for_json(out: TextIO) -> TextIO:
    """Make a stream take JSON as UTF-8, whatever code page the system has; return it.

    Where that is another, letters beyond ASCII are escaped, which is UTF-8, too, and which also
    survives a shell that reads what it redirects in its own code page, as PowerShell 5 does.
    """
    if isinstance(out, io.TextIOWrapper) and not _is_utf8(out):
        codecs.register_error(_ESCAPING, _escape)
        out.reconfigure(encoding="ascii", errors=_ESCAPING, newline="\n")
    return out


def as_utf8(out: TextIO) -> TextIO:
    """Make a stream take text as UTF-8, whatever code page the system has; return it."""
    if isinstance(out, io.TextIOWrapper) and not _is_utf8(out):
        out.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    return out


def print_json(value: Any) -> None:
    """Print a value as JSON that people can read, too."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    for_json(sys.stdout).write(text + "\n")


def _is_utf8(out: io.TextIOWrapper) -> bool:
    return codecs.lookup(out.encoding).name == "utf-8"


def _escape(fault: UnicodeError) -> tuple[str, int]:
    """Escape what an encoding lacks as JSON does, so that JSON lines stay JSON."""
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    import json

    return json.dumps(fault.object[fault.start : fault.end])[1:-1], fault.end
