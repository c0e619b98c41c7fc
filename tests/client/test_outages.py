"""Connections that break: the stream goes on, is sent anew, waits, or gives up."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus

import pytest

from streamser.client import ClientSession, ServerError, connect, shift_times
from streamser.events import (
    AnyEvent,
    Cleared,
    EmotionCompleted,
    ErrorBody,
    SessionClosed,
    SessionCreated,
    SessionResumed,
    SpeechStarted,
    TranscriptionCompleted,
    encode_event,
)
from tests.client.pretend import RATE, numbered
from tests.client.scripted import FakeTime, ScriptedServer, play


async def read(session: ClientSession, events: list[AnyEvent] | None = None) -> list[AnyEvent]:
    """Read to the end, on the clock of the whole stream; add to a list."""
    events = [] if events is None else events
    async for event in session:
        events.append(shift_times(event, session.offset_ms))
    return events


def words(events: list[AnyEvent]) -> list[str]:
    """Return which sound each utterance was made of."""
    return [event.transcript for event in events if isinstance(event, TranscriptionCompleted)]


def spans(events: list[AnyEvent]) -> list[tuple[int, int]]:
    """Return where each utterance lies."""
    finals = [event.emotion.window for event in events if isinstance(event, EmotionCompleted)]
    return [(window.start_ms, window.end_ms) for window in finals]


def test_a_cut_connection_is_made_again_and_the_stream_goes_on() -> None:
    """The server is asked for what was missed, and gets the sound that did not arrive."""

    async def scene() -> None:
        time = FakeTime()
        lines: list[str] = []
        async with ScriptedServer() as server:
            async with connect(
                server.url, rate=RATE, timing=time.timing, tell=lines.append
            ) as session:
                await session.send(numbered(0, 150))
                await server.until(lambda: server.session.now_ms == 150)
                server.drop()
                await session.send(numbered(150, 300))
                await server.until(lambda: server.session.now_ms == 300)
            events = await read(session)
            assert words(events) == ["0 99", "100 199", "200 299"]
            assert sum(isinstance(event, SessionResumed) for event in events) == 1
            seqs = [event.seq for event in events if hasattr(event, "seq")]
            assert seqs == list(range(1, len(seqs) + 1))
            assert server.queries[0]["stream"] == server.queries[1]["stream"]
            assert len(server.sessions) == 1
            assert session.lost_ms == 0
            assert len(lines) == 2
            assert "trying again" in lines[0]
            assert "connected" in lines[1]

    play(scene())


def test_a_killed_server_gets_the_unsettled_sound_again() -> None:
    """Each utterance is told once, and stands where it was said."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            async with connect(server.url, rate=RATE, timing=FakeTime().timing) as session:
                server.thinks = False
                await session.send(numbered(0, 250))
                await server.until(lambda: server.session.now_ms == 250)
                await server.think()
                heard: list[AnyEvent] = []
                while not spans(heard):
                    heard.append(await anext(session))
                server.die()
                server.thinks = True
                await session.send(numbered(250, 300))
                await server.until(lambda: len(server.sessions) == 2)
            events = heard + await read(session)
            assert spans(events) == [(0, 100), (100, 200), (200, 300)]
            assert words(events) == ["0 99", "100 199", "200 299"]
            assert session.offset_ms == 100
            assert session.id == "s2"

    play(scene())


def test_a_server_that_says_goodbye_has_settled_all_it_heard() -> None:
    """Only what it had not yet heard goes to the next one."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            async with connect(server.url, rate=RATE, timing=FakeTime().timing) as session:
                await session.send(numbered(0, 150))
                await server.until(lambda: server.session.now_ms == 150)
                await server.leave()
                await session.send(numbered(150, 200))
                await server.until(lambda: len(server.sessions) == 2)
            events = await read(session)
            assert spans(events) == [(0, 100), (100, 150), (150, 200)]
            assert [event.audio_ms for event in events if isinstance(event, SessionClosed)] == [
                150,
                200,
            ]

    play(scene())


def test_finals_come_through_a_server_that_dies_while_finishing() -> None:
    """The end of the block waits for the next server's answer."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            server.thinks = False
            async with connect(server.url, rate=RATE, timing=FakeTime().timing) as session:
                await session.send(numbered(0, 150))
                await server.until(lambda: server.session.now_ms == 150)
                server.reads.clear()
                await session.finish()
                server.die()
                server.reads.set()
            assert spans(await read(session)) == [(0, 100), (100, 150)]

    play(scene())


def test_a_full_server_is_asked_again_when_it_says() -> None:
    """By `Retry-After`, or by the reason of its close frame."""

    async def scene() -> None:
        time = FakeTime()
        busy = ErrorBody(type="server_error", code="too_many_sessions", message="all are in use")
        async with ScriptedServer() as server:
            server.refusals = [(HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "7"}, busy)]
            server.closes = [(1013, "full; retry in 9 s")]
            async with connect(server.url, rate=RATE, timing=time.timing):
                pass
            assert time.slept == [7.0, 9.0]

    play(scene())


def test_a_server_that_stays_away_is_given_up() -> None:
    """After two minutes, with what to do about it; what was told before is still read."""

    async def scene() -> None:
        time = FakeTime()
        async with (
            ScriptedServer() as server,
            connect(server.url, rate=RATE, timing=time.timing) as session,
        ):
            await session.send(numbered(0, 100))
            await server.until(lambda: server.session.now_ms == 100)
            await server.stop()
            seen: list[AnyEvent] = []
            with pytest.raises(ServerError, match=r"given up after 120 s.*[Ss]tart"):
                await read(session, seen)
            assert words(seen) == ["0 99"]
            assert 110 < time.now <= 120
            assert max(time.slept) == 5.0
            await server.start()

    play(scene())


def test_nobody_at_the_address_is_told_at_once() -> None:
    """The first connection is had or not; a slip in the address must not cost two minutes."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            pass
        with pytest.raises(ServerError, match="connection refused") as raised:
            async with connect(server.url):
                pass
        assert raised.value.code == "server_unreachable"

    play(scene())


def test_events_that_cannot_be_told_again_are_counted_and_told_of_in_one_line() -> None:
    """No final is among them: those are heard anew where they are gone."""

    async def scene() -> None:
        lines: list[str] = []
        async with ScriptedServer() as server:
            async with connect(
                server.url, rate=RATE, timing=FakeTime().timing, tell=lines.append
            ) as session:
                await session.send(numbered(0, 50))
                await server.until(lambda: server.session.now_ms == 50)
                assert isinstance(await anext(session), SessionCreated)
                assert isinstance(await anext(session), SpeechStarted)
                server.drop()
                # Told while nobody was there to hear it.
                server.session.receive(json.dumps({"type": "session.update", "session": {}}))
                server.session.forgotten = 1
                await session.send(numbered(50, 150))
            events = await read(session)
            assert words(events) == ["0 99", "100 149"]
            assert session.missed_events == 1
            told = [line for line in lines if "not told again" in line]
            assert len(told) == 1
            assert "1 event is" in told[0]
            assert "no final" in told[0]

    play(scene())


def test_a_gap_in_the_numbers_is_told_of_once_a_connection() -> None:
    """Whatever may have been in it."""

    async def scene() -> None:
        lines: list[str] = []
        async with ScriptedServer() as server:
            gaps = [Cleared(event_id="e", session_id="s1", seq=seq) for seq in (3, 5)]
            server.extra = [encode_event(event) for event in gaps]
            async with connect(server.url, rate=RATE, tell=lines.append) as session:
                await session.send(numbered(0, 250))
            assert session.missed_events == 2
            assert len(lines) == 1
            assert "1 event is missing" in lines[0]

    play(scene())


def test_without_resume_a_broken_connection_ends_the_stream() -> None:
    """As a load generator wants it: what breaks is counted, not mended."""

    async def scene() -> None:
        async with (
            ScriptedServer() as server,
            connect(server.url, rate=RATE, resume=False) as session,
        ):
            assert "stream" not in server.queries[0]
            server.drop()
            with pytest.raises(ServerError, match="broke"):
                await read(session)

    play(scene())


def test_a_live_stream_loses_the_oldest_sound_of_a_long_outage_and_says_so() -> None:
    """A microphone cannot wait; a patient stream, from a file, does."""

    async def scene() -> None:
        time = FakeTime()
        async with ScriptedServer() as server:
            async with connect(
                server.url, rate=RATE, keep_s=1.0, timing=time.timing, give_up_s=1e9
            ) as session:
                await server.stop()
                server.die()
                await session.send(numbered(0, 1500))
                assert session.lost_ms == 500
                await server.start()
                await server.until(lambda: len(server.sessions) == 2)
            events = await read(session)
            assert session.offset_ms == 500
            assert spans(events)[0] == (500, 600)
            assert spans(events)[-1] == (1400, 1500)

    play(scene())


def test_a_patient_stream_waits_for_the_server_to_come_back() -> None:
    """Nothing of a file is lost, however long the outage."""

    async def scene() -> None:
        time = FakeTime()
        async with ScriptedServer() as server:
            async with connect(
                *(server.url,),
                rate=RATE,
                keep_s=1.0,
                timing=time.timing,
                give_up_s=1e9,
                patient=True,
            ) as session:
                reading = asyncio.create_task(read(session))
                await server.stop()
                server.die()
                sending = asyncio.create_task(session.send(numbered(0, 1500)))
                for _ in range(100):
                    await asyncio.sleep(0)
                assert not sending.done()
                await server.start()
                await sending
                await session.finish()
                events = await reading
            assert session.lost_ms == 0
            assert spans(events)[0] == (0, 100)
            assert spans(events)[-1] == (1400, 1500)

    play(scene())
