"""A server among others: what it holds, gives back and asks for."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any, cast

import pytest

from streamser.cluster.member import ClusterMember
from streamser.cluster.outbox import Post
from streamser.cluster.reach import StoreAway
from streamser.cluster.records import MeetingPast, NodeState, StreamState, ToldEvent
from streamser.cluster.store import ClusterStore, Feed, Pulse
from streamser.settings import ClusterSettings
from tests.cluster.pretended import Kept, PretendedNode, PretendedStore, SilentFeed

FINAL = Post(event=ToldEvent(cursor=1, meeting="m", at_ms=0, line=b"{}", stays=True))


class Store:
    """Stand for Redis: note what is asked, in order; ``taken`` are meetings that are elsewhere."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.taken: set[str] = set()
        self.away = self.late = False
        self.slow = asyncio.Event()
        self.slow.set()

    async def _note(self, what: str) -> None:
        self.asked.append(what)
        if self.away or self.late:
            self.late = False
            raise StoreAway("nobody answers")

    async def beat(self, state: NodeState) -> Pulse:
        """Note a sign of life."""
        await self._note("beat")
        return Pulse()

    async def nodes(self) -> list[NodeState]:
        """Know of nobody else."""
        return []

    async def orphans(self, meetings: Sequence[str]) -> list[str]:
        """Have a server for each meeting."""
        return []

    async def hold(self, meetings: Sequence[str]) -> list[str]:
        """Say which are elsewhere."""
        await self._note("hold")
        return [meeting for meeting in meetings if meeting in self.taken]

    async def newest(self, meetings: Sequence[str]) -> dict[str, int]:
        """Keep nothing."""
        return dict.fromkeys(meetings, 0)

    async def claim(self, meeting: str) -> NodeState | None:
        """Give a meeting to whoever asks."""
        await self._note("claim")
        return None

    async def release(self, meeting: str) -> None:
        """Take a meeting back, slowly."""
        await self.slow.wait()
        await self._note("release")

    async def past(self, meeting: str, after: int = 0) -> MeetingPast:
        """Know nothing."""
        await self._note("past")
        return MeetingPast()

    async def stream_state(self, stream: str) -> StreamState | None:
        """Know nothing."""
        await self._note("stream_state")
        return None

    async def write(self, posts: Sequence[Post]) -> None:
        """Write all, slowly."""
        await self.slow.wait()
        await self._note("write")

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[Feed]:
        """Tell nothing."""
        yield cast(Feed, SilentFeed())

    async def leave(self) -> None:
        """Be left."""

    async def close(self) -> None:
        """Be closed."""


class Server:
    """Stand for the server: note which meetings it is to let go of."""

    def __init__(self) -> None:
        self.gone: list[str] = []

    def state(self) -> NodeState:
        """Be well."""
        return NodeState(name="a", address="ws://a")

    def kept(self, meeting: str, after: int) -> Sequence[Post]:
        """Keep nothing."""
        return ()

    def known_up_to(self, meeting: str) -> int:
        """Know nothing."""
        return 0

    def closings(self, meeting: str) -> Sequence[Post]:
        """Know of no sessions."""
        return ()

    def on_past(self, meeting: str, past: MeetingPast) -> None:
        """Learn nothing."""

    def on_home(self, meeting: str, past: MeetingPast) -> None:
        """Learn nothing."""

    def on_told(self, told: ToldEvent) -> None:
        """Hear nothing."""

    def on_lost(self, meeting: str, past: MeetingPast, untold: Collection[int]) -> None:
        """Let go of a meeting."""
        self.gone.append(meeting)

    def on_drain(self, within_s: float) -> None:
        """Stay."""


def member_of(store: Store, server: Server) -> ClusterMember:
    """Make a member that has not started."""
    settings = ClusterSettings(redis="redis://127.0.0.1:1/0")
    return ClusterMember(settings, "a", server, cast(ClusterStore, store))


def in_a_cluster(scene: Any) -> Any:
    """Run a scene with what it needs."""

    async def run() -> Any:
        store, server = Store(), Server()
        member = member_of(store, server)
        async with asyncio.timeout(10):
            await member._beat()
            return await scene(member, store, server)

    return asyncio.run(run())


def test_a_meeting_that_another_server_has_taken_is_let_go_of() -> None:
    """As it is found when this one says that it lives; what is its own stays."""

    async def scene(member: ClusterMember, store: Store, server: Server) -> None:
        await member.place("m")
        await member.place("n")
        store.taken = {"m"}
        store.asked.clear()
        await member._beat()
        # Who listens here is told what was told there meanwhile.
        assert store.asked == ["beat", "hold", "past"]
        assert server.gone == ["m"]
        assert (member.has("m"), member.has("n")) == (False, True)

    in_a_cluster(scene)


def test_a_server_that_stood_still_looks_before_it_writes() -> None:
    """Others may have what was here."""

    async def scene(member: ClusterMember, store: Store, server: Server) -> None:
        await member.place("m")
        member.post(FINAL)
        member._held_at -= 60.0
        store.asked.clear()
        writing = asyncio.create_task(member._keep_writing())
        while "write" not in store.asked:
            await asyncio.sleep(0)
        writing.cancel()
        assert store.asked == ["hold", "write"]

    in_a_cluster(scene)


def test_who_comes_while_redis_is_away_does_not_wait_for_it() -> None:
    """The first has found out, and whoever speaks is heard."""

    async def scene(member: ClusterMember, store: Store, server: Server) -> None:
        store.away = True
        assert await member.place("m") is None
        member._reach._lost_at -= 60.0
        store.asked.clear()
        assert await member.place("n") is None
        assert await member.stream_state("s") is None
        assert store.asked == []
        assert member.has("m")
        assert member.has("n")

    in_a_cluster(scene)


def test_who_comes_as_a_meeting_is_given_back_takes_it_after_that() -> None:
    """Else it would be given back though somebody is there."""

    async def scene(member: ClusterMember, store: Store, server: Server) -> None:
        await member.place("m")
        store.asked.clear()
        store.slow.clear()
        member.release("m")
        coming = asyncio.create_task(member.place("m"))
        for _ in range(5):
            await asyncio.sleep(0)
        store.slow.set()
        await coming
        assert store.asked == ["release", "claim", "past"]

    in_a_cluster(scene)


def test_nobody_waits_for_a_server_that_has_left() -> None:
    """Neither for what it could not write in time, nor for what is told after that."""

    async def scene(member: ClusterMember, store: Store, server: Server) -> None:
        await member.start()
        store.slow.clear()
        waits = member.post(FINAL, held=True)
        assert waits is not None
        await member.stop(0.01)
        assert waits.is_set()
        assert member.post(FINAL, held=True) is None

    in_a_cluster(scene)


def test_who_comes_as_redis_seems_away_for_once_gets_what_is_known() -> None:
    """Often it is this server that was late: a meeting would begin anew, and be told twice."""

    async def scene(member: ClusterMember, store: Store, server: Server) -> None:
        store.late = True
        store.asked.clear()
        assert await member.place("m") is None
        assert await member.stream_state("s") is None
        assert store.asked == ["claim", "claim", "past", "stream_state"]

    in_a_cluster(scene)


def pair() -> tuple[Kept, list[tuple[ClusterMember, PretendedNode]]]:
    """Make two servers that share a Redis of the mind."""
    kept, clock, chance = Kept(), itertools.count(1), Random(0)
    made = []
    for name in "ab":
        node = PretendedNode(name, clock)
        store = cast(ClusterStore, PretendedStore(kept, name, chance))
        settings = ClusterSettings(redis="redis://127.0.0.1:1/0")
        made.append((ClusterMember(settings, name, node, store), node))
    return kept, made


def lines_of(kept: Kept) -> list[str]:
    """Return what Redis has of a meeting."""
    return [told.line.decode() for told in kept.events.get("m", [])]


def test_the_past_of_a_meeting_that_was_taken_while_redis_was_away_is_learnt() -> None:
    """Once it is there, before anything is written; also if everybody has left by then."""

    async def scene() -> None:
        kept, ((a, of_a), (b, of_b)) = pair()
        for member in (a, b):
            await member._beat()
        await a.place("m")
        a.post(of_a.tell("m"))
        await a._write()
        kept.away = True
        kept.alive.clear()
        b._reach.lose(StoreAway("away"))
        await b.place("m")
        b.post(of_b.tell("m"))
        b.release("m")
        assert (b.has("m"), of_b.learnt) == (True, [])
        kept.away = False
        await b._beat()
        assert of_b.learnt == ["m"]
        assert lines_of(kept) == ["a 1", "b 2"]
        assert not b.has("m")

    asyncio.run(scene())


def test_a_server_that_lives_keeps_its_meeting_though_another_has_taken_it_blindly() -> None:
    """What both have told is kept, and nobody says of its sessions that they are over."""

    async def scene() -> None:
        kept, ((a, _), (b, of_b)) = pair()
        for member in (a, b):
            await member._beat()
        await a.place("m")
        b._reach.lose(StoreAway("away"))
        kept.away = True
        await b.place("m")
        b.post(of_b.tell("m"))
        kept.away = False
        await b._beat()
        await b._beat()
        assert (of_b.learnt, of_b.lost) == ([], ["m"])
        assert a.has("m")
        assert lines_of(kept) == ["b 1"]

    asyncio.run(scene())


def test_what_redis_forgets_while_all_goes_on_is_there_again_after_the_next_sign_of_life() -> None:
    """Nobody has lost the connection (FLUSHALL): meetings are held, what was told is written."""

    async def scene() -> None:
        kept, ((a, of_a), _) = pair()
        await a._beat()
        await a.place("m")
        for _ in range(3):
            a.post(of_a.tell("m"))
        await a._write()
        kept.lose_all()
        a.post(of_a.tell("m"))
        await a._write()
        assert lines_of(kept) == ["a 4"]
        await a._beat()
        assert lines_of(kept) == ["a 1", "a 2", "a 3", "a 4"]
        assert kept.homes == {"m": "a"}

    asyncio.run(scene())


def test_an_event_that_cannot_be_written_keeps_no_other_from_it() -> None:
    """It is left out, and nobody waits for it."""

    async def scene() -> None:
        kept, ((a, of_a), _) = pair()
        await a._beat()
        await a.place("m")
        writing = asyncio.create_task(a._keep_writing())
        bad = of_a.tell("m")
        held = [a.post(bad, held=True), a.post(of_a.tell("m"), held=True)]
        kept.poison = bad.event.line
        async with asyncio.timeout(10):
            for each in held:
                assert each is not None
                await each.wait()
        writing.cancel()
        assert lines_of(kept) == ["a 2"]

    asyncio.run(scene())


def test_what_comes_and_goes_is_asked_less_and_less_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that answers, and takes nothing."""

    async def scene() -> None:
        _, ((a, _), _) = pair()
        await a._beat()
        pauses = []
        for _ in range(6):
            a._reach.lose(StoreAway("it is full"))
            pauses.append(a._reach.pause_s)
            await a._beat()
        assert pauses == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]

    asyncio.run(scene())
    said = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1


def test_one_that_answers_but_takes_nothing_stays_away() -> None:
    """Until what waits can be written."""

    async def scene() -> None:
        kept, ((a, of_a), _) = pair()
        await a._beat()
        await a.place("m")
        a.post(of_a.tell("m"))
        kept.full = True
        a._reach.lose(StoreAway("it is full"))
        await a._beat()
        assert a.away == "it is full"
        kept.full = False
        await a._beat()
        assert a.away is None
        assert lines_of(kept) == ["a 1"]

    asyncio.run(scene())


def test_other_servers_are_known_before_anybody_asks_for_them() -> None:
    """Who asks first is told of their meetings, and of what has come since at the next beat."""

    async def scene() -> None:
        kept, ((a, _), (b, _)) = pair()
        for member in (b, a):
            await member._beat()
        kept.alive.add("c")
        await a._beat()
        assert [node.name for node in a.list_others()] == ["b"]
        await a._beat()
        assert [node.name for node in a.list_others()] == ["b", "c"]

    asyncio.run(scene())


def test_sessions_of_a_dead_server_are_ended_by_who_listens_once() -> None:
    """Not while others may be about to say that they live; and never what a living one has."""

    async def scene() -> None:
        kept, ((a, of_a), (b, of_b)) = pair()
        for member in (a, b):
            await member._beat()
        await a.place("m")
        b._followed["m"] += 1
        of_b.gone = [of_b.tell("m")]
        await b._beat()
        kept.alive.discard("a")
        await b._beat()
        assert lines_of(kept) == []
        b._reach.there_at -= 60.0
        await b._beat()
        await b._beat()
        assert lines_of(kept) == ["b 1"]
        # It stood still, and finds that its meeting is not its own any more.
        await a._beat()
        assert of_a.lost == ["m"]

    asyncio.run(scene())


def test_where_redis_has_lost_all_nobody_is_taken_for_dead_at_once() -> None:
    """Each has to say anew that it lives, and who listens may be the first."""

    async def scene() -> None:
        kept, ((a, of_a), (b, of_b)) = pair()
        for member in (a, b):
            await member._beat()
        await a.place("m")
        b._followed["m"] += 1
        of_b.gone = [of_b.tell("m")]
        b._reach.there_at -= 60.0
        kept.lose_all()
        await b._beat()
        await b._beat()
        await a._beat()
        b._reach.there_at -= 60.0
        await b._beat()
        assert lines_of(kept) == []
        assert (a.has("m"), of_a.lost) == (True, [])

    asyncio.run(scene())
