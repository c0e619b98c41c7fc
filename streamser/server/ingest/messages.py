"""What a meeting bot tells, whoever made it; and how the parts are read that all have alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import msgspec

from streamser.audio.source import SENT_MAX_RATE, SENT_MIN_RATE, decode_base64
from streamser.errors import AudioError

_SAMPLE_BYTES: Final = 2
_LATEST_S: Final = 1e11
"""Far behind any time of a clock that counts seconds, from whenever."""
_LONGEST_ID: Final = 200

T = TypeVar("T")


class BotSound(msgspec.Struct, frozen=True):
    """Hold a piece of a participant's sound: 16-bit samples, little endian, one channel.

    ``participant`` is ``None`` where it is the sound of all together. It begins at ``start_s`` of
    the bot's own clock, in s; ``number`` counts the pieces of a participant, where the bot does.
    """

    bot: str | None
    participant: str | None
    name: str | None
    start_s: float
    rate: int
    data: bytes
    number: int | None = None

    @property
    def seconds(self) -> float:
        """Return how long it lasts."""
        return len(self.data) / _SAMPLE_BYTES / self.rate


class BotParticipant(msgspec.Struct, frozen=True):
    """Say what a participant is called, or, with ``left``, that they are gone."""

    bot: str | None
    participant: str
    name: str | None
    left: bool = False


BotMessage: TypeAlias = BotSound | BotParticipant
ReadMessage: TypeAlias = Callable[["str | bytes"], BotMessage | None]
"""Reads one message; ``None`` is what is none of ours. Raises ``UnusableError``."""


class UnusableError(Exception):
    """Say what is wrong with a message: ``code`` is a word of ours, never one of theirs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def read_json(message: str | bytes | msgspec.Raw, decoder: msgspec.json.Decoder[T]) -> T:
    """Read a message, or a part of one; raises ``UnusableError``."""
    if isinstance(message, bytes):
        raise UnusableError("binary_message", "it is binary, and JSON as text is expected")
    try:
        return decoder.decode(message)
    except msgspec.ValidationError as error:
        raise UnusableError("invalid_value", str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise UnusableError("invalid_json", "it is not JSON") from None


def read_sound(text: str) -> bytes:
    """Read samples in base64; raises ``UnusableError``."""
    try:
        data = decode_base64(text)
    except AudioError as error:
        raise UnusableError(error.code, str(error)) from None
    if not data:
        raise UnusableError("no_sound", "there is no sound in it")
    if len(data) % _SAMPLE_BYTES:
        raise UnusableError("odd_bytes", f"{len(data)} bytes are no whole 16-bit samples")
    return data


def read_rate(rate: float) -> int:
    """Read a number of samples a second; raises ``UnusableError``."""
    if not (SENT_MIN_RATE <= rate <= SENT_MAX_RATE and rate == int(rate)):
        raise UnusableError("invalid_rate", f"{rate:g} Hz cannot be used")
    return int(rate)


def read_time(seconds: float) -> float:
    """Read a time of the bot's clock, in s; raises ``UnusableError``."""
    if not (math.isfinite(seconds) and 0 <= seconds < _LATEST_S):
        raise UnusableError("invalid_time", f"{seconds:g} s is no time")
    return seconds


def read_id(given: Any, what: str) -> str:
    """Read what somebody is known by, a number or a text; raises ``UnusableError``."""
    known = f"{given}" if isinstance(given, int) and not isinstance(given, bool) else given
    if not (isinstance(known, str) and 0 < len(known) <= _LONGEST_ID):
        raise UnusableError(f"no_{what}", f"it does not say which {what} it is of")
    return known
