"""Write events to a file as they happen, so that a killed program leaves all but the last."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from streamser.events import Event, SessionCreated, encode_event
from streamser.export.lock import hold

__all__ = ["EventLog", "line_of"]


def line_of(event: Event, unix_ms: int | None = None) -> bytes:
    """Return an event as a line; with ``unix_ms``, ms since 1970, the first says when it began."""
    body = encode_event(event)
    if unix_ms is None or not isinstance(event, SessionCreated):
        return body + b"\n"
    return b'%b,"unix_ms":%d}\n' % (body[:-1], unix_ms)


class EventLog:
    """Write lines to a file, each at once and whole.

    What people say is theirs: the file is for its owner's eyes only, and marked as being
    written until it is closed. With ``fresh`` it must be a new one; else it may take the place
    of an old one. No link is followed, but for one that a user has ``named``. Raises
    ``OSError``, from ``write`` too (disk full); then no part of the line stays behind, since
    half an event is none and could not be read.
    """

    def __init__(self, path: Path, *, fresh: bool = True, named: bool = False) -> None:
        self.path = path
        over = named and not fresh
        if not fresh and not named:
            path.unlink(missing_ok=True)
        mode: Literal["xb", "wb"] = "wb" if over else "xb"
        self._file = open(path, mode, buffering=0, opener=_private)  # noqa: SIM115
        hold(self._file)
        if over and path.is_file():
            # An old one has the rights it had.
            path.chmod(0o600)
        self._kept = 0

    def write(self, line: bytes) -> None:
        """Write a line, its end included."""
        try:
            while line:
                line = line[self._file.write(line) :]
            self._kept = self._file.tell()
        except OSError:
            with suppress(OSError):
                self._file.truncate(self._kept)
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
