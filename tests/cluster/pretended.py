"""A Redis of the mind, shared by members of a cluster, whose time passes when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import cast

from msgspec.structs import replace

from streamser.cluster.outbox import Post
from streamser.cluster.reach import StoreAway
from streamser.cluster.records import MeetingPast, NodeState, ToldEvent
from streamser.cluster.store import Feed, Pulse

__all__ = ["Kept", "PretendedNode", "PretendedStore", "SilentFeed"]


class Kept:
    """Hold what all servers see: who lives, who has what, and what was told."""

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.known: set[str] = set()
        self.homes: dict[str, str] = {}
        self.closed: set[tuple[str, str]] = set()
        self.events: dict[str, list[ToldEvent]] = {}
        self.away = self.full = False
        self.poison: bytes | None = None

    def lose_all(self) -> None:
        """Be as if begun anew."""
        self.alive.clear()
        self.known.clear()
        self.homes.clear()
        self.closed.clear()
        self.events.clear()


class PretendedStore:
    """Do for one server what a ``ClusterStore`` does; each call takes some turns of the loop.

    An away Redis may have done what it was asked for, or not.
    """

    def __init__(self, kept: Kept, name: str, chance: Random) -> None:
        self.kept, self.name, self.chance = kept, name, chance

    async def _reach(self) -> None:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(0)
        if self.kept.away:
            raise StoreAway("nobody answers")

    def _has(self, meeting: str) -> str | None:
        home = self.kept.homes.get(meeting)
        return home if home in self.kept.alive else None

    async def beat(self, state: NodeState) -> Pulse:
        """Live."""
        await self._reach()
        unknown = self.name not in self.kept.known
        self.kept.known.add(self.name)
        self.kept.alive.add(self.name)
        return Pulse(unknown=unknown)

    async def nodes(self) -> list[NodeState]:
        """Return all who live."""
        await self._reach()
        return [NodeState(name=name, address="ws://x") for name in sorted(self.kept.alive)]

    async def claim(self, meeting: str) -> NodeState | None:
        """Take a meeting, unless another has it."""
        await self._reach()
        home = self._has(meeting)
        if home not in (None, self.name):
            return NodeState(name=str(home), address="ws://x")
        self.kept.homes[meeting] = self.name
        self.kept.closed = {each for each in self.kept.closed if each[0] != meeting}
        return None

    async def hold(self, meetings: Sequence[str]) -> list[str]:
        """Keep meetings; return those that are another's, or over."""
        await self._reach()
        over = {meeting for meeting, _ in self.kept.closed}
        lost = [m for m in meetings if self._has(m) not in (None, self.name) or m in over]
        self.kept.homes |= dict.fromkeys(set(meetings) - set(lost), self.name)
        return lost

    async def release(self, meeting: str) -> None:
        """Give a meeting back."""
        await self._reach()
        if self.kept.homes.get(meeting) == self.name:
            del self.kept.homes[meeting]

    async def orphans(self, meetings: Sequence[str]) -> list[str]:
        """Return those that nobody has."""
        await self._reach()
        known = self.name in self.kept.alive
        return [meeting for meeting in meetings if known and self._has(meeting) is None]

    async def end_session(self, post: Post) -> bool:
        """End a session, once."""
        await self._reach()
        key = (post.event.meeting, post.session or "")
        if self._has(key[0]) is not None or key in self.kept.closed:
            return False
        self.kept.closed.add(key)
        self.kept.homes.pop(key[0], None)
        self._add(post.event)
        return True

    async def past(self, meeting: str, after: int = 0) -> MeetingPast:
        """Return what was told."""
        await self._reach()
        told = self.kept.events.get(meeting, [])
        return MeetingPast(told=tuple(each for each in told if each.cursor > after))

    async def newest(self, meetings: Sequence[str]) -> dict[str, int]:
        """Return the last cursors."""
        await self._reach()
        return {m: max([0, *(e.cursor for e in self.kept.events.get(m, []))]) for m in meetings}

    async def restore(self, meeting: str, posts: Sequence[Post], seen: int) -> bool:
        """Have other events of a meeting, unless there are newer ones than were seen."""
        await self._reach()
        if max([0, *(each.cursor for each in self.kept.events.get(meeting, []))]) != seen:
            return False
        self.kept.events[meeting] = []
        for post in posts:
            self._add(post.event)
        return True

    async def write(self, posts: Sequence[Post]) -> None:
        """Write all, or none; the answer may be lost."""
        await self._reach()
        if self.kept.full:
            raise StoreAway("it is full")
        if any(post.event.line == self.kept.poison for post in posts):
            raise ValueError("this cannot be written")
        for post in posts:
            if post.event.stays:
                self._add(post.event)
        await self._reach()

    def _add(self, event: ToldEvent) -> None:
        told = self.kept.events.setdefault(event.meeting, [])
        if any(each.line == event.line for each in told):
            return
        last = told[-1].cursor if told else 0
        told.append(replace(event, cursor=max(event.cursor, last + 1)))

    @asynccontextmanager
    async def feed(self) -> AsyncIterator[Feed]:
        """Tell nothing."""
        yield cast(Feed, SilentFeed())

    async def leave(self) -> None:
        """Be no more."""
        self.kept.alive.discard(self.name)

    async def close(self) -> None:
        """Be closed."""


class SilentFeed:
    """Tell nothing, but that it is there."""

    def __init__(self) -> None:
        self._told = False

    async def follow(self, meeting: str) -> None:
        """Follow nothing."""

    async def next(self, within_s: float) -> str:
        """Say once that the channel is there."""
        if self._told:
            await asyncio.Event().wait()
        self._told = True
        return ""


class PretendedNode:
    """Keep what one server tells, and note what it is told to do."""

    def __init__(self, name: str, clock: Iterator[int]) -> None:
        self.name, self._clock = name, clock
        self.told: dict[str, list[ToldEvent]] = {}
        self.void: set[bytes] = set()
        self.lost: list[str] = []
        self.learnt: list[str] = []
        self.gone: list[Post] = []

    def tell(self, meeting: str) -> Post:
        """Tell something new."""
        cursor = next(self._clock)
        line = f"{self.name} {cursor}".encode()
        event = ToldEvent(cursor=cursor, meeting=meeting, at_ms=0, line=line, stays=True)
        self.told.setdefault(meeting, []).append(event)
        return Post(event=event)

    def state(self) -> NodeState:
        """Be well."""
        return NodeState(name=self.name, address="ws://x")

    def kept(self, meeting: str, after: int) -> Sequence[Post]:
        """Return all that was told here."""
        return [Post(event=each) for each in self.told.get(meeting, []) if each.cursor > after]

    def known_up_to(self, meeting: str) -> int:
        """Return the last that was told here."""
        return max([0, *(each.cursor for each in self.told.get(meeting, []))])

    def closings(self, meeting: str) -> Sequence[Post]:
        """Return what ends sessions elsewhere."""
        return [replace(post, session=post.event.line.decode()) for post in self.gone]

    def on_past(self, meeting: str, past: MeetingPast) -> None:
        """Take a past in."""

    def on_home(self, meeting: str, past: MeetingPast) -> None:
        """Take a past in."""
        self.learnt.append(meeting)
        self._learn(meeting, past)

    def on_told(self, told: ToldEvent) -> None:
        """Hear nothing."""

    def on_lost(self, meeting: str, past: MeetingPast, untold: Collection[int]) -> None:
        """Let go of a meeting."""
        self.lost.append(meeting)
        self.void |= {e.line for e in self.told.get(meeting, []) if e.cursor in untold}
        self.told[meeting] = [e for e in self.told.get(meeting, []) if e.cursor not in untold]
        self._learn(meeting, past)

    def on_drain(self, within_s: float) -> None:
        """Stay."""

    def _learn(self, meeting: str, past: MeetingPast) -> None:
        known = self.told.setdefault(meeting, [])
        lines = {each.line for each in known}
        known += [each for each in past.told if each.line not in lines]
        known.sort(key=lambda each: each.cursor)
