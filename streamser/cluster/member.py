"""Be one server of a cluster: say so, write what is told, follow meetings that are elsewhere.

Nothing here is waited for by those who speak: while Redis is away they are heard as ever, what is
to be kept waits, and once it is back everything that it lacks is written.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final

from streamser.cluster.node import LocalNode
from streamser.cluster.outbox import Hold, Outbox, Post
from streamser.cluster.reach import NO_ANSWER, PATIENCE_S, Reach, StoreAway
from streamser.cluster.records import NodeState, StreamState, ToldEvent
from streamser.cluster.store import ClusterStore, Feed
from streamser.settings import ClusterSettings

__all__ = ["ClusterMember"]

logger = logging.getLogger(__name__)

_WAITING: Final = 20_000
"""Events that may wait for Redis: of a busy server, an hour's finals."""
_AT_ONCE: Final = 256
"""Events that are written in one round trip."""
_LISTED_S: Final = 5.0
"""Others' meetings are asked for so often; at the next beat, once somebody has asked."""


class ClusterMember:
    """Keep a server in touch with the others: ``node`` is that server, called ``name``."""

    def __init__(
        self,
        settings: ClusterSettings,
        name: str,
        node: LocalNode,
        store: ClusterStore | None = None,
    ) -> None:
        self.name = name
        self.others: list[NodeState] = []
        self._settings = settings
        self._store = store or ClusterStore(settings, name)
        self._node = node
        self._outbox = Outbox(_WAITING)
        self._held: deque[tuple[Post | None, int, Hold]] = deque()
        self._last_cursor = self._sure_cursor = 0
        self._own: set[str] = set()
        self._unlearnt: dict[str, int] = {}
        self._placing: dict[str, asyncio.Task[NodeState | None]] = {}
        self._unwanted: set[str] = set()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._held_at = time.monotonic()
        self._reach = Reach(self._on_lost)
        self._holding, self._writing = asyncio.Lock(), asyncio.Lock()
        self._filled = asyncio.Event()
        self._followed: Counter[str] = Counter()
        self._known: dict[str, asyncio.Event] = {}
        self._feed: Feed | None = None
        self._newest: dict[str, int] = {}
        self._listed_at = -math.inf
        self._drained = False
        self._written = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def away(self) -> str | None:
        """Return why Redis is not there; without addresses or secrets."""
        return self._reach.away

    @property
    def waiting(self) -> int:
        """Return how many events wait to be written."""
        return len(self._outbox)

    @property
    def left_out(self) -> int:
        """Return how many events were never written, as there were too many."""
        return self._outbox.left_out

    async def start(self) -> None:
        """Join the cluster, or go on trying to."""
        await self._beat()
        for work in (self._keep_beating, self._keep_writing, self._keep_following):
            self._go(self._supervised(work))

    async def stop(self, within_s: float = 2.0) -> None:
        """Write what is still to be written, as far as that can be, and leave."""
        deadline = time.monotonic() + within_s
        while len(self._outbox) and self.away is None and time.monotonic() < deadline:
            self._written.clear()
            self._filled.set()
            try:
                async with asyncio.timeout(max(0.01, deadline - time.monotonic())):
                    await self._written.wait()
            except TimeoutError:
                break
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Nobody is left who would write: nobody must wait for it.
        self._reach.leave()
        self._let_all_go()
        await self._reach.attempt(self._store.leave())
        await self._store.close()

    def post(self, post: Post, *, held: bool = False) -> Hold | None:
        """Let something be written, soon.

        Where it is ``held``, returns what is set once it is written, or Redis is found to be away.
        """
        if self.away is not None and not post.event.stays:
            return None
        self._outbox.put(post)
        self._last_cursor = max(self._last_cursor, post.event.cursor)
        self._filled.set()
        if not held or self.away is not None:
            return None
        written = Hold()
        self._held.append((post, post.event.cursor, written))
        return written

    # Where a meeting is

    async def place(self, meeting: str) -> NodeState | None:
        """Take a meeting, with what is known of it; or return the server that has it.

        While Redis is away it is taken: whoever speaks is heard. What was told of it before is
        learnt once Redis is there.
        """
        self._unwanted.discard(meeting)
        if meeting in self._own:
            return None
        placing = self._placing.get(meeting)
        if placing is None:
            placing = self._placing[meeting] = asyncio.create_task(self._place(meeting))
            placing.add_done_callback(lambda _: self._placing.pop(meeting, None))
        # Others may wait for it, and what is claimed halfway would never be given back.
        return await asyncio.shield(placing)

    async def _place(self, meeting: str) -> NodeState | None:
        if (leaving := self._leaving.get(meeting)) is not None:
            # Else it would be given back after it is taken.
            await asyncio.wait({leaving}, timeout=PATIENCE_S)
        claimed = await self._reach.ask(self._claim, meeting)
        if claimed is not None and claimed[0] is not None:
            self._unwanted.discard(meeting)
            return claimed[0]
        past = None
        if claimed is not None:
            past = await self._reach.ask(self._store.past, meeting, self._newest.get(meeting, 0))
        self._own.add(meeting)
        if past is None:
            self._unlearnt[meeting] = self._node.known_up_to(meeting)
        else:
            self._node.on_home(meeting, past)
        if meeting in self._unwanted:
            self.release(meeting)
        return None

    async def _claim(self, meeting: str) -> tuple[NodeState | None]:
        return (await self._store.claim(meeting),)

    def has(self, meeting: str) -> bool:
        """Return whether a meeting is at this server."""
        return meeting in self._own

    def release(self, meeting: str) -> None:
        """Give a meeting back that everybody has left."""
        if meeting in self._placing and meeting not in self._own:
            self._unwanted.add(meeting)
        elif meeting in self._unlearnt:
            # What was told here has no place yet.
            self._unwanted.add(meeting)
        elif meeting in self._own:
            self._unwanted.discard(meeting)
            self._own.discard(meeting)
            leaving = self._leaving[meeting] = self._go(self._let_go(meeting))
            leaving.add_done_callback(partial(self._has_left, meeting))

    async def stream_state(self, stream: str) -> StreamState | None:
        """Return what another server has left of a stream; ``None`` also while Redis is away."""
        return await self._reach.ask(self._store.stream_state, stream)

    # What is told elsewhere

    async def follow(self, meeting: str) -> None:
        """Have what is told of a meeting, wherever it is; wait for what was told before."""
        self._followed[meeting] += 1
        known = self._known.setdefault(meeting, asyncio.Event())
        if self._followed[meeting] == 1 and self._feed is not None:
            await self._reach.attempt(self._feed.follow(meeting))
        if self.away is None:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await known.wait()
            except TimeoutError:
                logger.warning("what was told of a meeting before is not there in time")

    def unfollow(self, meeting: str) -> bool:
        """Have it no more, once everybody says so; return whether somebody still does not."""
        self._followed[meeting] -= 1
        if self._followed[meeting] > 0:
            return True
        del self._followed[meeting]
        self._known.pop(meeting, None)
        self._newest.pop(meeting, None)
        if self._feed is not None:
            self._go(self._forget(self._feed, meeting))
        return False

    def list_others(self) -> list[NodeState]:
        """Return the other servers as they were some seconds ago, and ask for them anew."""
        self._listed_at = -math.inf
        return self.others

    # The tasks

    async def _keep_beating(self) -> None:
        while True:
            pause_s = self._settings.ttl_s / 4
            await asyncio.sleep(pause_s if self.away is None else min(self._reach.pause_s, pause_s))
            await self._beat()

    async def _beat(self) -> None:
        was_away, waiting = self.away, len(self._outbox)
        try:
            heard = await self._store.beat(self._node.state())
            await self._learn(await self._hold())
            if was_away is not None or heard.unknown:
                await self._heal(all_lost=heard.unknown)
            if was_away is not None:
                await self._try_out()
            elif heard.unknown:
                # So are the others, until they say that they live.
                self._reach.there_at = time.monotonic()
            else:
                await self._end_orphans()
            if time.monotonic() - self._listed_at > _LISTED_S:
                self._listed_at = time.monotonic()
                nodes = await self._store.nodes()
                self.others = [node for node in nodes if node.name != self.name]
            await self._learn_all()
        except StoreAway as error:
            self._reach.lose(error)
            return
        if was_away is not None:
            self._reach.find(waiting)
        if heard.leave_s is not None and not self._drained:
            self._drained = True
            self._node.on_drain(heard.leave_s)

    async def _try_out(self) -> None:
        """See whether Redis does what it is for; one that answers alone is as good as away."""
        async with self._store.feed() as feed:
            await feed.follow("")
            if await feed.next(1.0) is None:
                raise StoreAway(NO_ANSWER)
        await self._learn_all()
        await self._write()

    async def _hold(self) -> list[str]:
        """Keep the meetings that are here; let go of those that are elsewhere.

        Returns those that are taken, and whose past is still to be learnt.

        That happens to a server that stood still until it counted as gone, or where two have
        taken one meeting while Redis was away: who is there goes on at the other.
        """
        async with self._holding:
            sure = self._last_cursor
            own = sorted(self._own - self._unlearnt.keys())
            lost = await self._store.hold(own) if own else []
            taken: list[str] = []
            for meeting in list(self._unlearnt):
                home = await self._store.claim(meeting)
                (taken if home is None else lost).append(meeting)
            for meeting in lost:
                if meeting in self._own:
                    await self._lose_meeting(meeting)
            self._held_at, self._sure_cursor = time.monotonic(), sure
            return taken

    async def _lose_meeting(self, meeting: str) -> None:
        logger.error("cluster: a meeting that was here is at another server now")
        # Listeners here are told what was told there meanwhile.
        past = await self._store.past(meeting, self._unlearnt.get(meeting, self._sure_cursor))
        async with self._writing:
            # What is on its way is there, or is not.
            pass
        if meeting not in self._own:
            return
        self._own.discard(meeting)
        self._unlearnt.pop(meeting, None)
        self._unwanted.discard(meeting)
        # What nobody has heard of is heard there: its sound is sent again.
        held = [each for each in self._held if _is_of(each[0], meeting)]
        self._outbox.leave_out([post for post, _, _ in held if post is not None])
        for each in held:
            self._held.remove(each)
            each[2].void = True
            each[2].set()
        self._node.on_lost(meeting, past, {cursor for _, cursor, _ in held})

    async def _learn_all(self) -> None:
        """Learn of those that came meanwhile: before that nothing of them is to be written."""
        while self._unlearnt:
            await self._learn(await self._hold())

    async def _learn(self, meetings: list[str]) -> None:
        """Learn what was told before of meetings that were taken while Redis was away."""
        learnt: list[Post] = []
        try:
            for meeting in meetings:
                past = await self._store.past(meeting, self._unlearnt.get(meeting, 0))
                if self._unlearnt.pop(meeting, None) is None:
                    continue
                self._node.on_home(meeting, past)
                learnt += self._node.kept(meeting, 0)
                if meeting in self._unwanted:
                    self.release(meeting)
        finally:
            if learnt:
                # It is later on its meeting's clock.
                self._outbox.restate(learnt)

    async def _heal(self, *, all_lost: bool) -> None:
        """Write again what Redis has lost, or never got, of the meetings that are here."""
        own = sorted(self._own)
        async with self._writing:
            newest = await self._store.newest(own) if own else {}
            again: list[Post] = []
            for meeting in own:
                if all_lost:
                    newest[meeting] = await self._restore(meeting)
                # Where it has nothing somebody may have told it to forget.
                if newest[meeting]:
                    again += self._node.kept(meeting, newest[meeting])
            again.sort(key=lambda post: post.event.cursor)
            self._outbox.put_again(again)
        self._filled.set()

    async def _restore(self, meeting: str) -> int:
        """Write anew what Redis had of a meeting, and has no more; return its last cursor."""
        there = await self._store.past(meeting)
        waiting, last = self._outbox.places(), there.told[-1].cursor if there.told else 0
        lines = {told.line for told in there.told}
        kept = self._node.kept(meeting, 0)
        lacks = [p for p in kept if p.place not in waiting and p.event.line not in lines]
        cursors = [post.event.cursor for post in lacks]
        if any(there.lost_up_to < cursor and (cursor < last or not last) for cursor in cursors):
            again = [*(Post(event=told) for told in there.told), *lacks]
            again.sort(key=lambda post: post.event.cursor)
            if await self._store.restore(meeting, again, last):
                return again[-1].event.cursor
        return last

    async def _end_orphans(self) -> None:
        """Let all know that sessions are over whose server is gone, of meetings followed here."""
        if time.monotonic() - self._reach.there_at < self._settings.ttl_s:
            # Others may be just about to say that they live.
            return
        followed = sorted(self._followed.keys() - self._own)
        for meeting in await self._store.orphans(followed) if followed else ():
            if meeting not in self._own and meeting not in self._placing:
                for post in self._node.closings(meeting):
                    await self._store.end_session(post)

    async def _keep_writing(self) -> None:
        most = _AT_ONCE
        while True:
            await self._reach.there.wait()
            await self._filled.wait()
            if not len(self._outbox):
                self._filled.clear()
                self._let_all_go()
                self._written.set()
                continue
            try:
                if time.monotonic() - self._held_at > self._settings.ttl_s:
                    # It may have stood still: others may have what was here.
                    await self._hold()
                    continue
                await self._write(most)
                most = _AT_ONCE
            except StoreAway as error:
                self._reach.lose(error)
            except Exception:
                # One that cannot be written must not keep the others from it.
                if most == 1:
                    logger.exception("cluster: an event cannot be written, and is left out")
                    self._outbox.leave_out(self._outbox.batch(1))
                most = 1

    async def _write(self, most: int = _AT_ONCE) -> None:
        """Write the oldest of what waits."""
        async with self._writing:
            posts = self._outbox.batch(most)
            if not posts:
                return
            await self._store.write(posts)
            self._outbox.written(posts)
            while self._held and self._held[0][1] <= posts[-1].event.cursor:
                self._held.popleft()[2].set()

    async def _keep_following(self) -> None:
        while True:
            await self._reach.there.wait()
            try:
                async with self._store.feed() as feed:
                    # A channel of nobody's: without any there is nothing to wait for.
                    await feed.follow("")
                    for meeting in list(self._followed):
                        await feed.follow(meeting)
                    self._feed = feed
                    while True:
                        await self._take(await feed.next(1.0))
            except StoreAway as error:
                self._reach.lose(error)
            finally:
                self._feed = None

    async def _take(self, told: ToldEvent | str | None) -> None:
        match told:
            case "" | None:
                return
            case str(meeting):
                if meeting not in self._followed:
                    return
                if meeting not in self._own:
                    past = await self._store.past(meeting, self._newest.get(meeting, 0))
                    if meeting not in self._own and meeting in self._followed:
                        self._node.on_past(meeting, past)
                        self._note(meeting, *past.told)
                if (known := self._known.get(meeting)) is not None:
                    known.set()
            case ToldEvent(meeting=meeting, cursor=cursor):
                if meeting in self._own or meeting not in self._followed:
                    return
                if cursor > self._newest.get(meeting, 0):
                    self._note(meeting, told)
                    self._node.on_told(told)

    def _note(self, meeting: str, *told: ToldEvent) -> None:
        if told:
            self._newest[meeting] = told[-1].cursor

    async def _let_go(self, meeting: str) -> None:
        # What was told last of it comes first.
        if len(self._outbox) and self.away is None:
            written = Hold()
            self._held.append((None, self._outbox.newest, written))
            self._filled.set()
            await written.wait()
        async with self._holding:
            if meeting not in self._own:
                await self._reach.attempt(self._store.release(meeting))

    async def _forget(self, feed: Feed, meeting: str) -> None:
        # Somebody may have come meanwhile.
        if meeting not in self._followed:
            await self._reach.attempt(feed.unfollow(meeting))

    def _has_left(self, meeting: str, leaving: asyncio.Task[None]) -> None:
        if self._leaving.get(meeting) is leaving:
            del self._leaving[meeting]

    def _on_lost(self) -> None:
        self._outbox.drop_passing()
        self._let_all_go()
        self._written.set()

    def _let_all_go(self) -> None:
        while self._held:
            self._held.popleft()[2].set()

    async def _supervised(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                logger.exception("cluster: a task has failed, and begins again")
                await asyncio.sleep(1.0)

    def _go(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_of(post: Post | None, meeting: str) -> bool:
    return post is not None and post.event.meeting == meeting
