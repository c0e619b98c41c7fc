"""Write events to a file as they happen, so that a killed program leaves all but the last."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from streamser.events import Event, SessionCreated, encode_event

__all__ = ["EventLog", "line_of"]


def line_of(event: Event, unix_ms: int | None = None) -> bytes:
    """Return an event as a line; with ``unix_ms``, ms since 1970, the first says when it began."""
    body = encode_event(event)
    if unix_ms is None or not isinstance(event, SessionCreated):
        return body + b"\n"
    return b'%b,"unix_ms":%d}\n' % (body[:-1], unix_ms)


class EventLog:
    """Write lines to a file, each at once and whole.

    What people say is theirs: with ``private`` the file is a new one, for its owner's eyes
    only; else it is like any other, and may take the place of an old one. No link is followed,
    but for one that a user has ``named``. Raises ``OSError``, from ``write`` too (disk full);
    then no part of the line stays behind, since half an event is none and could not be read.
    """

    def __init__(self, path: Path, *, private: bool = True, named: bool = False) -> None:
        self.path = path
        if private:
            self._file = open(path, "xb", buffering=0, opener=_private)  # noqa: SIM115
        elif named:
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115
        else:
            path.unlink(missing_ok=True)
            self._file = open(path, "xb", buffering=0)  # noqa: SIM115
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
