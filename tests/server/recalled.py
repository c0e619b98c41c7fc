"""A meeting heard again from the lines that its events were written in."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import msgspec

from streamser.events import Event, decode_event
from streamser.server.meetings.meeting import MeetingEvent, MeetingMood

_FARTHEST_MS = 2**53


class _Stamped(msgspec.Struct, frozen=True):
    at_ms: int | None = None


def replay(meeting: MeetingMood, events: Iterable[tuple[Event, int]]) -> list[MeetingEvent]:
    """Let a meeting take in events with their times, and return everything it told."""
    return [told for event, at_ms in events for told in meeting.take(event, at_ms)]


def recall(lines: Iterable[bytes | str]) -> Iterator[tuple[Event, int]]:
    """Decode lines of JSON into sessions' events with their times on the meeting's clock.

    A listener's lines say when they were published. Otherwise the meeting's clock is that of
    the audio: an event was published ``lag_ms`` after the sound that it speaks of, one that
    speaks of none together with the one before. What is no session's event is passed over.
    Raises ``msgspec.ValidationError`` for an unknown type, or a time that no meeting lasts.
    """
    last = 0
    for line in lines:
        event = decode_event(line)
        if not isinstance(event, Event):
            continue
        at_ms = msgspec.json.decode(line, type=_Stamped).at_ms
        if any(abs(time) > _FARTHEST_MS for time in (*_times_of(event), at_ms or 0)):
            raise msgspec.ValidationError(f"event {event.seq} is of a time that is none")
        if at_ms is None and event.clock_ms is not None:
            at_ms = round(event.clock_ms + (event.lag_ms or 0.0))
        last = last if at_ms is None else at_ms
        yield event, last


def _times_of(event: Event) -> Iterator[float]:
    places = [event, getattr(getattr(event, "emotion", None), "window", None)]
    names = ("lag_ms", "clock_ms", "audio_start_ms", "audio_end_ms", "start_ms", "end_ms")
    for place, name in itertools.product(places, names):
        yield getattr(place, name, None) or 0
