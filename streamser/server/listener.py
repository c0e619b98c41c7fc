"""The connection of one listener: a snapshot, what it has missed, then everything live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamser.errors import ConfigError
from streamser.events import Overload, encode_event
from streamser.server.backlog import Letter
from streamser.server.faults import supervised
from streamser.server.hub import Hub, Interest, Subscription
from streamser.server.outlet import TOO_SLOW, Outlet
from streamser.server.pace import MessagePace
from streamser.server.sender import Ending
from streamser.server.snapshot import encode_snapshot
from streamser.text import read_name

__all__ = ["Listener", "parse_events"]

_MOST_TYPES = 64


def parse_events(query: Mapping[str, list[str]]) -> tuple[Interest, int | None]:
    """Read the query of ``/v1/events``: what is wanted, and after which event.

    Raises ``ConfigError`` for a query that cannot be followed.
    """
    wanted = [name for name in ("meeting", "session", "all") if name in query]
    if len(wanted) != 1:
        raise ConfigError("say what to listen to: one of meeting=NAME, session=ID, all")
    types = tuple(
        part.strip()
        for given in query.get("types", [])
        for part in given.split(",")
        if part.strip()
    )
    if len(types) > _MOST_TYPES or any(len(part) > 200 for part in types):
        raise ConfigError(f"types: at most {_MOST_TYPES} types, with commas between")
    after: int | None = None
    if query.get("after"):
        text = query["after"][-1]
        if not (text.isascii() and text.isdigit() and len(text) <= 16):
            raise ConfigError(f"after is the number of an event, not {text[:40]!r}")
        after = int(text)
    name = query[wanted[0]][-1]
    return (
        Interest(
            meeting=read_name(name, "meeting") if wanted == ["meeting"] else None,
            session=read_name(name, "session") if wanted == ["session"] else None,
            types=types,
        ),
        after,
    )


class Listener:
    """Send a listener what it is interested in until it leaves, or is too slow."""

    def __init__(
        self,
        connection: ServerConnection,
        most: int,
        note_drops: Callable[[int], None],
        now: Callable[[], float],
        pace: MessagePace,
    ) -> None:
        self._connection = connection
        self._pace = pace
        self._most = most
        self._note_drops = note_drops
        self._now = now
        self._ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def end(self, ending: Ending) -> None:
        """Let the connection end; the first to say so decides how."""
        if not self._ended.done():
            self._ended.set_result(ending)

    def fail(self, error: Exception) -> None:
        """Let the connection end at once, as something of ours has failed."""
        self.end(Ending(1011, "internal_error", fault=error))

    async def run(self, hub: Hub, interest: Interest, after: int | None) -> Ending:
        """Serve until the listener is gone; the socket stays to be closed."""
        subscription = Subscription(interest, lambda letter: outlet.put(letter), self.fail)
        snapshot, missed = hub.subscribe(subscription, after, self._now())
        outlet = Outlet(self._connection, self._most, _word, self._note_drops)
        outlet.put(Letter("", 0, 0, False, (encode_snapshot(snapshot),)))
        outlet.replay(missed)
        works = (self._read, partial(self._wait_for, outlet))
        tasks = [supervised(work, self.fail) for work in works]
        try:
            ending = await self._ended
            hub.unsubscribe(subscription)
            if ending.code == 1001:
                await outlet.drain()
            return ending
        finally:
            hub.unsubscribe(subscription)
            for task in tasks:
                task.cancel()
            # They are supervised: nothing comes out of them.
            await asyncio.wait(tasks)
            await outlet.close()

    async def _read(self) -> None:
        try:
            async for _ in self._connection:
                # A listener has nothing to say; what it says all the same is not kept.
                wait = self._pace.wait_s(0.0, time.monotonic())
                if wait is None:
                    self.end(Ending(1008, "too many messages: a listener has nothing to say"))
                    return
                await asyncio.sleep(wait)
            self.end(Ending(1000))
        except ConnectionClosed:
            self.end(Ending(1006))

    async def _wait_for(self, outlet: Outlet) -> None:
        await outlet.wait_until_done()
        if outlet.fault is not None:
            self.fail(outlet.fault)
            return
        reason = "too slow: events could not be delivered"
        self.end(Ending(TOO_SLOW, reason) if outlet.too_slow else Ending(1006))


def _word(overload: Overload, stamp: bytes) -> tuple[bytes, ...]:
    return (encode_event(overload)[:-1] + stamp,)
