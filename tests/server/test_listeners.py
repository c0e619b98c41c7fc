"""Many listeners, and those who do not read: nobody waits for them, and memory stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

from streamser.events import Overload
from streamser.server.app import EmotionServer
from streamser.server.outgoing import Backlog, EncodedEvent
from tests.server.serving import (
    DELTAS,
    EMOTION,
    Narrow,
    Told,
    Wire,
    bare,
    check_stream,
    demo,
    dial,
    encode,
    kinds,
    of_kind,
    patience,
    serving,
)

CLOSED = "streamser.session.closed"
OVERLOAD = "streamser.overload"
UPDATED = "session.updated"
ROOM = "meeting=assembly"
BACKLOG = 64
FLAGS = {"server.backlog_events": BACKLOG}


class Watched(Backlog):
    """Remember how much has ever waited for one connection, and what was done about it."""

    every: list[Watched]

    def __init__(self, most: int, word: Callable[[Overload, bytes], tuple[bytes, ...]]) -> None:
        super().__init__(most, word)
        self.longest = 0
        self.dropped_at: int | None = None
        self.full_at: int | None = None
        self.puts = 0
        self.every.append(self)

    def enqueue(self, encoded_event: EncodedEvent) -> bool:
        """Take a letter in as ever, and look."""
        fits = super().enqueue(encoded_event)
        self.puts += 1
        self.longest = max(self.longest, len(self))
        if self.dropped and self.dropped_at is None:
            self.dropped_at = self.puts
        if not fits and self.full_at is None:
            self.full_at = self.puts
        return fits


@pytest.fixture
def backlogs(monkeypatch: pytest.MonkeyPatch) -> list[Watched]:
    """Watch the backlog of every connection of this test."""
    monkeypatch.setattr(Watched, "every", [], raising=False)
    monkeypatch.setattr("streamser.server.outgoing.Backlog", Watched)
    return Watched.every


def drops(server: EmotionServer, kind: str) -> float:
    """Return what the server counts as given up, of a kind."""
    name = f'streamser_drops_total{{kind="{kind}"}} '
    lines = server.metrics.render().decode().splitlines()
    return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))


async def clog(wire: Wire, backlogs: list[Watched]) -> list[Told]:
    """Let events come until some must wait for the one that does not read."""
    events: list[Told] = []
    while not any(len(backlog) > 8 for backlog in backlogs):
        events += await wire.update()
        assert len(events) < 5000
    return events


async def speak_much(wire: Wire) -> list[Told]:
    """Speak for 15 s, a reading every 100 ms; in order, so that none is left out."""
    events = await wire.update(ordered=True, partial_every_ms=100)
    await wire.sound(encode(demo()))
    await wire.sound(bytes(32_000))
    events += await wire.settle()
    assert len(of_kind(events, *DELTAS)) > 80
    return events


async def fill_up(server: EmotionServer, wire: Wire) -> list[Told]:
    """Let events come that must not be left out, until a listener is given up."""
    events: list[Told] = []
    while not drops(server, "listeners"):
        for _ in range(10):
            events += await wire.update()
        assert len(events) < 5000
    return events


def test_one_that_does_not_read_costs_the_others_nothing(backlogs: list[Watched]) -> None:
    """49 listeners hear everything; the 50th loses readings, then its place; nobody waits.

    What waits for it is never much more than its backlog may hold: it is given up once it took
    nothing in whole turns of the loop.
    """

    async def scene() -> tuple[list[Told], list[list[Told]], list[Told], int | None]:
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(serving(FLAGS))
            readers = [
                await stack.enter_async_context(dial(server, "/v1/events", query=ROOM))
                for _ in range(49)
            ]
            for reader in readers:
                assert (await reader.next())["type"] == "streamser.snapshot"
            reading = [asyncio.create_task(reader.until(CLOSED)) for reader in readers]
            stuck = await stack.enter_async_context(Narrow.dial(server, "/v1/events", query=ROOM))
            assert (await stuck.next() or {})["type"] == "streamser.snapshot"
            wire = await stack.enter_async_context(
                dial(server, query=f"{ROOM}&speaker=Anna&rate=16000")
            )
            events = await clog(wire, backlogs)
            events += await speak_much(wire)
            # All is told to the sender while the one that does not read is still there.
            assert drops(server, "listeners") == 0
            assert drops(server, "deltas") > 0
            events += await fill_up(server, wire)
            events += await wire.finish()
            heard = await asyncio.gather(*reading)
            return events, heard, await stuck.rest(), stuck.code

    events, heard, partly, code = asyncio.run(patience(scene()))
    check_stream(events)
    assert [bare(event) for event in heard[0] if "session_id" in event] == [
        bare(event) for event in events
    ]
    assert all(others == heard[0] for others in heard)

    # What it still got before it was given up is the beginning of it all.
    assert partly == heard[0][: len(partly)]
    assert code in (None, 1013)
    (given_up,) = [backlog for backlog in backlogs if backlog.full_at is not None]
    assert given_up.dropped_at is not None
    assert given_up.full_at is not None
    assert given_up.dropped_at < given_up.full_at
    assert all(backlog.longest <= 4 * BACKLOG for backlog in backlogs)
    others = [backlog for backlog in backlogs if backlog is not given_up]
    assert len(others) == 50
    assert all(backlog.dropped == 0 for backlog in others)


def test_one_that_reads_on_in_time_misses_readings_only(backlogs: list[Watched]) -> None:
    """After a standstill every event comes, but for deltas; ``overload`` says how many."""

    async def scene() -> tuple[list[Told], list[Told]]:
        async with (
            serving(FLAGS) as server,
            dial(server, "/v1/events", query="all") as reader,
            Narrow.dial(server, "/v1/events", query="all") as slow,
        ):
            await reader.next()
            await slow.next()
            async with dial(server, query="rate=16000") as wire:
                await clog(wire, backlogs)
                await speak_much(wire)
                assert drops(server, "deltas") > 0
                reading = asyncio.create_task(read_on(slow))
                await wire.finish()
            everything = await reader.until(CLOSED)
            assert drops(server, "listeners") == 0
            return everything, await reading

    async def read_on(slow: Narrow) -> list[Told]:
        events: list[Told] = []
        while not events or events[-1]["type"] != CLOSED:
            event = await slow.next()
            assert event is not None, slow.code
            events.append(event)
        return events

    everything, heard = asyncio.run(patience(scene()))
    by_seq = {event["seq"]: event for event in everything}
    gone = set(by_seq) - {event["seq"] for event in heard if event["type"] != OVERLOAD}
    assert gone
    assert {by_seq[seq]["type"] for seq in gone} <= set(DELTAS)
    told = 0
    expected = 1
    for event in heard:
        if event["type"] == OVERLOAD:
            assert (event["kind"], event["reason"]) == ("deltas", "slow")
            lost = {seq for seq in gone if expected <= seq <= event["seq"]}
            assert max(lost) == event["seq"]
            assert event["dropped"] == len(lost) == event["seq"] + 1 - expected
            assert event["since_ms"] == by_seq[min(lost)]["emotion"]["window"]["end_ms"]
            assert event["cursor"] == by_seq[event["seq"]]["cursor"]
            told += event["dropped"]
            assert event["total"] == told
        else:
            assert event == by_seq[expected]
        # Seen with ``overload`` in the places of what is lost, the numbers have no gaps.
        expected = event["seq"] + 1
    assert told == len(gone)
    assert all(backlog.longest <= 4 * BACKLOG for backlog in backlogs)


def test_a_sender_that_does_not_read_loses_its_connection_not_its_events() -> None:
    """It is closed like a listener; its stream waits for it, with everything it has missed."""

    async def scene() -> tuple[list[Told], int | None, list[Told]]:
        secret = "stream=a-secret-of-the-client"
        async with serving(FLAGS) as server:
            async with Narrow.dial(server, "/v1/realtime", query=secret) as narrow:
                for _ in range(400):
                    await narrow.send("session.update", session={})
                async with dial(server) as another:
                    while not drops(server, "listeners"):
                        await another.update()
                before = await narrow.rest()
            query = f"{secret}&after={before[-1]['seq']}"
            async with dial(server, query=query) as wire:
                return before, narrow.code, await wire.until("streamser.session.resumed")

    before, code, after = asyncio.run(patience(scene()))
    assert code in (None, 1013)
    assert len(after) > BACKLOG
    events = before + after
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert set(kinds(events)[1:-1]) == {UPDATED}


def test_listeners_come_and_go() -> None:
    """One that joins in the middle, leaves and comes back with its cursor has it all, once."""

    async def scene() -> tuple[list[Told], list[Told]]:
        async with (
            serving() as server,
            dial(server, "/v1/events", query=ROOM) as always,
            dial(server, query=f"{ROOM}&rate=16000") as wire,
        ):
            await always.next()
            pieces = []
            sound = encode(demo())
            cursor = None
            for begin in range(0, len(sound), 64_000):
                query = ROOM if cursor is None else f"{ROOM}&after={cursor}"
                async with dial(server, "/v1/events", query=query) as now_and_then:
                    snapshot = await now_and_then.next()
                    assert not snapshot["lost"]
                    missed = snapshot["replay_from"] is not None
                    if missed:
                        pieces.append(await now_and_then.next())
                    await wire.sound(sound[begin : begin + 64_000])
                    cursor = pieces[-1]["cursor"] if missed else snapshot["cursor"]
            await wire.finish()
            everything = await always.until(CLOSED)
            async with dial(server, "/v1/events", query=f"{ROOM}&after={cursor}") as listener:
                await listener.next()
                pieces += await listener.until(CLOSED)
            return everything, pieces

    everything, pieces = asyncio.run(patience(scene()))
    cursors = [event["cursor"] for event in pieces]
    assert cursors == list(range(cursors[0], cursors[0] + len(cursors)))
    assert pieces == everything[-len(pieces) :]
    assert len(of_kind(pieces, EMOTION)) >= 3
