"""What a client may ask for, whatever dialect it speaks."""

from __future__ import annotations

from typing import Protocol, TypeAlias

import msgspec

from streamser.config import EndpointingSettings, PartialSettings
from streamser.events import AudioFormat, ErrorBody, Event

__all__ = [
    "Action",
    "Append",
    "Clear",
    "Commit",
    "Configure",
    "Dialect",
    "Finish",
    "Hangup",
    "Mark",
    "Refuse",
    "StreamSettings",
]


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what one client has set up for its stream.

    ``manual``: utterances end where the client commits; nothing listens for pauses.
    """

    format: AudioFormat
    endpointing: EndpointingSettings
    partial: PartialSettings
    manual: bool = False
    transcribe: bool = True
    prompt: str | None = None
    ordered: bool = False
    speaker: str | None = None


class Append(msgspec.Struct, frozen=True):
    """Hear raw sound in the stream's format."""

    data: bytes


class Commit(msgspec.Struct, frozen=True):
    """End the open utterance here; ``event_id`` is the client's name for the message.

    With ``lenient``, having nothing to commit is no error.
    """

    event_id: str | None = None
    lenient: bool = False


class Clear(msgspec.Struct, frozen=True):
    """Throw the open utterance away."""


class Mark(msgspec.Struct, frozen=True):
    """Echo ``id`` once everything about the sound so far has been told."""

    id: str


class Configure(msgspec.Struct, frozen=True):
    """Go on with these settings, which fit together."""

    settings: StreamSettings


class Finish(msgspec.Struct, frozen=True):
    """End the stream: tell what is still to tell, then close."""


class Refuse(msgspec.Struct, frozen=True):
    """Answer a message that cannot be followed; the stream goes on."""

    error: ErrorBody


class Hangup(msgspec.Struct, frozen=True):
    """Close at once: the client does not speak the dialect."""

    code: int
    reason: str


Action: TypeAlias = Append | Commit | Clear | Mark | Configure | Finish | Refuse | Hangup


class Dialect(Protocol):
    """Translate between a client's messages and ours; pure, one for each connection."""

    def receive(self, message: str | bytes) -> list[Action]:
        """Say what a message, text or binary, asks for."""
        ...

    def tell(self, event: Event) -> list[bytes]:
        """Word an event as text messages, UTF-8; none where the client would not understand."""
        ...
