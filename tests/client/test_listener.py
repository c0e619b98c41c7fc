"""Listening: a snapshot, then every event once, whatever the connection does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

import pytest
from websockets.asyncio.server import ServerConnection, serve

from streamser.client import ServerError, subscribe
from streamser.client.listener import ListenPosition
from streamser.events import EmotionCompleted, MoodShifted, Snapshot, encode_event
from tests.client.pretend import PretendSession, numbered
from tests.client.scripted import FakeTime, ScriptedServer, play


def stamped(event: bytes, cursor: int) -> bytes:
    """Add what a server adds for listeners."""
    return event[:-1] + b',"cursor":%d,"meeting":"Monday","at_ms":7}' % cursor


def snapshot(cursor: int, replay_from: int | None = None, *, lost: bool = False) -> bytes:
    """Write a snapshot in which nothing goes on."""
    return encode_event(
        Snapshot(
            event_id="snap",
            cursor=cursor,
            replay_from=replay_from,
            lost=lost,
            sessions=(),
            meetings=(),
            finals=(),
        )
    )


def shifted(cursor: int) -> bytes:
    """Write an event of a meeting, which has no `seq`."""
    event = MoodShifted(
        event_id=f"shift {cursor}",
        meeting="Monday",
        at_ms=0,
        speaker=None,
        category="happy",
        previous="unsure",
    )
    return encode_event(event)[:-1] + b',"cursor":%d}' % cursor


def test_an_event_comes_with_its_stamp() -> None:
    """Where it stands among all events, and in its meeting."""
    session = PretendSession("s")
    session.receive(numbered(0, 100))
    session.think()
    told = ListenPosition(None, by_seq=False).accept(stamped(encode_event(session.events[-1]), 12))
    assert told is not None
    assert isinstance(told.event, EmotionCompleted)
    assert (told.stamp.cursor, told.stamp.meeting, told.stamp.at_ms) == (12, "Monday", 7)


def test_what_a_snapshot_or_an_earlier_connection_told_is_not_told_again() -> None:
    """Replayed events may overlap with what is known."""
    place = ListenPosition(None, by_seq=False)
    assert place.accept(snapshot(5)) is not None
    assert place.accept(shifted(5)) is None
    assert place.accept(shifted(6)) is not None
    assert place.accept(snapshot(8, replay_from=6)) is not None
    assert place.accept(shifted(6)) is None
    assert place.accept(shifted(7)) is not None
    assert place.after == 7


def test_a_server_that_counts_anew_is_heard() -> None:
    """Its numbers are below those of the one before: they are no repetitions."""
    place = ListenPosition(100, by_seq=False)
    assert place.accept(snapshot(3)) is not None
    assert place.accept(shifted(4)) is not None


def test_the_events_of_one_session_are_counted_by_their_seq() -> None:
    """As the server counts them there."""
    session = PretendSession("s")
    session.receive(numbered(0, 100))
    place = ListenPosition(1, by_seq=True)
    lines = [stamped(encode_event(event), 50 + event.seq) for event in session.events]
    assert [place.accept(line) is not None for line in lines] == [False, True, True, True]
    assert place.after == 4


def test_unknown_events_are_counted_and_left_out() -> None:
    """They are not asked for again."""
    place = ListenPosition(1, by_seq=False)
    assert place.accept(b'{"type":"streamser.tomorrow","event_id":"x","cursor":9}') is None
    assert place.accept(b"no JSON") is None
    assert place.after == 9


def test_a_listener_goes_on_where_it_was() -> None:
    """After a break it asks for what came after the last event, and tells nothing twice."""

    async def scene() -> None:
        queries: list[dict[str, list[str]]] = []

        async def talk(link: ServerConnection) -> None:
            assert link.request is not None
            queries.append(parse_qs(urlsplit(link.request.path).query))
            if len(queries) == 1:
                for line in (snapshot(5), shifted(6)):
                    await link.send(line.decode())
                # With what was written, but without a word.
                await link.close(1012)
                return
            for line in (snapshot(7, replay_from=7), shifted(6), shifted(7)):
                await link.send(line.decode())
            await link.close(1000)

        async with serve(talk, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            listening = subscribe(
                f"ws://127.0.0.1:{port}",
                meeting="Monday",
                types=["streamser.*"],
                timing=FakeTime().timing,
            )
            told = [each async for each in listening]
        kinds = [type(each.event).__name__ for each in told]
        assert kinds == ["Snapshot", "MoodShifted", "Snapshot", "MoodShifted"]
        assert [each.stamp.cursor for each in told] == [5, 6, 7, 7]
        assert queries[0] == {"meeting": ["Monday"], "types": ["streamser.*"]}
        assert queries[1]["after"] == ["6"]

    play(scene())


def test_a_listener_is_told_where_events_are_gone() -> None:
    """In one line, and by the snapshot itself."""

    async def scene() -> None:
        async def talk(link: ServerConnection) -> None:
            await link.send(snapshot(500, replay_from=400, lost=True).decode())
            await link.close(1000)

        lines: list[str] = []
        async with serve(talk, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            url = f"ws://127.0.0.1:{port}"
            told = [each async for each in subscribe(url, after=7, tell=lines.append)]
        assert [each.event.lost for each in told if isinstance(each.event, Snapshot)] == [True]
        assert len(lines) == 1
        assert "gone" in lines[0]

    play(scene())


def test_a_listener_that_is_refused_learns_why() -> None:
    """At once, and in the server's words."""

    async def scene() -> None:
        async with ScriptedServer() as server:
            server.refusals = [(HTTPStatus.FORBIDDEN, {}, None)]
            with pytest.raises(ServerError, match="role"):
                await anext(subscribe(server.url))
            assert server.queries == [{"all": "1"}]

    play(scene())


def test_a_listener_is_told_of_a_message_that_is_too_big() -> None:
    """In one line, at once; the server that sent it is not asked for it again."""

    async def scene() -> None:
        came = 0

        async def talk(link: ServerConnection) -> None:
            nonlocal came
            came += 1
            await link.send("x" * (4 * 2**20 + 1))
            await link.wait_closed()

        async with serve(talk, "127.0.0.1", 0, compression=None) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ServerError, match="a message of over 4 MiB"):
                await anext(subscribe(f"http://127.0.0.1:{port}", timing=FakeTime().timing))
        assert came == 1

    play(scene())


def test_a_listener_that_leaves_closes_its_connection() -> None:
    """Nothing is left behind on the server."""

    async def scene() -> None:
        gone = asyncio.Event()

        async def talk(link: ServerConnection) -> None:
            await link.send(snapshot(1).decode())
            await link.wait_closed()
            gone.set()

        async with serve(talk, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with aclosing(subscribe(f"http://127.0.0.1:{port}")) as listening:
                first = await anext(listening)
                assert isinstance(first.event, Snapshot)
            await gone.wait()

    play(scene())


def test_a_meeting_and_a_session_exclude_each_other() -> None:
    """One of them is meant."""

    async def scene() -> None:
        with pytest.raises(ValueError, match="not to both"):
            await anext(subscribe("ws://127.0.0.1:1", meeting="a", session="b"))

    play(scene())
