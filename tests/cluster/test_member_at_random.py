"""Servers that come, go, stand still and lose Redis in any order: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from random import Random
from typing import cast

import pytest

from streamser.cluster.member import ClusterMember
from streamser.cluster.outbox import Hold
from streamser.cluster.store import ClusterStore
from streamser.settings import ClusterSettings
from tests.cluster.pretended import Kept, PretendedNode, PretendedStore

MEETINGS = ("m", "n")
SETTINGS = ClusterSettings(redis="redis://127.0.0.1:1/0")


class Server:
    """Run a member by hand: its tasks do a step whenever they are let."""

    def __init__(self, kept: Kept, name: str, chance: Random, clock: itertools.count[int]) -> None:
        self.node = PretendedNode(name, clock)
        store = PretendedStore(kept, name, chance)
        self.member = ClusterMember(SETTINGS, name, self.node, cast(ClusterStore, store))
        self.still = False
        self.held: list[tuple[bytes, Hold]] = []
        self.posted: dict[str, list[bytes]] = {meeting: [] for meeting in MEETINGS}
        self.writing = asyncio.create_task(self.member._keep_writing())

    def tell(self, meeting: str) -> None:
        """Tell a final of a meeting that is here."""
        post = self.node.tell(meeting)
        self.posted[meeting].append(post.event.line)
        hold = self.member.post(post, held=True)
        if hold is not None:
            self.held.append((post.event.line, hold))


async def scene(seed: int, kept: Kept, *, loses: bool = False) -> list[Server]:
    """Do what chance says, then let everything heal."""
    chance = Random(seed)
    clock = itertools.count(1)
    servers = [Server(kept, name, chance, clock) for name in "ab"]
    tasks: list[asyncio.Task[object]] = []
    for _ in range(120):
        server = chance.choice(servers)
        meeting = chance.choice(MEETINGS)
        match chance.randrange(12):
            case 0 | 1 | 2 if not server.still:
                tasks.append(asyncio.create_task(server.member._beat()))
            case 3 | 4 if not server.still:
                tasks.append(asyncio.create_task(server.member.place(meeting)))
            case 5 | 6 | 7 if not server.still and server.member.has(meeting):
                server.tell(meeting)
            case 8 if not server.still:
                server.member.release(meeting)
            case 9:
                kept.away = chance.random() < 0.4
            case 10:
                # For the others it is gone, and it does not know.
                kept.alive.discard(server.node.name)
                server.member._held_at -= 60.0
            case 11 if loses and chance.random() < 0.15:
                kept.away = True
                await asyncio.gather(*tasks)
                for each in servers:
                    # A write that was under way is over by then.
                    await each.member._beat()
                kept.lose_all()
                kept.away = False
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)
    kept.away = False
    await asyncio.gather(*tasks)
    for _ in range(8):
        for server in servers:
            await server.member._beat()
        for _ in range(60):
            await asyncio.sleep(0)
    for server in servers:
        server.writing.cancel()
        pending = set(server.member._tasks)
        if pending:
            await asyncio.wait(pending, timeout=5)
    return servers


@pytest.mark.parametrize("seed", range(150))
def test_what_was_told_is_written_once_and_in_order(seed: int) -> None:
    """Of each server, whatever happens; but for what nobody was told as it had lost the meeting."""
    kept = Kept()
    servers = asyncio.run(scene(seed, kept))
    for server in servers:
        assert server.member.away is None
        assert server.member.waiting == 0
        assert all(hold.is_set() for _, hold in server.held)
        void = {line for line, hold in server.held if hold.void}
        assert void == server.node.void
        for meeting in MEETINGS:
            lines = [each.line for each in kept.events.get(meeting, [])]
            assert max(Counter(lines).values(), default=1) == 1
            assert not void & set(lines)
            own = [line for line in server.posted[meeting] if line not in void]
            assert own == [line for line in lines if line in own]


@pytest.mark.parametrize("seed", range(100))
def test_nothing_is_doubled_where_redis_loses_everything(seed: int) -> None:
    """What is there again is in order."""
    kept = Kept()
    servers = asyncio.run(scene(seed, kept, loses=True))
    for meeting in MEETINGS:
        lines = [each.line for each in kept.events.get(meeting, [])]
        assert max(Counter(lines).values(), default=1) == 1
        for server in servers:
            assert all(hold.is_set() for _, hold in server.held)
            own = [line for line in server.posted[meeting] if line in lines]
            assert own == [line for line in lines if line in own]


@pytest.mark.parametrize("seed", range(150))
def test_a_meeting_is_at_one_server_once_all_can_reach_redis(seed: int) -> None:
    """At the one that Redis says."""
    kept = Kept()
    servers = asyncio.run(scene(seed, kept))
    for meeting in MEETINGS:
        homes = [server.node.name for server in servers if server.member.has(meeting)]
        assert homes in ([], [kept.homes.get(meeting)])
