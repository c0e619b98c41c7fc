"""Put the events of a session on the clock of the client's whole stream; pure."""

from __future__ import annotations

from typing import Any

import msgspec

from streamser.events import AnyEvent, EmotionBody, WordTiming

__all__ = ["placed"]

_TIMES = ("audio_start_ms", "audio_end_ms", "audio_ms", "since_ms")


def placed(event: AnyEvent, offset_ms: int) -> AnyEvent:
    """Return an event with all its places in the sound moved by ``offset_ms``.

    After a server was restarted the clock of the new session begins at ``Session.offset_ms``.
    """
    if not offset_ms:
        return event
    changes: dict[str, Any] = {
        name: getattr(event, name) + offset_ms for name in _TIMES if hasattr(event, name)
    }
    emotion = getattr(event, "emotion", None)
    if isinstance(emotion, EmotionBody):
        changes["emotion"] = _moved(emotion, offset_ms)
    words: tuple[WordTiming, ...] = getattr(event, "words", ())
    if words:
        changes["words"] = tuple(_shifted(word, offset_ms) for word in words)
    return msgspec.structs.replace(event, **changes)


def _moved(emotion: EmotionBody, by: int) -> EmotionBody:
    return msgspec.structs.replace(emotion, window=_shifted(emotion.window, by))


def _shifted(span: Any, by: int) -> Any:
    return msgspec.structs.replace(span, start_ms=span.start_ms + by, end_ms=span.end_ms + by)
