"""``--log-format``: what a server writes down, as lines for people or as JSON, on stderr."""

from __future__ import annotations

import enum
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from streamser.visible import printable

__all__ = ["LogAs", "LogFormat", "logs"]


class LogFormat(enum.Enum):
    """Name how a line of the log is written."""

    TEXT = "text"
    JSON = "json"


LogAs = Annotated[
    LogFormat,
    typer.Option("--log-format", help="How connections and faults are logged, on stderr."),
]


@contextmanager
def logs(form: LogFormat) -> Iterator[None]:
    """Write what the program logs, from INFO on, to stderr until the block ends."""
    logger = logging.getLogger("streamser")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form is LogFormat.JSON else _Text())
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fault = _fault(record)
        told = record.getMessage() + ("" if fault is None else f": {fault}")
        return f"{_time(record)} {record.levelname} {printable(told)}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from streamser.server.telemetry import FIELDS

        fields: dict[str, Any] = {"time": _time(record), "level": record.levelname.lower()}
        own = getattr(record, FIELDS, None)
        fields |= {"event": "log", "message": record.getMessage()} if own is None else own
        if (fault := _fault(record)) is not None:
            fields["reason"] = fault
        return json.dumps(fields)


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fault(record: logging.LogRecord) -> str | None:
    # Never the traceback: its last line may quote a header, or what people say.
    if record.exc_info is None or record.exc_info[1] is None:
        return None
    from streamser.server.telemetry import describe

    return describe(record.exc_info[1])
