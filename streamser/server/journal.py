"""What a server writes down of itself: who came, who was turned away, what failed, who left.

One line each, by the standard ``logging``; never a token, never what people say.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from streamser.server.faults import describe

__all__ = ["FIELDS", "note", "note_fault", "note_loss", "peer_of"]

_Field: TypeAlias = str | float | None

FIELDS: Final = "streamser_fields"
"""Attribute of a record with its fields, for those who format it."""

_logger = logging.getLogger(__name__)


def note(what: str, **fields: _Field) -> None:
    """Write a line: a word for what happened, and what is known of it."""
    _write(logging.INFO, what, fields)


def note_loss(what: str, **fields: _Field) -> None:
    """Write a line of something that is lost, though all goes on."""
    _write(logging.WARNING, what, fields)


def note_fault(error: BaseException, **fields: _Field) -> None:
    """Write a line of what has failed on our side, and where."""
    found: dict[str, _Field] = {"error": type(error).__name__, "reason": describe(error)}
    _write(logging.ERROR, "fault", {**fields, **found})


def peer_of(connection: Any) -> str | None:
    """Return the other side of a connection as ``host:port``."""
    address = connection.remote_address
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _write(level: int, what: str, fields: Mapping[str, _Field]) -> None:
    known = {name: value for name, value in fields.items() if value is not None}
    told = "".join(f" {name}={_shown(value)}" for name, value in known.items())
    _logger.log(level, "%s%s", what, told, extra={FIELDS: {"event": what, **known}})


def _shown(value: str | float) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    plain = text.isprintable() and text and not any(sign in text for sign in ' ="')
    return text if plain else ascii(text) if not text.isprintable() else f'"{text}"'
