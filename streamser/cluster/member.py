"""Be one server of a cluster: say so, write what is told, follow meetings that are elsewhere.

Nothing here is waited for by those who speak: while Redis is away they are heard as ever, what is
to be kept waits, and once it is back everything that it lacks is written.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from streamser.cluster.outbox import Outbox, Post
from streamser.cluster.records import MeetingPast, NodeState, StreamState, ToldEvent
from streamser.cluster.store import ClusterStore, Feed, StoreAway
from streamser.settings import ClusterSettings

__all__ = ["ClusterMember", "LocalNode"]

logger = logging.getLogger(__name__)

_WAITING: Final = 20_000
"""Events that may wait for Redis: of a busy server, an hour's finals."""
_AT_ONCE: Final = 256
"""Events that are written in one round trip."""
_RETRY_S: Final = 0.25
"""After so long a Redis that is away is asked again."""
_PATIENCE_S: Final = 1.5
"""How long a newcomer waits for what Redis has to say."""
_SURE_S: Final = 1.0
"""For so long Redis is asked all the same, when it has not answered once."""
_LISTED_S: Final = 60.0
"""Others' meetings are asked for as long as somebody has asked for them so lately."""

T = TypeVar("T")
P = ParamSpec("P")


class LocalNode(Protocol):
    """What a member asks of its server, and tells it."""

    def state(self) -> NodeState:
        """Return how the server does."""
        ...

    def kept(self, meeting: str, after: int) -> Sequence[Post]:
        """Return what the server keeps of a meeting of its own, past a cursor, in order."""
        ...

    def on_past(self, meeting: str, past: MeetingPast) -> None:
        """Take in what was told of a meeting elsewhere."""
        ...

    def on_told(self, told: ToldEvent) -> None:
        """Take in what is told of a meeting elsewhere."""
        ...

    def on_taken(self, meeting: str) -> None:
        """Let go of a meeting that another server has now."""
        ...

    def on_drain(self, within_s: float) -> None:
        """End all streams within some seconds, and the server."""
        ...


class ClusterMember:
    """Keep a server in touch with the others; ``node`` is that server, ``name`` what it is called.

    ``away`` says why Redis is not there, as long as it is not.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        name: str,
        node: LocalNode,
        store: ClusterStore | None = None,
    ) -> None:
        self.name = name
        self.away: str | None = "not asked yet"
        self.others: list[NodeState] = []
        self._settings = settings
        self._store = store or ClusterStore(settings, name)
        self._node = node
        self._outbox = Outbox(_WAITING)
        self._held: deque[tuple[int, asyncio.Event]] = deque()
        self._own: set[str] = set()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self._held_at = self._lost_at = time.monotonic()
        self._there = asyncio.Event()
        self._filled = asyncio.Event()
        self._followed: Counter[str] = Counter()
        self._known: dict[str, asyncio.Event] = {}
        self._feed: Feed | None = None
        self._newest: dict[str, int] = {}
        self._listed_at = -_LISTED_S
        self._drained = False
        self._written = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

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
        self.away = self.away or "this server has left"
        self._let_all_go()
        await self._try(self._store.leave())
        await self._store.close()

    def post(self, post: Post, *, held: bool = False) -> asyncio.Event | None:
        """Let something be written, soon.

        Where it is ``held``, returns what is set once it is written, or Redis is found to be away.
        """
        if self.away is not None and not post.event.stays:
            return None
        self._outbox.put(post)
        self._filled.set()
        if not held or self.away is not None:
            return None
        written = asyncio.Event()
        self._held.append((post.event.cursor, written))
        return written

    # Where a meeting is

    async def place(self, meeting: str) -> NodeState | None:
        """Take a meeting, with what is known of it; or return the server that has it.

        While Redis is away it is taken: whoever speaks is heard.
        """
        if (leaving := self._leaving.get(meeting)) is not None:
            # Else it would be given back after it is taken.
            await asyncio.wait({leaving}, timeout=_PATIENCE_S)
        if meeting in self._own:
            return None
        home = await self._ask(self._store.claim, meeting)
        if home is not None:
            return home
        if meeting not in self._own:
            past = await self._ask(self._store.past, meeting, self._newest.get(meeting, 0))
            if past is not None and meeting not in self._own:
                self._node.on_past(meeting, past)
        self._own.add(meeting)
        return None

    def has(self, meeting: str) -> bool:
        """Return whether a meeting is at this server."""
        return meeting in self._own

    def release(self, meeting: str) -> None:
        """Give a meeting back that everybody has left."""
        if meeting in self._own:
            self._own.discard(meeting)
            leaving = self._leaving[meeting] = self._go(self._let_go(meeting))
            leaving.add_done_callback(partial(self._has_left, meeting))

    async def stream_state(self, stream: str) -> StreamState | None:
        """Return what another server has left of a stream; ``None`` also while Redis is away."""
        return await self._ask(self._store.stream_state, stream)

    # What is told elsewhere

    async def follow(self, meeting: str) -> None:
        """Have what is told of a meeting, wherever it is; wait for what was told before."""
        self._followed[meeting] += 1
        known = self._known.setdefault(meeting, asyncio.Event())
        if self._followed[meeting] == 1 and self._feed is not None:
            await self._try(self._feed.follow(meeting))
        if self.away is None:
            try:
                async with asyncio.timeout(_PATIENCE_S):
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
        """Return the other servers as they were a moment ago, and ask for them from now on."""
        self._listed_at = time.monotonic()
        return self.others

    # The tasks

    async def _keep_beating(self) -> None:
        while True:
            pause_s = self._settings.ttl_s / 4
            await asyncio.sleep(pause_s if self.away is None else min(_RETRY_S, pause_s))
            await self._beat()

    async def _beat(self) -> None:
        was_away = self.away
        try:
            asked = await self._store.beat(self._node.state())
            await self._hold()
            if was_away is not None:
                await self._heal()
            if time.monotonic() - self._listed_at < _LISTED_S:
                nodes = await self._store.nodes()
                self.others = [node for node in nodes if node.name != self.name]
        except StoreAway as error:
            self._lose(error)
            return
        if was_away is not None:
            self.away = None
            self._there.set()
            logger.info("cluster: Redis is there; %d events to write", len(self._outbox))
        if asked is not None and not self._drained:
            self._drained = True
            self._node.on_drain(asked)

    async def _hold(self) -> None:
        """Keep the meetings that are here; let go of those that are elsewhere.

        That happens to a server that stood still until it counted as gone, or where two have
        taken one meeting while Redis was away: who is there goes on at the other.
        """
        own = sorted(self._own)
        for meeting in await self._store.hold(own) if own else ():
            if meeting in self._own:
                logger.error("cluster: a meeting that was here is at another server now")
                # Listeners here are told what was told there meanwhile.
                past = await self._store.past(meeting, self._newest.get(meeting, 0))
                self._own.discard(meeting)
                self._node.on_past(meeting, past)
                self._node.on_taken(meeting)
        self._held_at = time.monotonic()

    async def _heal(self) -> None:
        """Write again what Redis has lost, or never got, of the meetings that are here."""
        own = sorted(self._own)
        newest = await self._store.newest(own) if own else {}
        again = [post for meeting in own for post in self._node.kept(meeting, newest[meeting])]
        again.sort(key=lambda post: post.event.cursor)
        self._outbox.put_again(again)
        self._filled.set()

    async def _keep_writing(self) -> None:
        while True:
            await self._there.wait()
            await self._filled.wait()
            posts = self._outbox.batch(_AT_ONCE)
            if not posts:
                self._filled.clear()
                self._written.set()
                continue
            try:
                if time.monotonic() - self._held_at > self._settings.ttl_s:
                    # It may have stood still: others may have what was here.
                    await self._hold()
                    continue
                await self._store.write(posts)
            except StoreAway as error:
                self._lose(error)
                continue
            self._outbox.written(posts)
            while self._held and self._held[0][0] <= posts[-1].event.cursor:
                self._held.popleft()[1].set()

    async def _keep_following(self) -> None:
        while True:
            await self._there.wait()
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
                self._lose(error)
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
        while len(self._outbox) and self.away is None:
            self._written.clear()
            self._filled.set()
            await self._written.wait()
        if meeting not in self._own:
            await self._try(self._store.release(meeting))

    async def _forget(self, feed: Feed, meeting: str) -> None:
        # Somebody may have come meanwhile.
        if meeting not in self._followed:
            await self._try(feed.unfollow(meeting))

    def _has_left(self, meeting: str, leaving: asyncio.Task[None]) -> None:
        if self._leaving.get(meeting) is leaving:
            del self._leaving[meeting]

    async def _ask(
        self, ask: Callable[P, Awaitable[T]], *args: P.args, **given: P.kwargs
    ) -> T | None:
        """Ask Redis, twice if need be: it may have been this server that was late.

        Nobody waits for one that has been away for a while.
        """
        for _ in range(2):
            if self.away is not None and time.monotonic() - self._lost_at > _SURE_S:
                return None
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    return await ask(*args, **given)
            except StoreAway as error:
                self._lose(error)
            except TimeoutError:
                self._lose(StoreAway("it does not answer"))
        return None

    async def _try(self, asked: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                return await asked
        except StoreAway as error:
            self._lose(error)
        except TimeoutError:
            self._lose(StoreAway("it does not answer"))
        return None

    def _lose(self, error: StoreAway) -> None:
        if self.away is None:
            logger.error("cluster: Redis is away: %s", error)
            self._lost_at = time.monotonic()
        self.away = str(error)
        self._there.clear()
        self._outbox.drop_passing()
        self._let_all_go()
        self._written.set()

    def _let_all_go(self) -> None:
        while self._held:
            self._held.popleft()[1].set()

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
