"""The sending side of one connection: a bounded backlog and the task that empties it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from streamser.events import Overload
from streamser.server.backlog import Backlog, Letter
from streamser.server.faults import supervised

__all__ = ["TOO_SLOW", "Outlet"]

TOO_SLOW = 1013

_AT_ONCE = 32
"""Letters that are sent before others get their turn: they take a millisecond."""
_STILL_S = 30.0
"""How long a connection may take nothing at all of what is left at its end."""


class Outlet:
    """Send letters to a connection as fast as it reads, and give it up if it is too slow.

    ``put`` never waits: no connection can hold up another. ``note_drops`` is told of the number
    of events left out. ``fault`` is what has ended the sending, where that was no closed
    connection.
    """

    def __init__(
        self,
        connection: ServerConnection,
        most: int,
        word: Callable[[Overload, bytes], tuple[bytes, ...]],
        note_drops: Callable[[int], None],
        still_s: float = _STILL_S,
    ) -> None:
        self._connection = connection
        self._still_s = still_s
        self._backlog = Backlog(most, word)
        self._note_drops = note_drops
        self._noted = 0
        self._filled = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._loop = asyncio.get_running_loop()
        self._taken = 0
        self._judging = False
        self.too_slow = False
        self.fault: Exception | None = None
        self._task = supervised(self._send, self._fail)

    def put(self, letter: Letter) -> None:
        """Let a letter be sent after those before it."""
        if self._task.done() or self.too_slow or not letter.bodies:
            return
        if not self._backlog.put(letter):
            self._doubt()
        if self._backlog.dropped > self._noted:
            self._note_drops(self._backlog.dropped - self._noted)
            self._noted = self._backlog.dropped
        if len(self._backlog):
            self._empty.clear()
            self._filled.set()

    def replay(self, letters: list[Letter]) -> None:
        """Let letters be sent that come all at once, which is no sign of slowness."""
        if letters and not self._task.done():
            self._backlog.replay(letters)
            self._empty.clear()
            self._filled.set()

    async def drain(self) -> None:
        """Wait until everything is sent, or nothing can be any more.

        A connection that takes nothing for ``still_s`` is given up: some are never asked for a
        sign of life, and a stream that is over takes no place that would run out.
        """
        waiting = asyncio.create_task(self._empty.wait())
        ends: set[asyncio.Task[Any]] = {waiting, self._task}
        taken = -1
        while not any(each.done() for each in ends) and taken != self._taken:
            taken = self._taken
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait(ends, return_when=first, timeout=self._still_s)
        if not any(each.done() for each in ends):
            self._give_up()
        waiting.cancel()

    async def wait_until_done(self) -> None:
        """Wait until nothing can be sent any more: the connection is gone, or too slow."""
        await asyncio.wait({self._task})

    async def close(self) -> None:
        """Send nothing more."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def _doubt(self) -> None:
        """See whether a connection that has more to read than there is room for reads at all."""
        if self._backlog.is_overrun:
            self._give_up()
        elif not self._judging:
            self._judging = True
            self._loop.call_soon(self._judge, self._taken, 2)

    def _give_up(self) -> None:
        self.too_slow = True
        self._task.cancel()

    def _judge(self, taken: int, turns: int) -> None:
        """Give the connection up if it took nothing in whole turns of the loop."""
        # Whoever had no turn to send, as one long turn made all the events, is not slow.
        if turns and self._taken == taken:
            self._loop.call_soon(self._judge, taken, turns - 1)
            return
        self._judging = False
        if self._taken == taken and self._backlog.is_over_full and not self._task.done():
            self._give_up()

    def _fail(self, error: Exception) -> None:
        self.fault = error

    async def _send(self) -> None:
        try:
            while True:
                await self._filled.wait()
                while len(self._backlog):
                    bodies = self._backlog.take()
                    self._taken += 1
                    for body in bodies:
                        await self._connection.send(body, text=True)
                    if not self._taken % _AT_ONCE:
                        # Sending waits for nothing while there is room in the system's buffers.
                        await asyncio.sleep(0)
                self._filled.clear()
                self._empty.set()
        except ConnectionClosed:
            return
