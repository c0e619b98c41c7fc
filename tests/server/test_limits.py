"""What a server allows: how many, how big, how fast, how long; and how it says no."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from streamser.errors import ConfigError
from streamser.server.app import EmotionServer
from streamser.server.transport import ClientSocket
from tests.server.serving import (
    EMOTION,
    Told,
    Wire,
    check_stream,
    demo,
    dial,
    encode,
    kinds,
    of_kind,
    patience,
    refusal,
    server_settings,
    serving,
)

CLOSED = "streamser.session.closed"
STARTED = "input_audio_buffer.speech_started"
SECOND = 32_000
"""Bytes of a second at 16 kHz."""


async def turned_away(
    server: EmotionServer, path: str = "/v1/realtime", **how: Any
) -> tuple[Told, int | None, str]:
    """Connect as a page does whom the server does not want; return error, code and reason.

    Deepgram's clients know no such event; they have the reason alone.
    """
    how.setdefault("origin", server.url.rstrip("/"))
    async with dial(server, path, **how) as wire:
        events = await wire.rest()
    if path == "/v1/listen":
        assert not events
        return {"code": wire.reason.partition(";")[0]}, wire.code, wire.reason
    (event,) = events
    assert (event["type"], event["session_id"], event["seq"]) == ("error", "", 0)
    return event["error"], wire.code, wire.reason


async def status(server: EmotionServer, path: str) -> tuple[int, Mapping[str, str], str]:
    """Get a path over plain HTTP."""

    def get() -> tuple[int, Mapping[str, str], str]:
        try:
            with urllib.request.urlopen(server.url + path) as response:
                return response.status, dict(response.headers), response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read().decode()

    return await asyncio.to_thread(get)


# How many


def test_nobody_is_let_in_before_the_models_are_loaded() -> None:
    """Senders are told to try again; the server is alive, but not ready."""

    async def scene() -> None:
        async with serving(load=False) as server:
            code, headers, error = await refusal(server)
            assert (code, headers["Retry-After"], error["code"]) == (503, "1", "not_ready")
            assert error["type"] == "server_error"
            told, closed, reason = await turned_away(server)
            assert (told["code"], closed, reason) == ("not_ready", 1013, "not_ready; retry in 1 s")
            assert (await status(server, "healthz"))[0] == 200
            assert (await status(server, "readyz"))[::2] == (503, "not_ready\n")
            await server.load()
            assert (await status(server, "readyz"))[0] == 200
            async with dial(server) as wire:
                assert (await wire.next())["type"] == "session.created"

    asyncio.run(patience(scene()))


def test_there_is_room_for_so_many_streams() -> None:
    """One too many is refused, in a way that its kind understands, until another has left."""

    async def scene() -> None:
        async with serving({"server.max_sessions": 2}) as server:
            async with dial(server) as first, dial(server) as second:
                await first.next()
                await second.next()
                code, headers, error = await refusal(server)
                assert (code, headers["Retry-After"]) == (503, "5")
                assert error["code"] == "too_many_sessions"
                assert error["type"] == "server_error"
                told, closed, reason = await turned_away(server)
                assert told == {**error, "param": None, "event_id": None}
                assert (closed, reason) == (1013, "too_many_sessions; retry in 5 s")
                assert (await status(server, "readyz"))[::2] == (503, "too_many_sessions\n")
                # Listeners are others; and health is no matter of room.
                async with dial(server, "/v1/events", query="all") as listener:
                    assert len((await listener.next())["sessions"]) == 2
                await first.finish()
                async with dial(server) as third:
                    await third.next()
            metrics = (await status(server, "metrics"))[2]
            assert 'streamser_refusals_total{code="too_many_sessions"} 2.0' in metrics

    asyncio.run(patience(scene()))


def test_a_broken_stream_gives_way_where_all_is_full() -> None:
    """To somebody who is there; who has come back before that keeps its place."""

    async def scene() -> None:
        secret = "stream=a-secret-of-the-client"
        async with serving({"server.max_sessions": 1}) as server:
            async with dial(server, query=secret) as wire:
                await wire.next()
                await wire.break_off()
            async with dial(server, query=f"{secret}&after=1") as wire:
                assert (await wire.next())["type"] == "streamser.session.resumed"
                code, _, error = await refusal(server)
                assert (code, error["code"]) == (503, "too_many_sessions")
                await wire.break_off()
            while (await status(server, "readyz"))[0] != 200:
                """The server has not seen yet that the client is gone."""
            async with dial(server) as other:
                assert (await other.next())["type"] == "session.created"
                code, _, error = await refusal(server, query=f"{secret}&after=1")
                assert (code, error["code"]) == (503, "too_many_sessions")

    asyncio.run(patience(scene()))


def test_each_token_has_room_for_so_many_streams(tmp_path: Path) -> None:
    """Who has many streams does not keep others out."""
    tokens = tmp_path / "tokens"
    tokens.write_text("anna send anna-has-a-secret\nben send ben-has-another-one\n")
    anna = {"Authorization": "Bearer anna-has-a-secret"}
    ben = {"Authorization": "Bearer ben-has-another-one"}
    flags = {"server.token_file": str(tokens), "server.max_sessions": 2}

    async def scene() -> None:
        async with serving(flags) as server, dial(server, headers=anna) as first:
            await first.next()
            code, headers, error = await refusal(server, headers=anna)
            assert (code, headers["Retry-After"]) == (503, "5")
            assert error["code"] == "too_many_sessions_of_token"
            assert "anna" in error["message"]
            assert "secret" not in error["message"]
            async with dial(server, headers=ben) as second:
                await second.next()
            assert (await status(server, "readyz"))[0] == 200

    asyncio.run(patience(scene()))


def test_no_token_keeps_all_listeners_to_itself(tmp_path: Path) -> None:
    """Another's listener gets in, where one token has its share."""
    tokens = tmp_path / "tokens"
    tokens.write_text("anna listen anna-has-a-secret\nben listen ben-has-another-one\n")
    anna = {"Authorization": "Bearer anna-has-a-secret"}
    ben = {"Authorization": "Bearer ben-has-another-one"}
    flags = {"server.token_file": str(tokens), "server.max_listeners": 2}

    async def scene() -> None:
        async with serving(flags) as server:
            events = {"path": "/v1/events", "query": "all"}
            async with dial(server, **events, headers=anna) as first:
                await first.next()
                code, _, error = await refusal(server, **events, headers=anna)
                assert (code, error["code"]) == (503, "too_many_listeners_of_token")
                async with dial(server, **events, headers=ben) as second:
                    await second.next()

    asyncio.run(patience(scene()))


def test_finals_that_are_late_keep_newcomers_out() -> None:
    """Whoever is there is told, and may come back; readiness and metrics say so."""

    async def scene() -> None:
        flags = {"server.late_s": 0.0001, "server.resume_s": 60}
        async with serving(flags) as server:
            async with dial(server, query="rate=16000&stream=a-secret-of-the-client") as wire:
                await wire.next()
                events = []
                for _ in range(3):
                    await wire.sound(encode(demo(4.0)))
                    await wire.send("input_audio_buffer.commit")
                    events += await wire.until(EMOTION)
                events += await wire.settle()
                late = of_kind(events, "streamser.overload")
                assert [(each["kind"], each["total"]) for each in late][:2] == [
                    ("finals", 1),
                    ("finals", 2),
                ]
                code, headers, error = await refusal(server)
                assert (code, headers["Retry-After"], error["code"]) == (503, "5", "overloaded")
                assert (await status(server, "readyz"))[::2] == (503, "overloaded\n")
                metrics = (await status(server, "metrics"))[2]
                assert "streamser_late_finals_total 0" not in metrics
                assert "streamser_late_seconds " in metrics
                await wire.break_off()
            async with dial(server, query="stream=a-secret-of-the-client") as back:
                assert "streamser.session.resumed" in kinds(
                    await back.until("streamser.session.resumed")
                )

    asyncio.run(patience(scene()))


def test_who_commits_when_it_likes_makes_no_final_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its finals lag an hour behind its sound, and were told at once: newcomers are let in."""
    hour = 3600.0

    async def scene() -> None:
        flags = {"server.late_s": 60.0}
        async with serving(flags) as server, dial(server, query="rate=16000") as wire:
            await wire.update({"turn_detection": None})
            long_ago = time.monotonic() - hour
            monkeypatch.setattr(ClientSocket, "came", property(lambda _: long_ago, _nowhere))
            events = []
            for _ in range(3):
                await wire.sound(encode(demo(2.0)))
                await wire.send("input_audio_buffer.commit")
                events += await wire.until(EMOTION)
            events += await wire.settle()
            lags = [event["lag_ms"] for event in of_kind(events, EMOTION)]
            assert min(lags) > 1000 * (hour - 1)
            assert not of_kind(events, "streamser.overload")
            assert (await status(server, "readyz"))[::2] == (200, "ready\n")
            async with dial(server) as newcomer:
                await newcomer.next()

    asyncio.run(patience(scene()))


def _nowhere(connection: ClientSocket, came: float) -> None:
    return


def test_there_is_room_for_so_many_listeners() -> None:
    """One too many is refused; streams are not counted among them."""

    async def scene() -> None:
        async with serving({"server.max_listeners": 2}) as server, AsyncExitStack() as stack:
            await stack.enter_async_context(dial(server))
            for _ in range(2):
                listener = await stack.enter_async_context(dial(server, "/v1/events", query="all"))
                await listener.next()
            code, headers, error = await refusal(server, "/v1/events", query="all")
            assert (code, headers["Retry-After"]) == (503, "5")
            assert error["code"] == "too_many_listeners"
            told, closed, _ = await turned_away(server, "/v1/events", query="all")
            assert (told["code"], closed) == ("too_many_listeners", 1013)
            await listener.connection.close()
            async with dial(server, "/v1/events", query="all") as another:
                await another.next()

    asyncio.run(patience(scene()))


# How big


def test_a_message_that_is_too_big_ends_the_connection() -> None:
    """The biggest message is taken; one byte more closes with 1009, and nobody else notices."""

    async def scene() -> None:
        async with (
            serving({"server.max_message_kib": 4}) as server,
            dial(server) as wire,
            dial(server, query="rate=16000") as other,
        ):
            assert (await wire.next())["session"]["limits"]["message_bytes"] == 4096
            await wire.raw(bytes(4096))
            await wire.settle()
            await wire.raw(bytes(4097))
            await wire.rest()
            assert wire.code == 1009
            await other.sound(encode(demo(5.2)), size=4096)
            events = await other.finish()
            check_stream(events)
            assert len(of_kind(events, EMOTION)) == 1

    asyncio.run(patience(scene()))


# How long


def test_a_stream_that_falls_silent_is_ended() -> None:
    """What was said is judged and told; then an error says why, and 4408 closes."""

    async def scene() -> tuple[list[Told], int | None, str]:
        async with (
            serving({"server.idle_s": 0.5}) as server,
            dial(server, query="rate=16000&stream=a-secret-of-the-client") as wire,
        ):
            await wire.sound(encode(demo(3.0)))
            return await wire.rest(), wire.code, wire.reason

    events, code, reason = asyncio.run(patience(scene()))
    check_stream(events)
    assert (code, reason) == (4408, "idle_timeout")
    (error,) = of_kind(events, "error")
    assert (error["error"]["type"], error["error"]["code"]) == ("server_error", "idle_timeout")
    assert len(of_kind(events, EMOTION)) == 1


def test_a_stream_that_lasts_too_long_is_ended() -> None:
    """However busy it is; what was said is told first."""

    async def scene() -> tuple[list[Told], int | None, str]:
        async with (
            serving({"server.session_s": 1.0}) as server,
            dial(server, query="rate=16000") as wire,
        ):
            speaking = asyncio.create_task(speak_on(wire))
            events = await wire.rest()
            await speaking
            return events, wire.code, wire.reason

    async def speak_on(wire: Wire) -> None:
        try:
            await wire.sound(encode(demo(3.0)))
            while True:
                await wire.send("input_audio_buffer.append", audio="")
                await asyncio.sleep(0)
        except ConnectionClosed:
            return

    events, code, reason = asyncio.run(patience(scene()))
    check_stream(events)
    assert (code, reason) == (4408, "session_expired")
    (error,) = of_kind(events, "error")
    assert error["error"]["code"] == "session_expired"
    assert len(of_kind(events, EMOTION)) == 1


# How fast


def test_sound_faster_than_allowed_waits_with_the_client() -> None:
    """After a burst of 30 s the server reads no faster than its speed: the client is held up.

    Of ten minutes sent at once only what fits into the sockets leaves the client, and each
    second is heard no earlier than it may be.
    """
    speed, rate = 4.0, 48_000
    second = bytes(4 * rate)

    async def scene() -> tuple[int, list[tuple[int, float]]]:
        flags = {"server.speed": speed}
        query = f"rate={rate}&encoding=f32le"
        sent = 0

        async def send(wire: Wire) -> None:
            nonlocal sent
            for n in range(1, 600):
                await wire.raw(second)
                await wire.send("streamser.marker", id=str(n))
                sent = n

        async with serving(flags) as server, dial(server, query=query) as wire:
            await wire.next()
            began = time.monotonic()
            sending = asyncio.create_task(send(wire))
            heard = []
            for _ in range(36):
                echo = (await wire.until("streamser.marker"))[-1]
                heard.append((echo["audio_ms"], time.monotonic() - began))
            reached = sent
            sending.cancel()
            await asyncio.wait({sending})
            await wire.break_off()
            return reached, heard

    reached, heard = asyncio.run(patience(scene()))
    assert heard[-1][0] == pytest.approx(36_000, abs=50)
    for audio_ms, passed in heard:
        assert audio_ms / 1000 <= 30 + speed * passed + 0.5
    # The rest stands in the sockets' buffers, 10 MB at the most, or was never written.
    assert reached < 300


def test_one_that_is_held_up_holds_up_nobody() -> None:
    """While one client waits for its pace, another's sound is heard at once."""

    async def scene() -> list[Told]:
        async with (
            serving({"server.speed": 1.0}) as server,
            dial(server, query="encoding=pcmu") as fast,
            dial(server, query="rate=16000") as wire,
        ):
            await fast.raw(bytes(60 * 8000))
            await wire.sound(encode(demo(5.2)))
            return await wire.finish()

    events = asyncio.run(patience(scene()))
    check_stream(events)
    assert len(of_kind(events, EMOTION)) == 1


def test_one_that_is_held_up_is_not_idle() -> None:
    """Waiting for its pace counts as sending: the server itself keeps the client from it."""

    async def scene() -> list[Told]:
        flags = {"server.speed": 8.0, "server.idle_s": 0.4}
        async with serving(flags) as server, dial(server, query="encoding=pcmu") as wire:
            # 30 s at once, and a second and a half for 12 s more.
            await wire.raw(bytes(42 * 8000))
            await wire.send("streamser.finish")
            return await wire.rest()

    events = asyncio.run(patience(scene()))
    assert "error" not in kinds(events)
    assert events[-1]["audio_ms"] == 42_000


# Settings


@pytest.mark.parametrize(
    "flags",
    [
        {"server.max_sessions": 0},
        {"server.max_message_kib": 0},
        {"server.speed": 0.5},
        {"server.idle_s": 0},
        {"server.backlog_events": 1},
        {"server.port": 70_000},
    ],
)
def test_limits_that_make_no_sense_are_refused(flags: dict[str, Any]) -> None:
    """A setting out of its range is named before anything is served."""
    (key,) = flags
    with pytest.raises(ConfigError, match=key):
        server_settings(flags)


def test_a_port_that_is_taken_is_told() -> None:
    """The server says so in one line, and can be stopped all the same."""

    async def scene() -> None:
        async with serving() as server:
            port = int(server.url.rstrip("/").rpartition(":")[2])
            second = EmotionServer(server_settings({"server.port": port}), lambda line: None)
            with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
                await second.start()
            await second.stop()

    asyncio.run(patience(scene()))
