"""What one stream of a load test has sent and was told, and when; pure."""

from __future__ import annotations

import math

import msgspec

__all__ = ["BLOCK_MS", "Receipt", "StreamLog", "Told", "read_told"]

BLOCK_MS = 100
"""Sound that goes out at once, as live clients send it."""


class _Window(msgspec.Struct, frozen=True, gc=False):
    end_ms: int


class _Emotion(msgspec.Struct, frozen=True, gc=False):
    window: _Window


class _Error(msgspec.Struct, frozen=True, gc=False):
    code: str = ""
    message: str = ""


class _Models(msgspec.Struct, frozen=True, gc=False):
    vad: str
    asr: str | None
    emotion: str


class _Session(msgspec.Struct, frozen=True, gc=False):
    models: _Models
    silence_ms: int


class Told(msgspec.Struct, frozen=True, gc=False):
    """Hold of an event what a load test counts; decoded for every event, so it is little."""

    type: str = ""
    seq: int = 0
    item_id: str = ""
    audio_end_ms: int = 0
    reason: str = ""
    kind: str = ""
    dropped: int = 0
    partials_dropped: int = 0
    emotion: _Emotion | None = None
    error: _Error | None = None
    session: _Session | None = None


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Hold an event and when it was read from the socket, in seconds (``time.monotonic``)."""

    at: float
    told: Told


class StreamLog(msgspec.Struct, kw_only=True):
    """Hold one stream: times in seconds (``time.monotonic``), in the order in which they passed.

    ``sent`` has the moment at which each block of ``BLOCK_MS`` went out, ``late`` how long after
    its time that was. ``fault`` says how the stream broke, if it did.
    """

    sent: list[float] = []
    late: list[float] = []
    receipts: list[Receipt] = []
    fault: str | None = None

    def sent_at(self, ms: float) -> float | None:
        """Return when the sound before a place, in ms of the stream, had all been sent.

        That is when the block went out that holds the last sample before it; ``None`` where it
        never did.
        """
        number = max(0, math.ceil(ms / BLOCK_MS) - 1)
        return self.sent[number] if number < len(self.sent) else None


_decoder = msgspec.json.Decoder(Told)


def read_told(message: bytes) -> Told:
    """Read an event; what is none that we know gives an event without a type."""
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Told()
