"""What a client may ask for, whatever dialect it speaks, and how it may write its sound."""

from __future__ import annotations

from typing import Final, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.source import Frames
from streamser.errors import ConfigError
from streamser.events import AudioFormat, ErrorBody, Event
from streamser.hosting.records import Clear as Clear
from streamser.hosting.records import Commit as Commit
from streamser.hosting.records import Mark as Mark
from streamser.pipeline.speaker_state import SpeakerOrder
from streamser.settings import EndpointingSettings, PartialSettings
from streamser.speech.languages import known_language

MIN_RATE: Final = 8_000
MAX_RATE: Final = 192_000
"""Some sound cards give browsers no less than 96 or 192 kHz."""
MOST_SPEAKERS: Final = 64
PHONE_RATE: Final = 8_000
"""Frames a second of G.711, whatever else is said."""


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what one client has set up for its stream.

    ``manual``: utterances end where the client commits; nothing listens for pauses.
    ``speakers``: whether voices are told apart, or how many people's.
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


def usable(form: AudioFormat) -> AudioFormat:
    """Return the format with its rate filled in; raises ``ConfigError`` for one out of range."""
    if form.type != "audio/pcm":
        if form.rate not in (None, PHONE_RATE):
            raise ConfigError(f"{form.type} has {PHONE_RATE} frames a second, not {form.rate}")
        return AudioFormat(type=form.type)
    rate = 24_000 if form.rate is None else form.rate
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ConfigError(f"a rate of {rate} Hz cannot be used: {MIN_RATE} to {MAX_RATE} Hz can")
    return AudioFormat(type=form.type, rate=rate, encoding=form.encoding)


def rate_of(form: AudioFormat) -> int:
    """Return a format's frames a second."""
    return form.rate or (24_000 if form.type == "audio/pcm" else PHONE_RATE)


def encoding_of(form: AudioFormat) -> str:
    """Return the encoding of the samples: that of PCM, or the type of any other."""
    return (form.encoding or "s16le") if form.type == "audio/pcm" else form.type


def frame_bytes(form: AudioFormat) -> int:
    """Return how many bytes a frame has."""
    if form.type != "audio/pcm":
        return 1
    return 4 if form.encoding == "f32le" else 2


class SoundDecoder:
    """Turn bytes into frames of shape (n, 1); a frame cut in two waits for its other half."""

    def __init__(self, form: AudioFormat) -> None:
        self.format = form
        self._rest = b""
        self._size = frame_bytes(form)

    def decode(self, data: bytes) -> Frames:
        """Decode what is whole of the bytes so far."""
        data = self._rest + data
        whole = len(data) - len(data) % self._size
        self._rest = data[whole:]
        return self._read(data[:whole]).reshape(-1, 1)

    def _read(self, data: bytes) -> Frames:
        if self.format.type == "audio/pcmu":
            return _MU_LAW[np.frombuffer(data, np.uint8)]
        if self.format.type == "audio/pcma":
            return _A_LAW[np.frombuffer(data, np.uint8)]
        if self.format.encoding == "f32le":
            return np.frombuffer(data, "<f4").astype(np.float32)
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768.0)


def _mu_law() -> npt.NDArray[np.float32]:
    """Decode every mu-law byte, ITU-T G.711 table 2a."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int32)
    size = ((2 * mantissa + 33) << exponent) - 33
    # The tables count in 14 bits; full scale of 16 is four times that.
    return (np.where(code & 0x80, -size, size) * 4 / 32768.0).astype(np.float32)


def _a_law() -> npt.NDArray[np.float32]:
    """Decode every A-law byte, ITU-T G.711 table 1a."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int32)
    size = np.where(
        exponent == 0, 2 * mantissa + 1, (2 * mantissa + 33) << np.maximum(exponent, 1) - 1
    )
    return (np.where(code & 0x80, size, -size) * 8 / 32768.0).astype(np.float32)


_MU_LAW: Final = _mu_law()


_A_LAW: Final = _a_law()
