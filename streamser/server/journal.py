"""What a server writes down of itself: who came, who was turned away, what failed, who left.

One line each, by the standard ``logging``; never a token, never what people say.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from streamser.server.faults import describe

__all__ = ["FIELDS", "note", "note_fault", "peer_of"]

FIELDS: Final = "streamser_fields"
"""Attribute of a record with its fields, for those who format it."""

_logger = logging.getLogger(__name__)


def note(what: str, *, level: int = logging.INFO, **fields: str | float | None) -> None:
    """Write a line: a word for what happened, and what is known of it."""
    known = {name: value for name, value in fields.items() if value is not None}
    told = "".join(f" {name}={_shown(value)}" for name, value in known.items())
    _logger.log(level, "%s%s", what, told, extra={FIELDS: {"event": what, **known}})


def note_fault(error: BaseException, **fields: str | float | None) -> None:
    """Write a line of what has failed on our side, and where."""
    kind = type(error).__name__
    note("fault", level=logging.ERROR, **fields, error=kind, reason=describe(error))


def peer_of(connection: Any) -> str | None:
    """Return the other side of a connection as ``host:port``."""
    address = connection.remote_address
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _shown(value: str | float) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    plain = text.isprintable() and text and not any(sign in text for sign in ' ="')
    return text if plain else ascii(text) if not text.isprintable() else f'"{text}"'
