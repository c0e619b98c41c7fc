"""Attendee's websocket for real-time audio (docs.attendee.dev, "Realtime Audio Input and Output").

It sends text, each message ``{"bot_id", "trigger", "data"}``, and takes nothing but sound for its
bot to say. Names of participants are not on it: they go by webhook, and by REST.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from streamser.server.ingest import messages

_SEPARATE: Final = "realtime_audio.per_participant"
_MIXED: Final = "realtime_audio.mixed"


class _AttendeeMessage(msgspec.Struct):
    trigger: str
    bot_id: Any = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _AttendeeChunk(msgspec.Struct):
    chunk: str
    timestamp_ms: float
    sample_rate: float = 16_000
    participant_uuid: Any = None
    sequence: int | None = None


_MESSAGE: Final = msgspec.json.Decoder(_AttendeeMessage)
_CHUNK: Final = msgspec.json.Decoder(_AttendeeChunk)


def read_attendee(message: str | bytes) -> messages.BotMessage | None:
    """Read a message of Attendee's; ``None`` for one without sound (video, and what may come).

    ``timestamp_ms`` is taken when a piece is sent, so it is its end. Raises ``UnusableError``.
    """
    envelope = messages.read_json(message, _MESSAGE)
    if envelope.trigger not in (_SEPARATE, _MIXED):
        return None
    chunk = messages.read_json(envelope.data, _CHUNK)
    separate = envelope.trigger == _SEPARATE
    rate, data = messages.read_rate(chunk.sample_rate), messages.read_sound(chunk.chunk)
    sound = messages.BotSound(
        bot=messages.read_id(envelope.bot_id, "bot") if envelope.bot_id is not None else None,
        participant=messages.read_id(chunk.participant_uuid, "participant") if separate else None,
        name=None,
        start_s=messages.read_time(chunk.timestamp_ms / 1000),
        rate=rate,
        data=data,
        number=chunk.sequence,
    )
    if sound.seconds > sound.start_s:
        raise messages.UnusableError("invalid_time", "its time is that of no clock")
    return msgspec.structs.replace(sound, start_s=sound.start_s - sound.seconds)
