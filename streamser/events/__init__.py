"""Every event that leaves the program; ``docs/protocol.md`` is generated from this package.

Names and fields of the transcription events are those of the OpenAI Realtime transcription
API (GA schema); what is ours is called ``streamser.*``. Clients must ignore fields and types
that they do not know.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from streamser.events import meeting, session, values
from streamser.events.meeting import *  # noqa: F403
from streamser.events.meeting import ListenerEvent
from streamser.events.session import *  # noqa: F403
from streamser.events.session import Event, SessionEvent
from streamser.events.values import *  # noqa: F403

__all__ = ["AnyEvent", "decode_event", "encode_event"]
__all__ += meeting.__all__
__all__ += session.__all__
__all__ += values.__all__

AnyEvent: TypeAlias = SessionEvent | ListenerEvent


def encode_event(event: Event | ListenerEvent) -> bytes:
    """Encode an event as one line of JSON, without the line break."""
    return msgspec.json.encode(event)


def decode_event(line: bytes | str) -> AnyEvent:
    """Decode a line of JSON.

    Raises ``msgspec.ValidationError`` for an unknown type, and ``msgspec.DecodeError``, which
    that is too, for what is no JSON, no text, or nested too deeply to be read.
    """
    try:
        event: AnyEvent = msgspec.json.decode(line, type=AnyEvent)
    except (RecursionError, UnicodeError) as error:
        raise msgspec.DecodeError(f"this cannot be read: {error}") from None
    return event
