"""The lines of the log: how each is written, and what becomes of whatever else goes to stderr."""

from __future__ import annotations

import enum
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from streamser.errors import describe
from streamser.text import printable

__all__ = [
    "FIELDS",
    "JsonStream",
    "LogFormat",
    "fault_of",
    "log_line",
    "log_thread_fault",
    "logs",
]

FIELDS: Final = "streamser_fields"
"""Attribute of a record with its fields, for those who format it."""

_logger = logging.getLogger(__name__)


class LogFormat(enum.Enum):
    """Name how a line of the log is written."""

    TEXT = "text"
    JSON = "json"


@contextmanager
def logs(form: LogFormat) -> Iterator[None]:
    """Write what the program logs, from INFO on, to stderr until the block ends.

    Of libraries it is what they warn of. As JSON every line is an object: what is said to people,
    and whatever else Python writes to ``sys.stderr``, as well.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Json() if form is LogFormat.JSON else _Text())
    root, own = logging.getLogger(), logging.getLogger("streamser")
    level = own.level
    root.addHandler(handler)
    own.setLevel(logging.INFO)
    try:
        if form is LogFormat.JSON:
            with _all_logged(JsonStream(sys.stderr, handler)):
                yield
        else:
            yield
    finally:
        root.removeHandler(handler)
        own.setLevel(level)


def log_line(
    name: str,
    level: int,
    message: str,
    *,
    reason: str | None = None,
    created: float | None = None,
    **fields: str | float,
) -> None:
    """Write a line that another process has logged, ``created`` s since 1970, or none has."""
    logger = logging.getLogger(name)
    if not logger.isEnabledFor(level):
        return
    known: dict[str, Any] = {"event": "log", "message": message, **fields}
    if reason is not None:
        known["reason"] = reason
    told = message if reason is None else f"{message}: {reason}"
    record = logger.makeRecord(name, level, "", 0, told, (), None, extra={FIELDS: known})
    if created is not None:
        record.created = created
    logger.handle(record)


def log_thread_fault(fault: threading.ExceptHookArgs) -> None:
    """Log what has ended a thread; a hook for ``threading``."""
    if fault.exc_type is not SystemExit:
        name = "a thread" if fault.thread is None else fault.thread.name
        _logger.error("%s has ended by a fault", name, exc_info=fault.exc_value)


def fault_of(record: logging.LogRecord) -> str | None:
    """Return what went wrong, where a record has an error, in one line.

    Never the traceback: its last line may quote a header, or what people say.
    """
    if record.exc_info is None or record.exc_info[1] is None:
        return None
    return describe(record.exc_info[1])


class JsonStream(io.TextIOBase):
    """Stand for a stream whose readers want JSON: what is written is logged line by line."""

    def __init__(self, out: TextIO, handler: logging.Handler) -> None:
        super().__init__()
        self._out = out
        self._handler = handler
        # Threads that write at once would else end up in one line.
        self._begun = threading.local()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Return the encoding of the stream itself."""
        return self._out.encoding

    def fileno(self) -> int:
        """Return the descriptor of the stream itself."""
        return self._out.fileno()

    def writable(self) -> bool:
        """Return that it can be written to."""
        return True

    def write(self, text: str) -> int:
        """Log the lines that are complete; the rest waits for its end."""
        *lines, rest = (getattr(self._begun, "text", "") + text).split("\n")
        self._begun.text = rest
        for line in filter(str.strip, lines):
            self.say(logging.WARNING, line)
        return len(text)

    def say(self, level: int, line: str) -> None:
        """Log a line."""
        fields = {FIELDS: {"event": "log", "message": line}}
        # Past the levels of loggers: it is written where they would not have been asked, too.
        self._handler.handle(
            _logger.makeRecord(_logger.name, level, "", 0, line, (), None, extra=fields)
        )


@contextmanager
def _all_logged(stream: JsonStream) -> Iterator[None]:
    """Lead what is not logged into the log until the block ends: lines, warnings, lost threads."""
    real, hook = sys.stderr, threading.excepthook
    sys.stderr, threading.excepthook = stream, log_thread_fault
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        sys.stderr, threading.excepthook = real, hook


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - its name there
        """Do nothing: stderr is what would be told of it."""


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fault = fault_of(record)
        told = record.getMessage() + ("" if fault is None else f": {fault}")
        return f"{_time(record)} {record.levelname} {printable(told)}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {"time": _time(record), "level": record.levelname.lower()}
        own: Mapping[str, Any] | None = getattr(record, FIELDS, None)
        fields |= {"event": "log", "message": record.getMessage()} if own is None else own
        if (fault := fault_of(record)) is not None:
            fields["reason"] = fault
        return json.dumps(fields)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
