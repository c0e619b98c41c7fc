"""What a client may ask for, whatever dialect it speaks."""

from __future__ import annotations

from typing import Final, Protocol, TypeAlias

import msgspec

from streamser.events import AudioFormat, ErrorBody, Event
from streamser.settings import EndpointingSettings, PartialSettings
from streamser.speech.languages import known_language

__all__ = [
    "ANY_TONGUE",
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
    "Tongues",
]


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what one client has set up for its stream.

    ``manual``: utterances end where the client commits; nothing listens for pauses.
    ``language`` is a code without a region; ``None``: as the server is set up.
    """

    format: AudioFormat
    endpointing: EndpointingSettings
    partial: PartialSettings
    manual: bool = False
    transcribe: bool = True
    prompt: str | None = None
    language: str | None = None
    ordered: bool = False
    speaker: str | None = None


class Tongues(msgspec.Struct, frozen=True):
    """Say which languages may be asked for: those of the recogniser ``asr``, if it says."""

    asr: str = "the recogniser"
    known: frozenset[str] | None = None

    def wanted(self, code: str | None) -> str | None:
        """Return the language that a client's code asks for, ``None`` for no certain one.

        Raises ``ConfigError`` with the code ``unsupported_language`` for one that the
        recogniser does not know, or what is no code.
        """
        return known_language(code, self.known, self.asr)

    def usual(self, code: str | None) -> str | None:
        """Return what speech is taken for where a client does not say: detected, if ``None``."""
        if self.known is not None and len(self.known) == 1:
            return next(iter(self.known))
        return self.wanted(code)


ANY_TONGUE: Final = Tongues()


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
