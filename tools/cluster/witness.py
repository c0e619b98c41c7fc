"""Clients that speak and listen, and what they must have been told: once, and in order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from streamser import events
from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.client import RetryTiming, connect, subscribe

__all__ = ["Listener", "Span", "Speaker", "faults_of", "middles", "until"]

_PIECE = SAMPLE_RATE // 10


class Span(msgspec.Struct, frozen=True, order=True):
    """Hold where a final lies in the sound of its speaker, ms."""

    start_ms: int
    end_ms: int


class Speaker:
    """Send a sound into a meeting, at ``speed`` times real time, and note the finals."""

    def __init__(self, url: str, meeting: str, name: str, sound: Samples, speed: float) -> None:
        self._url, self.meeting, self.name = url, meeting, name
        self._sound, self._speed = sound, speed
        self.finals: list[Span] = []
        self.offsets: dict[str, int] = {}
        """Where the clock of each of its sessions begins in its sound, ms."""
        self.lags_ms: list[float] = []
        self.sent_ms = 0

    async def speak(self) -> None:
        """Speak to the end, and hear everything."""
        timing = RetryTiming()
        async with connect(
            self._url, speaker=self.name, meeting=self.meeting, keep_s=120.0, timing=timing
        ) as session:
            sending = asyncio.create_task(self._send(session))
            try:
                async for event in session:
                    self._note(event, session.offset_ms)
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, session: object) -> None:
        began = time.monotonic()
        for at in range(0, len(self._sound), _PIECE):
            await session.send(self._sound[at : at + _PIECE])  # type: ignore[attr-defined]
            self.sent_ms = at * 1000 // SAMPLE_RATE
            ahead = at / SAMPLE_RATE / self._speed - (time.monotonic() - began)
            await asyncio.sleep(max(0.0, ahead))
        await session.finish()  # type: ignore[attr-defined]

    def _note(self, event: events.SessionEvent, offset_ms: int) -> None:
        if isinstance(event, events.SessionCreated):
            self.offsets[event.session_id] = offset_ms
        if (span := _span(event, offset_ms)) is not None:
            self.finals.append(span)
            if event.lag_ms is not None:
                self.lags_ms.append(event.lag_ms)


class Listener:
    """Listen to a meeting, and note the finals of everybody in it."""

    def __init__(self, url: str, meeting: str) -> None:
        self._url, self.meeting = url, meeting
        self.finals: list[tuple[str, Span]] = []
        self.told_at: dict[str, float] = {}
        self.cursors: list[int] = []
        self.lost = 0

    async def listen(self) -> None:
        """Listen until cancelled."""
        async for told in subscribe(self._url, meeting=self.meeting):
            event = told.event
            if isinstance(event, events.Snapshot):
                self.lost += event.lost
                continue
            if told.stamp.cursor:
                self.cursors.append(told.stamp.cursor)
            if isinstance(event, events.Event) and (span := _span(event, 0)) is not None:
                self.finals.append((event.session_id, span))
                self.told_at[_item(event)] = time.monotonic()

    def of(self, speaker: Speaker) -> list[Span]:
        """Return the finals of a speaker, on the clock of their sound."""
        return [
            Span(span.start_ms + at, span.end_ms + at)
            for session_id, span in self.finals
            if (at := speaker.offsets.get(session_id)) is not None
        ]


def middles(finals: Iterable[Span]) -> list[int]:
    """Return the middles of utterances, ms: they lie in one, however it is cut."""
    return [(span.start_ms + span.end_ms) // 2 for span in finals]


def faults_of(told: Sequence[Span], expected: Sequence[int], whose: str) -> list[str]:
    """Say what is wrong with what somebody was told: each ``expected`` place once, and in order."""
    found = []
    for middle in expected:
        times = sum(span.start_ms <= middle <= span.end_ms for span in told)
        if times != 1:
            found.append(f"{whose}: the utterance at {middle / 1000:.1f} s was told {times} times")
    if list(told) != sorted(told):
        found.append(f"{whose}: out of order")
    return found


def _span(event: events.Event, offset_ms: int) -> Span | None:
    match event:
        case events.EmotionCompleted(emotion=emotion):
            start, end = emotion.window.start_ms, emotion.window.end_ms
        case events.TranscriptionFailed(audio_start_ms=start, audio_end_ms=end):
            pass
        case _:
            return None
    return Span(start + offset_ms, end + offset_ms)


def _item(event: events.Event) -> str:
    return str(getattr(event, "item_id", ""))


Waiting = Callable[[], bool]


async def until(holds: Waiting, within_s: float) -> bool:
    """Wait until something holds; return whether it does in time."""
    try:
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        return False
    return True
