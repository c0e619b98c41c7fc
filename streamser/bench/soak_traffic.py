"""All clients of a soak: talkers, listeners that come and go, and one that reads slowly."""

from __future__ import annotations

import asyncio
import itertools
import random
from contextlib import suppress
from typing import Final

from streamser.bench.load_wire import Wire, dial
from streamser.bench.soak_talker import Ground, Talker, Tally, wait_for
from streamser.client.wire import EVENTS, endpoint
from streamser.errors import StreamserError

__all__ = ["Traffic", "listeners_for"]

_SMALL: Final = 4096
"""What the kernel may hold for a slow listener: the least it knows."""
_PAUSE: Final = 2.0
"""How long the slow one does not read, over how long a session lasts."""
_LEAVE_S: Final = 5.0
_AGAIN_S: Final = 1.0


def listeners_for(streams: int) -> int:
    """Return how many listeners come and go beside so many streams; the slow one not counted."""
    return max(2, streams // 2)


class Traffic:
    """Let clients come and go; between ``start`` and ``rest`` there are always as many streams."""

    def __init__(self, ground: Ground, streams: int, seed: int) -> None:
        self._ground = ground
        self._seed = seed
        self.tally = Tally()
        self._talkers = [Talker(each, ground, self.tally, seed) for each in range(streams)]
        self._visitors = listeners_for(streams)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def models(self) -> dict[str, str | None]:
        """Return the server's models, as it has introduced them."""
        return next((each.models for each in self._talkers if each.models), {})

    def start(self) -> None:
        """Let everybody come."""
        self._stop.clear()
        works = [talker.run(self._stop) for talker in self._talkers]
        works += [self._visit(number) for number in range(self._visitors)]
        works.append(self._dawdle())
        self._tasks = [asyncio.create_task(work) for work in works]

    def check(self) -> None:
        """Raise what has ended a client, or ``StreamserError`` where nobody was ever let in."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (fault := task.exception()) is not None:
                raise fault
        faults = [talker.fault for talker in self._talkers if talker.fault is not None]
        if faults and not self.tally.sessions:
            raise faults[0]

    async def rest(self) -> None:
        """Let everybody leave: sessions are finished well, listeners say goodbye."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        self._tasks = []

    async def leave(self) -> None:
        """Break everything off."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _visit(self, number: int) -> None:
        """Join and leave again and again; every other time without a word."""
        chance = random.Random(f"{self._seed} visitor {number}")
        ground, tally = self._ground, self.tally
        places: list[dict[str, str | None]] = [{"meeting": f"soak {number % 2}"}, {"all": ""}]
        for turn in itertools.count():
            if self._stop.is_set():
                return
            query = places[turn % len(places)]
            wire = await self._listen(query)
            if wire is not None:
                try:
                    stay = ground.renew_min * chance.uniform(0.25, 0.75)
                    await wait_for(self._stop, ground.seconds(stay))
                    if query is places[0] or self._stop.is_set():
                        await _leave(wire)
                    else:
                        tally.listeners_vanished += 1
                finally:
                    wire.abort()

    async def _dawdle(self) -> None:
        """Listen to everything, but for long times read nothing; come again when sent away."""
        ground, tally = self._ground, self.tally
        while not self._stop.is_set():
            wire = await self._listen({"all": ""})
            if wire is None:
                continue
            try:
                wire.shrink(_SMALL)
                while not self._stop.is_set() and not wire.closed.done():
                    wire.heed(False)
                    tally.pauses += 1
                    await wait_for(self._stop, ground.seconds(_PAUSE * ground.renew_min))
                    wire.heed(True)
                    await wait_for(self._stop, ground.seconds(ground.renew_min / 2))
                if wire.closed.done():
                    tally.too_slow += 1
                else:
                    await _leave(wire)
            finally:
                wire.abort()

    async def _listen(self, query: dict[str, str | None]) -> Wire | None:
        ground = self._ground
        try:
            wire = await dial(endpoint(ground.url, EVENTS, query), ground.token, _ignore)
        except StreamserError:
            self.tally.refused += 1
            await wait_for(self._stop, _AGAIN_S)
            return None
        self.tally.listeners += 1
        return wire


def _ignore(at: float, message: bytes) -> None:
    """Hear an event and think nothing of it."""


async def _leave(wire: Wire) -> None:
    wire.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(wire.closed), _LEAVE_S)
