"""Bots as their makers document them: one socket, text messages, everybody's sound by itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

from tests.server.serving import Wire

RATE: Final = 16_000
STEP_MS: Final = 100
BEGAN_MS: Final = 1_703_123_456_000
"""When the meeting began, by the clock of the bot."""


class Piece:
    """Hold a piece of somebody's sound: when it begins, in ms of the meeting."""

    def __init__(self, who: str, at_ms: int, data: bytes, rate: int = RATE) -> None:
        self.who, self.at_ms, self.data, self.rate = who, at_ms, data, rate

    @property
    def end_ms(self) -> int:
        """Return when it ends."""
        return self.at_ms + round(len(self.data) / 2 / self.rate * 1000)


def pieces(who: str, data: bytes, at_ms: int = 0, rate: int = RATE) -> Iterator[Piece]:
    """Cut 16-bit sound into pieces of a tenth of a second."""
    size = 2 * rate * STEP_MS // 1000
    for number, offset in enumerate(range(0, len(data), size)):
        yield Piece(who, at_ms + number * STEP_MS, data[offset : offset + size], rate)


def together(*streams: Iterator[Piece]) -> list[Piece]:
    """Lay what several say side by side, in the order in which a bot sends it."""
    return sorted((piece for stream in streams for piece in stream), key=lambda each: each.end_ms)


def attendee(
    piece: Piece, *, bot: str = "bot_12345abcdef", sequence: int | None = None
) -> dict[str, Any]:
    """Word a piece as Attendee does, which takes the time when it sends."""
    data: dict[str, Any] = {
        "participant_uuid": piece.who,
        "chunk": base64.b64encode(piece.data).decode(),
        "sample_rate": piece.rate,
        "timestamp_ms": BEGAN_MS + piece.end_ms,
    }
    if sequence is not None:
        data["sequence"] = sequence
    return {"bot_id": bot, "trigger": "realtime_audio.per_participant", "data": data}


def recall(piece: Piece, name: str | None, *, bot: str = "bot-of-recall") -> dict[str, Any]:
    """Word a piece as Recall does; people have numbers there."""
    return {
        "event": "audio_separate_raw.data",
        "data": {
            "data": {
                "buffer": base64.b64encode(piece.data).decode(),
                "timestamp": {
                    "relative": piece.at_ms / 1000,
                    "absolute": "2026-08-21T09:14:02.340Z",
                },
                "participant": person(piece.who, name),
            },
            **_around(bot),
            "audio_separate": {"id": "audio", "metadata": {}},
        },
    }


def presence(what: str, who: str, name: str | None, *, bot: str = "bot-of-recall") -> Any:
    """Word that somebody has come (``join``), has a name (``update``), or has gone (``leave``)."""
    return {
        "event": f"participant_events.{what}",
        "data": {
            "data": {
                "participant": {**person(who, name), "email": None},
                "timestamp": {"absolute": "2026-08-21T09:14:02.340Z", "relative": 1.0},
                "data": None,
            },
            **_around(bot),
            "participant_events": {"id": "events", "metadata": {}},
        },
    }


def person(who: str, name: str | None) -> dict[str, Any]:
    """Word a participant as Recall does."""
    return {
        "id": int(who),
        "name": name,
        "is_host": False,
        "platform": "desktop",
        "extra_data": {},
    }


async def send(wire: Wire, *messages: Any) -> None:
    """Send messages as text."""
    for message in messages:
        await wire.raw(message if isinstance(message, str | bytes) else json.dumps(message))


def _around(bot: str) -> dict[str, Any]:
    return {
        "realtime_endpoint": {"id": "endpoint", "metadata": {}},
        "recording": {"id": "recording", "metadata": {}},
        "bot": {"id": bot, "metadata": {}},
    }
