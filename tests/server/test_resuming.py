"""Lines that break: the stream goes on, ends, or is told to its end."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest

from streamser.server.app import EmotionServer
from tests.server.scenes import PCM16K, SECOND
from tests.server.serving import (
    EMOTION,
    Told,
    Wire,
    bare,
    check_stream,
    demo,
    dial,
    encode,
    finals_of,
    kinds,
    of_kind,
    patience,
    resampled,
    serving,
    unnumbered,
    whole,
)

SECRET = "a-secret-of-the-client"
STARTED = "input_audio_buffer.speech_started"
STOPPED = "input_audio_buffer.speech_stopped"
RESUMED = "streamser.session.resumed"
CLOSED = "streamser.session.closed"


async def ordered(wire: Wire) -> list[Told]:
    """Ask for the one order that no timing can change; return all that is told until then."""
    events = await wire.update(ordered=True)
    assert events[-1]["session"]["ordered"]
    return events


async def uninterrupted(server: EmotionServer, data: bytes) -> list[Told]:
    """Return the events of an ordered session that hears everything at 16 kHz."""
    async with dial(server, query="rate=16000") as wire:
        events = await ordered(wire)
        await wire.sound(data)
        return events + await wire.finish()


def test_a_broken_stream_goes_on_where_it_was() -> None:
    """A client that comes back gets what it missed, sends on from there, and loses nothing."""

    async def scene() -> tuple[list[Told], list[Told], list[Told], list[Told]]:
        async with serving() as server:
            expected = await uninterrupted(server, PCM16K)
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                before = await ordered(wire)
                session_id = before[0]["session_id"]
                await wire.sound(PCM16K[: 7 * SECOND])
                before += await wire.until(EMOTION)
                last = before[-1]["seq"]
                await wire.break_off()
            query = f"stream={SECRET}&after={last}"
            async with dial(server, query=query) as wire:
                again = await wire.until(RESUMED)
                went_on = 2 * again[-1]["received_frames"]
                await wire.sound(PCM16K[went_on:])
                after = await wire.finish()
                assert wire.code == 1000
            async with dial(server, "/v1/events", query=f"session={session_id}&after=0") as wire:
                assert (await wire.next())["lost"] is False
                truth = await wire.until(CLOSED)
        assert 0 < went_on <= 7 * SECOND
        assert [event["seq"] for event in again] == list(range(last + 1, last + 1 + len(again)))
        return expected, before, again + after, truth

    expected, before, later, truth = asyncio.run(patience(scene()))
    check_stream(truth)
    assert [bare(event) for event in before[-1:] + later] == [
        bare(event) for event in truth[before[-1]["seq"] - 1 :]
    ]
    heard = [event for event in truth if event["type"] != RESUMED]
    assert unnumbered(heard) == unnumbered(expected)
    assert len(finals_of(truth)) == 4


def test_a_stream_may_break_more_than_once() -> None:
    """However often the line breaks, and wherever, the finals are those of an unbroken one."""

    async def scene() -> tuple[list[Told], list[Told]]:
        async with serving() as server:
            expected = await uninterrupted(server, PCM16K)
            events: list[Told] = []
            sent = 0
            for turn, cut in enumerate((1.01, 4.9, 5.0, 8.3, 12.4)):
                seen = events[-1]["seq"] if events else 0
                query = f"rate=16000&stream={SECRET}&after={seen}"
                async with dial(server, query=query) as wire:
                    if turn == 0:
                        events += await ordered(wire)
                    else:
                        events += await wire.until(RESUMED)
                        sent = 2 * events[-1]["received_frames"]
                    await wire.sound(PCM16K[sent : round(cut * 16_000) * 2])
                    await wire.break_off()
            query = f"stream={SECRET}&after={events[-1]['seq']}"
            async with dial(server, query=query) as wire:
                events += await wire.until(RESUMED)
                await wire.sound(PCM16K[2 * events[-1]["received_frames"] :])
                events += await wire.finish()
        return expected, events

    expected, events = asyncio.run(patience(scene()))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert finals_of(events) == finals_of(expected)


@pytest.mark.parametrize(("encoding", "width"), [("s16le", 2), ("f32le", 4)])
def test_a_line_may_break_inside_a_sample(encoding: str, width: int) -> None:
    """What has come of a sample is not held against the next connection, which begins a new one."""
    rate = 24_000
    data = encode(resampled(demo(5.2), rate), encoding)
    settings = f"rate={rate}&encoding={encoding}"

    async def scene() -> tuple[list[Told], list[Told], int]:
        async with serving() as server:
            expected = await whole(server, data, rate=str(rate), encoding=encoding)
            async with dial(server, query=f"{settings}&stream={SECRET}") as wire:
                await wire.raw(data[: 2 * rate * width + 1])
                # Answered after all of it was heard.
                events = await wire.update()
                await wire.break_off()
            async with dial(server, query=f"stream={SECRET}&after={events[-1]['seq']}") as wire:
                events += await wire.until(RESUMED)
                frames = events[-1]["received_frames"]
                await wire.sound(data[frames * width :])
                return expected, events + await wire.finish(), frames

    expected, events, frames = asyncio.run(patience(scene()))
    assert frames == 2 * rate
    check_stream(events)
    assert finals_of(events) == finals_of(expected)


def test_a_client_is_told_once_where_to_go_on() -> None:
    """A resumption that got lost with its line is not sent again: it is true no more."""

    async def scene() -> list[Told]:
        async with serving() as server:
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                last = (await wire.update())[-1]["seq"]
                await wire.break_off()
            query = f"stream={SECRET}&after={last}"
            async with dial(server, query=query) as wire:
                # Sent before anything was read, as far as the client knows.
                await wire.sound(bytes(SECOND))
                await wire.settle()
                await wire.break_off()
            async with dial(server, query=query) as wire:
                return await wire.until(RESUMED)

    events = asyncio.run(patience(scene()))
    assert events[-1]["received_frames"] == 16_000


def test_a_client_that_says_goodbye_is_not_waited_for() -> None:
    """A page that is closed ends its stream at once, though it might have come back for it."""

    async def scene() -> tuple[list[Told], Told]:
        async with serving() as server:
            async with dial(server, "/v1/events", query="all") as listener:
                await listener.next()
                async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                    await wire.sound(PCM16K[: 3 * SECOND])
                    await wire.until(STARTED)
                    await wire.connection.close(1001)
                events = await listener.until(CLOSED)
            async with dial(server, query=f"stream={SECRET}&after=2") as wire:
                return events, await wire.next()

    events, again = asyncio.run(patience(scene()))
    check_stream(events)
    assert len(of_kind(events, EMOTION)) == 1
    assert again["type"] == "session.created"
    assert again["session_id"] != events[0]["session_id"]


def test_a_newer_connection_takes_over() -> None:
    """A client that believes its line dead is right: the old connection is closed."""

    async def scene() -> None:
        async with serving() as server, dial(server, query=f"stream={SECRET}") as old:
            created = await old.next()
            async with dial(server, query=f"stream={SECRET}&after=1") as new:
                assert (await new.next())["type"] == RESUMED
                await old.rest()
                assert old.code == 1001
                assert "newer" in old.reason
                closed = await new.finish()
                assert kinds(closed) == [CLOSED]
                assert closed[0]["session_id"] == created["session_id"]

    asyncio.run(patience(scene()))


def test_an_old_connection_is_not_heard_once_a_newer_one_was_told_where_to_go_on() -> None:
    """``received_frames`` is exactly what was heard, though the old line was still delivering."""

    async def scene() -> tuple[int, int]:
        async with serving() as server, dial(server, query=f"rate=16000&stream={SECRET}") as old:
            await old.raw(bytes(SECOND))
            await old.settle()
            await old.raw(bytes(20 * SECOND))
            await old.raw(bytes(20 * SECOND))
            async with dial(server, query=f"stream={SECRET}&after=1") as new:
                frames = (await new.until(RESUMED))[-1]["received_frames"]
                return frames, (await new.settle())[-1]["audio_ms"]

    frames, audio_ms = asyncio.run(patience(scene()))
    assert 16_000 <= frames < 41 * 16_000
    assert audio_ms == frames // 16


def test_much_that_was_missed_comes_at_once() -> None:
    """A client that was away for long is not taken for a slow reader."""
    most = 16

    async def scene() -> tuple[list[Told], list[Told]]:
        flags = {"server.backlog_events": most, "partial.every_ms": 200}
        async with serving(flags) as server:
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                session_id = (await wire.next())["session_id"]
                events = "/v1/events"
                async with dial(server, events, query=f"session={session_id}") as listener:
                    await wire.sound(PCM16K + bytes(SECOND))
                    await wire.until(STARTED)
                    for _ in range(4):
                        await listener.until(EMOTION)
                    await wire.break_off()
            async with dial(server, query=f"stream={SECRET}&after=1") as wire:
                again = await wire.until(RESUMED)
                again += await wire.finish()
            async with dial(server, "/v1/events", query=f"session={session_id}&after=1") as wire:
                await wire.next()
                return again, await wire.until(CLOSED)

    again, truth = asyncio.run(patience(scene()))
    assert len(truth) > most
    assert [bare(event) for event in again] == [bare(event) for event in truth]


async def come_and_go(server: EmotionServer, times: int) -> None:
    """Begin streams and end them: two events each."""
    for _ in range(times):
        async with dial(server) as other:
            await other.finish()


def test_no_final_is_lost_though_others_push_out_what_is_kept_for_listeners() -> None:
    """What a stream may still need is kept for it alone."""

    async def scene() -> tuple[list[Told], Told]:
        async with serving({"server.replay_events": 100}) as server:
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                session_id = (await wire.next())["session_id"]
                query = f"session={session_id}"
                async with dial(server, "/v1/events", query=query) as listener:
                    await wire.sound(PCM16K + bytes(SECOND))
                    for _ in range(4):
                        await listener.until(EMOTION)
                await wire.break_off()
            await come_and_go(server, 60)
            async with dial(server, "/v1/events", query=f"session={session_id}&after=1") as late:
                assert (await late.next())["lost"] is True
            async with dial(server, query=f"stream={SECRET}&after=0") as wire:
                again = await wire.until(RESUMED)
                return again + await wire.finish(), again[-1]

    events, resumed = asyncio.run(patience(scene()))
    assert (resumed["lost_events"], resumed["lost_finals"]) == (0, 0)
    assert len(finals_of(events)) == 4
    check_stream(events)


def test_a_stream_that_is_not_known_begins_anew() -> None:
    """A client that comes too late, or to another server, sees so by the session's new name."""

    async def scene() -> list[Told]:
        query = f"rate=16000&stream={SECRET}&after=7"
        async with serving({"server.resume_s": 0}) as server:
            created = []
            async with dial(server, "/v1/events", query=f"all&types={CLOSED}") as listener:
                await listener.next()
                for _ in range(2):
                    async with dial(server, query=query) as wire:
                        created.append(await wire.next())
                        await wire.break_off()
                    await listener.until(CLOSED)
            return created

    created = asyncio.run(patience(scene()))
    assert kinds(created) == ["session.created"] * 2
    assert created[0]["session_id"] != created[1]["session_id"]


def test_a_stream_whose_client_stays_away_is_finished() -> None:
    """What it said is judged all the same, and told to those who listen."""

    async def scene() -> list[Told]:
        async with (
            serving({"server.resume_s": 0.3}) as server,
            dial(server, "/v1/events", query="all") as listener,
        ):
            await listener.next()
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                await wire.sound(PCM16K[: 3 * SECOND])
                await wire.until(STARTED)
                await wire.break_off()
            return await listener.until(CLOSED)

    events = asyncio.run(patience(scene()))
    check_stream(events)
    assert len(of_kind(events, EMOTION)) == 1


def test_a_stream_without_a_secret_ends_with_its_connection() -> None:
    """Nobody could come back for it: it is finished at once, and its place is free again."""

    async def scene() -> list[Told]:
        async with serving({"server.max_sessions": 1}) as server:
            async with dial(server, "/v1/events", query="all") as listener:
                await listener.next()
                async with dial(server, query="rate=16000") as wire:
                    await wire.sound(PCM16K[: 3 * SECOND])
                    await wire.until(STARTED)
                    await wire.break_off()
                events = await listener.until(CLOSED)
            async with dial(server) as wire:
                await wire.next()
            return events

    events = asyncio.run(patience(scene()))
    check_stream(events)
    assert len(of_kind(events, EMOTION)) == 1


def test_a_server_that_stops_tells_the_finals_first() -> None:
    """Whoever speaks while the server ends is judged, told, and closed with 1001; so are others."""

    async def scene() -> None:
        async with (
            serving() as server,
            dial(server, "/v1/events", query="all") as listener,
            dial(server, query=f"rate=16000&stream={SECRET}") as wire,
        ):
            snapshot = await listener.next()
            assert snapshot["type"] == "streamser.snapshot"
            await wire.sound(PCM16K[: 7 * SECOND])
            events = await wire.until(STARTED)
            events += await wire.until(STARTED)
            port = urlsplit(server.url).port
            stopping = asyncio.create_task(server.stop())
            events += await wire.rest()
            assert wire.code == 1001
            check_stream(events)
            assert [event["reason"] for event in of_kind(events, STOPPED)] == ["pause", "flush"]
            heard = await listener.rest()
            assert listener.code == 1001
            assert [bare(event) for event in heard] == [bare(event) for event in events]
            await stopping
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(patience(scene()))


def test_a_held_stream_is_told_to_its_end_when_the_server_stops() -> None:
    """A client that is away just then does not take its last utterance with it."""

    async def scene() -> list[Told]:
        async with serving() as server, dial(server, "/v1/events", query="all") as listener:
            await listener.next()
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                await wire.sound(PCM16K[: 3 * SECOND])
                await wire.until(STARTED)
                await wire.break_off()
            await listener.until(STARTED)
            stopping = asyncio.create_task(server.stop())
            events = await listener.rest()
            await stopping
            return events

    events = asyncio.run(patience(scene()))
    assert kinds(events)[-1] == CLOSED
    assert len(of_kind(events, EMOTION)) == 1


def test_a_stream_whose_meeting_is_at_another_server_is_told_there_and_not_here() -> None:
    """Who can come back is sent away at once, and sends again what had no final."""

    async def scene() -> tuple[int | None, list[Told], list[Told]]:
        async with serving() as server:
            query = f"rate=16000&meeting=m&stream={SECRET}"
            async with (
                dial(server, "/v1/events", query="meeting=m") as listener,
                dial(server, query=query) as wire,
            ):
                before = await ordered(wire)
                await wire.sound(PCM16K[: 7 * SECOND])
                before += await wire.until(EMOTION)
                assert server._sessions is not None
                server._sessions.hand_over("m")
                after = await wire.rest()
                heard = await listener.until(CLOSED)
                return wire.code, before + after, heard

    code, told, heard = asyncio.run(patience(scene()))
    assert code == 1001
    assert CLOSED not in kinds(told)
    assert len(finals_of(heard)) == len(finals_of(told))
