"""What nobody has foreseen ends a connection at once, with an error, and harms nobody else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from streamser.events import SpeechStarted
from streamser.pipeline.session import Session
from streamser.pipeline.stream import SessionRunner
from streamser.server.app import EmotionServer
from streamser.server.dialects.commands import Interest
from streamser.server.dialects.deepgram import DeepgramDialect
from streamser.server.dialects.openai_realtime import RealtimeDialect
from streamser.server.meetings.hub import Hub, Subscription
from streamser.server.outgoing import Backlog, EncodedEvent, SendQueue
from streamser.server.stream import LiveStream
from tests.cli.samples import closed, created
from tests.server.serving import (
    EMOTION,
    Told,
    Wire,
    demo,
    dial,
    encode,
    of_kind,
    patience,
    serving,
)

SOUND = encode(demo(4.0))
SECRET = "whatever was said in private"
CLOSED = "streamser.session.closed"


def broken(*_: Any, **__: Any) -> Any:
    """Fail as a plug-in or a bug does."""
    raise RuntimeError(SECRET)


def broken_for(kind: type) -> Callable[[Any, Any], Any]:
    """Make a dialect's ``encode`` that fails for one kind of event."""
    usual = RealtimeDialect.encode

    def encode(self: RealtimeDialect, event: Any) -> list[bytes]:
        return broken() if isinstance(event, kind) else usual(self, event)

    return encode


async def fault(server: EmotionServer, path: str = "/v1/realtime") -> tuple[list[Told], Wire]:
    """Send sound; return what is told until the connection ends, long before anything is idle."""
    async with asyncio.timeout(60), dial(server, path, query="rate=16000") as wire:
        await wire.sound(SOUND)
        return await wire.rest(), wire


def faults(server: EmotionServer) -> float | None:
    """Return how many faults the server has counted."""
    return server.metrics.registry.get_sample_value("streamser_server_faults_total")


@pytest.mark.parametrize(
    ("where", "name", "how"),
    [
        (LiveStream, "push_audio", broken),
        (LiveStream, "seconds", broken),
        (RealtimeDialect, "receive", broken),
        (RealtimeDialect, "encode", broken_for(SpeechStarted)),
        (Session, "push", broken),
        (SessionRunner, "resolve", broken),
        (Session, "flush", broken),
    ],
    ids=lambda part: getattr(part, "__name__", str(part)),
)
def test_a_fault_in_a_stream_is_told_at_once_and_the_session_is_closed(
    where: type, name: str, how: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a typed error and 1011; listeners see the session end, and its place is free again."""

    async def scene() -> None:
        async with serving({"server.shutdown_s": 0.2, "asr.engine": "none"}) as server:
            async with dial(server, "/v1/events", query="all") as listener:
                await listener.next()
                monkeypatch.setattr(where, name, how)
                # Or what others are told would do for its client, too.
                monkeypatch.setattr(RealtimeDialect, "tells_all", name != "encode")
                async with asyncio.timeout(60), dial(server, query="rate=16000") as wire:
                    await wire.sound(SOUND)
                    if name == "flush":
                        await wire.send("streamser.finish")
                    events = await wire.rest()
                monkeypatch.undo()
                (error,) = (event["error"] for event in of_kind(events, "error"))
                assert (error["type"], error["code"]) == ("server_error", "internal_error")
                assert SECRET not in error["message"]
                assert (wire.code, wire.reason) == (1011, "internal_error")
                heard = await listener.until(CLOSED)
                seqs = [event["seq"] for event in heard if event.get("session_id")]
                assert seqs == list(range(1, len(seqs) + 1))
                assert heard[-1]["utterances"] == len(
                    of_kind(heard, "input_audio_buffer.committed")
                )
            value = server.metrics.render().decode()
            assert "streamser_streams 0.0" in value
            assert (faults(server) or 0) >= 1

    asyncio.run(patience(scene()))


def test_what_was_heard_before_a_fault_is_still_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listeners get the final of the utterance that was open, though its sender is gone."""

    async def scene() -> list[Told]:
        async with serving() as server, dial(server, "/v1/events", query="all") as listener:
            async with dial(server, query="rate=16000") as wire:
                await wire.sound(SOUND[: 32_000 * 2])
                await wire.until("input_audio_buffer.speech_started")
                monkeypatch.setattr(LiveStream, "push_audio", broken)
                await wire.sound(SOUND[:3200])
                await wire.rest()
            monkeypatch.undo()
            return await listener.until(CLOSED)

    events = asyncio.run(patience(scene()))
    assert len(of_kind(events, EMOTION)) == events[-1]["utterances"] == 1
    assert events[-1]["failed"] == 0


def test_the_sending_side_may_fail_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then neither a sender nor a listener is left waiting on a silent socket."""

    async def scene() -> None:
        async with serving() as server, dial(server, "/v1/events", query="all") as listener:
            await listener.next()
            async with dial(server) as wire:
                await wire.next()
                await listener.next()
                monkeypatch.setattr(Backlog, "dequeue", broken)
                await wire.send("streamser.marker", id="m")
                for each in (wire, listener):
                    (error,) = await each.rest()
                    assert error["error"]["code"] == "internal_error"
                    assert each.code == 1011
            monkeypatch.undo()
            assert faults(server) == 2

    asyncio.run(patience(scene()))


def test_a_stream_that_cannot_begin_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client is told, and its place is free; no task waits for ever."""

    async def scene() -> None:
        async with serving() as server:
            monkeypatch.setattr(LiveStream, "open", broken)
            events, wire = await fault(server)
            monkeypatch.undo()
            assert [event["error"]["code"] for event in events] == ["internal_error"]
            assert wire.code == 1011
            assert "streamser_streams 0.0" in server.metrics.render().decode()
            left = [repr(task.get_coro()) for task in asyncio.all_tasks()]
            assert not any("_guard" in coroutine for coroutine in left)

    asyncio.run(patience(scene()))


def test_a_stream_that_cannot_begin_is_not_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of several servers knows of it no more than before, and gives its meeting back."""

    async def scene() -> None:
        flags = {"cluster.redis": "redis://127.0.0.1:1/0", "cluster.address": "ws://127.0.0.1:1"}
        async with serving(flags) as server:
            node = server._cluster
            assert node is not None
            monkeypatch.setattr(LiveStream, "open", broken)
            await fault(server)
            monkeypatch.undo()
            assert (node._streams, node._attending) == ({}, {})

    asyncio.run(patience(scene()))


def test_a_client_of_deepgram_is_told_in_its_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as its protocol has any; the close code says the rest."""
    monkeypatch.setattr(DeepgramDialect, "receive", broken)

    async def scene() -> tuple[int | None, str]:
        async with (
            serving() as server,
            asyncio.timeout(60),
            dial(server, "/v1/listen", query="encoding=linear16&sample_rate=16000") as wire,
        ):
            await wire.raw(SOUND[:3200])
            await wire.connection.wait_closed()
            return wire.connection.close_code, wire.connection.close_reason or ""

    assert asyncio.run(patience(scene())) == (1011, "internal_error")


def test_a_failed_stream_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes back for it begins anew."""

    async def scene() -> None:
        async with serving({"server.resume_s": 30}) as server:
            query = "rate=16000&stream=0123456789abcdef"
            async with dial(server, query=query) as wire:
                first = (await wire.next())["session_id"]
                monkeypatch.setattr(LiveStream, "push_audio", broken)
                await wire.sound(SOUND[:3200])
                await wire.rest()
            monkeypatch.undo()
            async with dial(server, query=query) as wire:
                again = await wire.next()
                assert (again["type"], again["seq"]) == ("session.created", 1)
                assert again["session_id"] != first

    asyncio.run(patience(scene()))


def test_a_fault_is_logged_with_its_session_and_place_but_not_its_words(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A message of an error may quote what people say."""
    caplog.set_level(logging.INFO, "streamser")

    async def scene() -> str:
        async with serving() as server, dial(server) as wire:
            session_id: str = (await wire.next())["session_id"]
            monkeypatch.setattr(LiveStream, "push_audio", broken)
            await wire.sound(SOUND[:3200])
            await wire.rest()
            monkeypatch.undo()
            return session_id

    session_id = asyncio.run(patience(scene()))
    (line,) = (record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR)
    assert f"session={session_id}" in line
    assert "RuntimeError at test_faults.py:" in line
    assert SECRET not in caplog.text


def test_a_listener_that_fails_harms_nobody_else() -> None:
    """It is taken off; those before and behind it hear everything."""
    hub = Hub(100, 60.0, 30.0, 1)
    heard: list[list[EncodedEvent]] = [[], []]
    failed: list[Exception] = []
    hub.subscribe(Subscription(Interest(), heard[0].append), None, 0.0)
    hub.subscribe(Subscription(Interest(), broken, failed.append), None, 0.0)
    hub.subscribe(Subscription(Interest(), heard[1].append), None, 0.0)
    hub.publish(created(), 0.0)
    hub.publish(closed(), 1.0)
    assert [len(letters) for letters in heard] == [2, 2]
    assert len(failed) == 1


def test_an_outlet_says_what_has_ended_it() -> None:
    """A connection that is closed is no fault; anything else is."""

    class Line:
        async def send(self, body: bytes, text: bool) -> None:
            raise ValueError(SECRET)

    async def scene() -> Exception | None:
        line: Any = Line()
        queue = SendQueue(line, 16, lambda overload, stamp: (), lambda drops: None)
        queue.enqueue(EncodedEvent("s", 1, 0, False, (b"{}",)))
        await queue.wait_until_done()
        return queue.fault

    assert isinstance(asyncio.run(patience(scene())), ValueError)
