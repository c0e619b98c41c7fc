"""What a client may ask for, whatever dialect it speaks, and what a listener may."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from streamser.errors import ConfigError
from streamser.events import AudioFormat, ErrorBody, Event
from streamser.hosting.records import Clear as Clear
from streamser.hosting.records import Commit as Commit
from streamser.hosting.records import Mark as Mark
from streamser.pipeline.speaker_state import SpeakerOrder
from streamser.settings import EndpointingSettings, PartialSettings
from streamser.speech.transcriber import known_language
from streamser.text import read_name

_MOST_TYPES: Final = 64
MOST_SPEAKERS: Final = 64


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what one client has set up for its stream.

    ``manual``: utterances end where the client commits; nothing listens for pauses.
    ``speakers``: whether voices are told apart, or how many people's.
    ``language`` is a code without a region; ``None``: as the server is set up. In the
    ``background`` it never keeps another stream waiting.
    """

    format: AudioFormat
    endpointing: EndpointingSettings
    partial: PartialSettings
    manual: bool = False
    transcribe: bool = True
    prompt: str | None = None
    language: str | None = None
    ordered: bool = False
    background: bool = False
    speaker: str | None = None
    speakers: Literal["auto", "off"] | int = "off"


class LanguageSupport(msgspec.Struct, frozen=True):
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


ANY_LANGUAGE: Final = LanguageSupport()


class Interest(msgspec.Struct, frozen=True):
    """Say what a listener wants: a meeting, a session, or, with neither, everything.

    ``types`` are event types, or beginnings of them with ``*``; empty: all.
    """

    meeting: str | None = None
    session: str | None = None
    types: tuple[str, ...] = ()

    def wants(self, session: str, meeting: str | None, kind: str) -> bool:
        """Return whether an event is wanted: whose it is, and of which type."""
        if self.session is not None and session != self.session:
            return False
        if self.meeting is not None and meeting != self.meeting:
            return False
        return not self.types or any(_fits(kind, pattern) for pattern in self.types)


def read_after(text: str) -> int:
    """Read the number of the last event that a client knows; raises ``ConfigError``."""
    if not (text.isascii() and text.isdigit() and len(text) <= 16):
        raise ConfigError(f"after is the number of an event, not {text[:40]!r}")
    return int(text)


def parse_events(query: Mapping[str, list[str]]) -> tuple[Interest, int | None]:
    """Read the query of ``/v1/events``: what is wanted, and after which event.

    Raises ``ConfigError`` for a query that cannot be followed.
    """
    wanted = [name for name in ("meeting", "session", "all") if name in query]
    if len(wanted) != 1:
        raise ConfigError("say what to listen to: one of meeting=NAME, session=ID, all")
    types = tuple(
        part.strip()
        for given in query.get("types", [])
        for part in given.split(",")
        if part.strip()
    )
    if len(types) > _MOST_TYPES or any(len(part) > 200 for part in types):
        raise ConfigError(f"types: at most {_MOST_TYPES} types, with commas between")
    after: int | None = None
    if query.get("after"):
        after = read_after(query["after"][-1])
    name = query[wanted[0]][-1]
    return (
        Interest(
            meeting=read_name(name, "meeting") if wanted == ["meeting"] else None,
            session=read_name(name, "session") if wanted == ["session"] else None,
            types=types,
        ),
        after,
    )


def _fits(kind: str, pattern: str) -> bool:
    return kind.startswith(pattern[:-1]) if pattern.endswith("*") else kind == pattern


class Append(msgspec.Struct, frozen=True):
    """Hear raw sound in the stream's format."""

    data: bytes


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


Command: TypeAlias = (
    Append | Commit | Clear | Mark | SpeakerOrder | Configure | Finish | Refuse | Hangup
)


class Dialect(Protocol):
    """Translate between a client's messages and ours; pure, one for each connection."""

    tells_all: bool
    """Whether a client of it is told every event as it is."""

    def receive(self, message: str | bytes) -> list[Command]:
        """Say what a message, text or binary, asks for."""
        ...

    def encode(self, event: Event) -> list[bytes]:
        """Word an event as text messages, UTF-8; none where the client would not understand."""
        ...


def read_speakers(asked: str) -> Literal["auto", "off"] | int:
    """Read how voices are to be told apart; raises ``ConfigError``."""
    if asked in ("auto", "off"):
        return "auto" if asked == "auto" else "off"
    if not (asked.isascii() and asked.isdigit() and 1 <= int(asked[:9]) <= MOST_SPEAKERS):
        raise ConfigError(
            f"speakers is auto, off, or a number from 1 to {MOST_SPEAKERS}, not {asked[:40]!r}"
        )
    return int(asked)
