"""A stream without its connection: who waits for it is let go when it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from msgspec.structs import replace

from streamser.events import AudioFormat, ErrorBody, Event, Limits, ModelNames
from streamser.hosting.records import SessionInput, Told
from streamser.server.limits import MessagePace
from streamser.server.stream import LiveStream, StreamResources, stream_settings
from tests.server.serving import server_settings

LIMITS = Limits(message_bytes=1 << 20, idle_s=60, session_s=60, resume_s=0, speed=8)


class FarHost:
    """Host one session far away, where no sound has come yet."""

    in_flight = 0

    def open(self, config: Any, voice: Any, listener: Callable[[Told], None]) -> FarHost:
        """Keep who is to be told."""
        self.tell = listener
        return self

    def apply(self, item: SessionInput) -> None:
        """Send it on its way."""
        self.in_flight += 100_000

    def leave(self) -> None:
        """Have nothing to close."""


class Silent:
    """Own a stream, and want to know nothing of it."""

    def on_event(self, event: Event) -> None:
        """Know it already."""

    def on_refusal(self, error: ErrorBody) -> None:
        """Expect none."""

    def on_fault(self, error: Exception) -> None:
        """Expect none."""


def test_nobody_waits_for_room_in_a_stream_that_is_over() -> None:
    """Also where its sound never came to its end: a bot has others to hear."""

    async def scene() -> None:
        host, settings = FarHost(), server_settings()
        models = ModelNames(vad="silero", asr=None, emotion="rules")
        resources = StreamResources(settings, cast("Any", host), models, ("voice",), LIMITS, None)
        form = AudioFormat(type="audio/pcm", rate=16_000, encoding="s16le")
        asked = replace(stream_settings(settings), format=form)
        stream = LiveStream("s", None, asked, resources, MessagePace(20, 400), Silent())
        stream.open(None)
        stream.push_audio(bytes(3200), 0.0)
        waiting = asyncio.create_task(stream.wait_for_room())
        stream.finish()
        assert not await is_done(waiting)
        host.tell(Told(session_id="s", closed=True))
        assert await is_done(waiting)

    asyncio.run(scene())


async def is_done(task: asyncio.Task[None]) -> bool:
    """Let the task have its turn, and say whether that was its last."""
    done, _ = await asyncio.wait([task], timeout=0.01)
    return bool(done)
