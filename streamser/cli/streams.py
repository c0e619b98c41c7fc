"""The streams of the program: never closed, never unable to write a character, read by programs."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any, TextIO

__all__ = ["as_utf8", "for_json", "mend_streams", "print_json"]

_ESCAPING = "streamser-escape"


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
