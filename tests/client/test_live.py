"""The client and the real server in one process: nothing is lost, whatever is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from itertools import pairwise

import pytest

from streamser.client import ClientSession, Stamped, connect, shift_times, subscribe
from streamser.events import (
    AnyEvent,
    EmotionBody,
    EmotionCompleted,
    SessionClosed,
    SessionCreated,
    SessionResumed,
    Snapshot,
    Window,
)
from streamser.server.app import EmotionServer
from tests.client.scripted import FakeTime
from tests.server.serving import Stage, demo, serving

SECOND = 16_000


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Keep one server for the whole module: its models take a while."""
    stage = Stage()
    yield stage
    stage.close()


async def read(session: ClientSession, events: list[AnyEvent]) -> None:
    """Read to the end, on the clock of the whole stream."""
    events.extend([shift_times(event, session.offset_ms) async for event in session])


def finals(events: list[AnyEvent]) -> list[EmotionBody]:
    """Return the final judgements."""
    return [event.emotion for event in events if isinstance(event, EmotionCompleted)]


def spans(events: list[AnyEvent]) -> list[Window]:
    """Return where the utterances lie."""
    return [emotion.window for emotion in finals(events)]


async def speak(session: ClientSession, begin_s: int, end_s: int) -> None:
    """Send a stretch of the demonstration, a second at a time."""
    sound = demo()
    for second in range(begin_s, end_s):
        await session.send(sound[second * SECOND : (second + 1) * SECOND])


async def undisturbed(server: EmotionServer) -> list[AnyEvent]:
    """Return what a stream tells that nothing happens to."""
    events: list[AnyEvent] = []
    async with connect(server.local_url) as session:
        reading = asyncio.create_task(read(session, events))
        await speak(session, 0, 15)
        await session.finish()
        await reading
    return events


async def until_final(session: ClientSession, events: list[AnyEvent], number: int) -> None:
    """Read on until so many utterances are finished."""
    while len(finals(events)) < number:
        event = await anext(session)
        events.append(shift_times(event, session.offset_ms))


def cut(server: EmotionServer) -> None:
    """Break all connections, as a network does."""
    assert server._port._servers[0] is not None
    for connection in server._port._servers[0].connections:
        connection.transport.abort()


def test_a_stream_that_is_cut_again_and_again_tells_what_it_would_have_told(stage: Stage) -> None:
    """The same finals to the last digit: every frame arrived, once and in order."""

    async def scene() -> None:
        expected = await undisturbed(stage.server)
        events: list[AnyEvent] = []
        async with connect(stage.server.local_url, timing=FakeTime().timing) as session:
            for number, end_s in enumerate((5, 9, 12)):
                await speak(session, (0, 5, 9)[number], end_s)
                if number:
                    await until_final(session, events, number)
                cut(stage.server)
            await speak(session, 12, 15)
            await session.finish()
            await read(session, events)
        assert len(finals(expected)) == 4
        assert finals(events) == finals(expected)
        assert sum(isinstance(event, SessionCreated) for event in events) == 1
        assert sum(isinstance(event, SessionResumed) for event in events) >= 1
        seqs = [event.seq for event in events if hasattr(event, "seq")]
        assert seqs == list(range(1, len(seqs) + 1))

    stage.play(scene())


@pytest.mark.parametrize("politely", [True, False])
def test_a_server_that_is_restarted_loses_no_final(stage: Stage, politely: bool) -> None:
    """Whether it was asked to end, or killed: each utterance is told once, in its place."""

    async def scene() -> None:
        expected = spans(await undisturbed(stage.server))
        events: list[AnyEvent] = []
        time = FakeTime()
        async with serving() as first:
            assert first._port._servers[0] is not None
            port = first._port._servers[0].sockets[0].getsockname()[1]
            url = first.local_url
            async with connect(url, timing=time.timing, give_up_s=1e9) as session:
                # In the middle of the second utterance.
                await speak(session, 0, 6)
                await until_final(session, events, 1)
                if politely:
                    await first.stop()
                else:
                    first._port._servers[0].close(close_connections=False)
                    cut(first)
                await speak(session, 6, 9)
                async with serving({"server.port": port}) as second:
                    await speak(session, 9, 15)
                    await session.finish()
                    await read(session, events)
                    assert session.lost_ms == 0
                    assert second.local_url == url
        told = spans(events)
        assert all(a.end_ms <= b.start_ms for a, b in pairwise(told))
        for window in expected:
            parts = [each for each in told if overlap(each, window) > 0]
            heard = sum(overlap(each, window) for each in parts)
            assert heard >= 0.95 * (window.end_ms - window.start_ms), (window, told)
        closed = [event for event in events if isinstance(event, SessionClosed)]
        assert closed[-1].audio_ms == 15_000
        assert len(closed) == (2 if politely else 1)

    stage.play(scene())


def overlap(one: Window, other: Window) -> int:
    """Return how many ms two windows share."""
    return max(0, min(one.end_ms, other.end_ms) - max(one.start_ms, other.start_ms))


def test_a_listener_hears_a_meeting_across_cut_connections(stage: Stage) -> None:
    """Every final of the speaker, once, and the meeting's own events."""

    async def scene() -> None:
        server = stage.server
        heard: list[Stamped] = []

        async def listen(ready: asyncio.Event) -> None:
            listening = subscribe(
                server.local_url, meeting="cut", types=["streamser.*"], timing=FakeTime().timing
            )
            async with aclosing(listening):
                async for told in listening:
                    heard.append(told)
                    ready.set()
                    if isinstance(told.event, SessionClosed):
                        return

        ready = asyncio.Event()
        hearing = asyncio.create_task(listen(ready))
        await ready.wait()
        events: list[AnyEvent] = []
        async with connect(
            server.local_url, meeting="cut", speaker="Ann", timing=FakeTime().timing
        ) as session:
            await speak(session, 0, 9)
            await until_final(session, events, 1)
            cut(server)
            await speak(session, 9, 15)
            await session.finish()
            await read(session, events)
        await hearing
        cursors = [each.stamp.cursor for each in heard if not isinstance(each.event, Snapshot)]
        assert cursors == sorted(set(cursors))
        assert {each.stamp.meeting for each in heard[1:]} <= {"cut", None}
        assert finals([each.event for each in heard]) == finals(events)
        assert all(emotion.speaker == "Ann" for emotion in finals(events))

    stage.play(scene())


def test_settings_and_requests_are_understood_by_the_real_server(stage: Stage) -> None:
    """Sound is cut by hand, a marker follows the final, and the rest is thrown away."""

    async def scene() -> None:
        events: list[AnyEvent] = []
        manual = {"audio": {"input": {"turn_detection": None}}}
        async with connect(stage.server.local_url, settings=manual) as session:
            await speak(session, 0, 4)
            await session.commit()
            await session.mark("cut here")
            await speak(session, 4, 6)
            await session.clear()
        await read(session, events)
        assert [(window.start_ms, window.end_ms) for window in spans(events)] == [(0, 4000)]
        kinds = [type(event).__name__ for event in events]
        assert kinds.index("EmotionCompleted") < kinds.index("Marker")
        assert "Cleared" in kinds
        assert session.info.audio is not None
        assert session.info.audio.input.turn_detection is None

    stage.play(scene())
