"""One stream to a server: what goes out, what comes back, and how it ends."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import numpy as np
import pytest

from streamser.client import ClientSession, ServerError, connect, shift_times
from streamser.events import (
    AnyEvent,
    Committed,
    EmotionCompleted,
    ErrorBody,
    ErrorRaised,
    Marker,
    SessionClosed,
    SessionCreated,
    SessionUpdated,
    SpeechStopped,
    TranscriptionCompleted,
)
from tests.client.pretend import RATE, numbered
from tests.client.scripted import FakeTime, ScriptedServer, play

REFUSED = ErrorBody(type="invalid_request_error", code="invalid_token", message="not this token")


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


def test_sound_goes_out_and_typed_events_come_back() -> None:
    """The block's end finishes the stream, and what comes then can still be read."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            async with connect(server.url, rate=RATE, speaker="Ann", meeting="Monday") as session:
                assert session.id == "s1"
                assert session.info.models.asr == "pretend"
                await session.send(numbered(0, 250))
            events = await read(session)
            assert isinstance(events[0], SessionCreated)
            assert words(events) == ["0 99", "100 199", "200 249"]
            assert isinstance(events[-1], SessionClosed)
            (query,) = server.queries
            assert query["intent"] == "transcription"
            assert (query["rate"], query["encoding"]) == ("8000", "s16le")
            assert (query["speaker"], query["meeting"]) == ("Ann", "Monday")
            assert 16 <= len(query["stream"]) <= 128

    play(scene())


def test_finish_lets_the_iteration_end() -> None:
    """A task that reads and one that sends come to their ends together."""

    async def scene() -> None:
        async with ScriptedServer() as server, connect(server.url, rate=RATE) as session:
            reading = asyncio.create_task(read(session))
            await session.send(np.linspace(-1, 1, RATE // 10, dtype=np.float32))
            await session.finish()
            events = await reading
            assert isinstance(events[-1], SessionClosed)
            with pytest.raises(ServerError, match="over"):
                await session.send(numbered(0, 1))

    play(scene())


def test_commit_clear_mark_and_update_are_answered() -> None:
    """Each request is one message, and each answer one typed event."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            async with connect(
                server.url, rate=RATE, settings={"streamser": {"partial_every_ms": 500}}
            ) as session:
                await session.send(numbered(0, 50))
                await session.commit()
                await session.update({"streamser": {"speaker": "Ben"}})
                await session.mark("here")
                await session.clear()
            events = await read(session)
            assert server.session.settings == [
                {"type": "transcription", "streamser": {"partial_every_ms": 500}},
                {"type": "transcription", "streamser": {"speaker": "Ben"}},
            ]
            kinds = [type(event) for event in events]
            assert kinds.count(SessionUpdated) == 2
            assert kinds.count(Committed) == 1
            stops = [event.reason for event in events if isinstance(event, SpeechStopped)]
            assert stops == ["commit"]
            assert [event.id for event in events if isinstance(event, Marker)] == ["here"]

    play(scene())


def test_the_format_of_the_sound_cannot_change_on_the_way() -> None:
    """What was kept could not be sent again in another format."""

    async def scene() -> None:
        async with ScriptedServer() as server, connect(server.url, rate=RATE) as session:
            with pytest.raises(ValueError, match="connect"):
                await session.update({"audio": {"input": {"format": {"type": "audio/pcmu"}}}})

    play(scene())


def test_unknown_events_are_left_out() -> None:
    """A newer server may say more than this client knows."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            server.extra = [
                b'{"type":"streamser.tomorrow","event_id":"x","session_id":"s1","seq":0}',
                b"[]",
                b"no JSON",
            ]
            async with connect(server.url, rate=RATE) as session:
                await session.send(numbered(0, 100))
            assert words(await read(session)) == ["0 99"]

    play(scene())


@pytest.mark.parametrize("status", [HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN])
def test_a_refusal_is_told_at_once_in_the_servers_words(status: HTTPStatus) -> None:
    """Trying again would change nothing."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            server.refusals = [(status, {}, REFUSED)]
            with pytest.raises(ServerError, match="not this token") as raised:
                async with connect(server.url, token="secret-token"):
                    pass
            assert raised.value.code == "invalid_token"
            assert "secret-token" not in str(raised.value)
            assert server.headers[0]["Authorization"] == "Bearer secret-token"
            assert len(server.queries) == 1

    play(scene())


@pytest.mark.parametrize("code", [1008, 4401, 4403, 4408])
def test_a_final_close_code_is_an_error(code: int) -> None:
    """The server has ended the stream for a reason that stays."""

    async def scene() -> None:
        async with ScriptedServer() as server, connect(server.url, rate=RATE) as session:
            (link,) = server._links
            await link.close(code, "because")
            with pytest.raises(ServerError):
                await read(session)
            with pytest.raises(ServerError):
                await session.send(numbered(0, 10))
            assert len(server.queries) == 1
            # The error was met inside the block; its end would tell it once more.
            raise _SeenError

    with pytest.raises(_SeenError):
        play(scene())


class _SeenError(Exception):
    """Leave a block in which all was seen."""


def test_a_message_that_is_too_big_is_told_and_not_asked_for_again() -> None:
    """It would be as long the next time: nobody waits two minutes to learn that."""

    async def scene() -> None:
        time = FakeTime()
        async with ScriptedServer() as server:
            server.extra = [b'{"type":"' + b"x" * (4 * 2**20) + b'"}']
            with pytest.raises(ServerError, match="a message of over 4 MiB") as caught:
                async with connect(server.url, rate=RATE, timing=time.timing) as session:
                    await read(session)
            assert caught.value.code == "message_too_big"
            assert len(server.queries) == 1
            assert time.slept == []

    play(scene())


def test_send_waits_for_a_server_that_does_not_keep_up() -> None:
    """No more than a stated stretch of sound is kept, so nothing that is sent can be lost."""

    async def scene() -> None:
        async with (
            ScriptedServer() as server,
            connect(server.url, rate=RATE, keep_s=1.0) as session,
        ):
            reading = asyncio.create_task(read(session))
            server.reads.clear()
            sending = asyncio.create_task(session.send(numbered(0, 3000)))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not sending.done()
            server.reads.set()
            await sending
            await session.finish()
            assert spans(await reading)[-1] == (2900, 3000)
            assert session.lost_ms == 0

    play(scene())


def test_a_fault_in_the_block_closes_at_once() -> None:
    """Who leaves by an exception does not wait for events."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            server.thinks = False
            with pytest.raises(KeyError):
                async with connect(server.url, rate=RATE):
                    raise KeyError
            await server.until(lambda: not server._links)
            assert not server.session.closed

    play(scene())


def test_last_events_that_do_not_come_are_told() -> None:
    """The polite end has a deadline."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            server.reads.clear()
            with pytest.raises(ServerError, match="did not come"):
                async with connect(server.url, rate=RATE, finish_s=0.01):
                    pass

    play(scene())


def test_a_slow_reader_slows_the_server_and_misses_nothing() -> None:
    """Events wait in the socket when there are too many here."""

    async def scene() -> None:
        async with (
            ScriptedServer(utterance_ms=1) as server,
            connect(server.url, rate=RATE) as session,
        ):
            sending = asyncio.create_task(session.send(numbered(0, 1000)))
            for _ in range(300):
                await asyncio.sleep(0)
            assert len(session._conversation.inbox) <= 300
            reading = asyncio.create_task(read(session))
            await sending
            await session.finish()
            assert len(spans(await reading)) == 1000

    play(scene())


def test_an_error_event_is_an_event() -> None:
    """A request that was refused does not end the stream."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            async with connect(server.url, rate=RATE) as session:
                await session.commit()
                await session.send(numbered(0, 100))
            events = await read(session)
            assert [event.error.code for event in events if isinstance(event, ErrorRaised)] == [
                "input_audio_buffer_commit_empty"
            ]
            assert words(events) == ["0 99"]

    play(scene())
