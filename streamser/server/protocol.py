"""The schemas of everything that crosses the wire."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from streamser.events import PROTOCOL, AnyEvent, Stamp
from streamser.server.messages import ClientMessage

__all__ = ["protocol_json", "protocol_schemas"]


def protocol_schemas() -> dict[str, Any]:
    """Return JSON Schemas (2020-12) of events, of clients' messages, and of the stamp."""
    kinds = {"events": AnyEvent, "messages": ClientMessage, "stamp": Stamp}
    schemas, components = msgspec.json.schema_components(
        tuple(kinds.values()), ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": PROTOCOL,
        "protocol": PROTOCOL,
        **dict(zip(kinds, schemas, strict=True)),
        "$defs": components,
    }


def protocol_json() -> bytes:
    """Write the schemas as JSON."""
    return json.dumps(protocol_schemas(), ensure_ascii=False).encode()
