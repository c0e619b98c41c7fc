"""Recall's real-time websocket endpoint (docs.recall.ai, "Real-Time Event Payloads").

It sends text, each message ``{"event", "data": {"data", "bot", "recording", …}}``, those events
that the bot was made with, and reads nothing. Sound is 16-bit at 16 kHz, one channel.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from streamser.server.ingest import messages

_RATE: Final = 16_000
_SEPARATE: Final = "audio_separate_raw.data"
_MIXED: Final = "audio_mixed_raw.data"
_LEAVE: Final = "participant_events.leave"
_PRESENCE: Final = ("participant_events.join", "participant_events.update", _LEAVE)


class _RecallSource(msgspec.Struct):
    id: Any = None


class _RecallPerson(msgspec.Struct):
    id: Any = None
    name: str | None = None


class _RecallTime(msgspec.Struct):
    relative: float


class _RecallPayload(msgspec.Struct):
    participant: _RecallPerson | None = None
    buffer: str | None = None
    timestamp: _RecallTime | None = None


class _RecallData(msgspec.Struct):
    data: _RecallPayload
    bot: _RecallSource | None = None
    recording: _RecallSource | None = None


class _RecallMessage(msgspec.Struct):
    event: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


_MESSAGE: Final = msgspec.json.Decoder(_RecallMessage)
_DATA: Final = msgspec.json.Decoder(_RecallData)


def read_recall(message: str | bytes) -> messages.BotMessage | None:
    """Read a message of Recall's; ``None`` for one that is neither sound nor of who is there.

    ``timestamp.relative`` is when a piece begins, in s since the recording did. What comes
    without a bot (their desktop SDK) goes by its recording. Raises ``UnusableError``.
    """
    envelope = messages.read_json(message, _MESSAGE)
    if envelope.event not in (_SEPARATE, _MIXED, *_PRESENCE):
        return None
    data = messages.read_json(envelope.data, _DATA)
    source = data.bot or data.recording
    bot = None if source is None else messages.read_id(source.id, "bot")
    who = data.data.participant
    if envelope.event == _MIXED:
        return _sound(bot, None, data.data)
    if who is None:
        raise messages.UnusableError("no_participant", "it does not say which participant it is of")
    if envelope.event == _SEPARATE:
        return _sound(bot, who, data.data)
    participant = messages.read_id(who.id, "participant")
    return messages.BotParticipant(bot, participant, who.name, left=envelope.event == _LEAVE)


def _sound(
    bot: str | None, who: _RecallPerson | None, payload: _RecallPayload
) -> messages.BotSound:
    if payload.timestamp is None:
        raise messages.UnusableError("invalid_time", "it has no time")
    return messages.BotSound(
        bot=bot,
        participant=None if who is None else messages.read_id(who.id, "participant"),
        name=None if who is None else who.name,
        start_s=messages.read_time(payload.timestamp.relative),
        rate=_RATE,
        data=messages.read_sound(payload.buffer or ""),
    )
