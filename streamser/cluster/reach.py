"""Know whether Redis is there, why it is not, and ask it without waiting for long."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, ParamSpec, TypeVar

__all__ = ["NO_ANSWER", "PATIENCE_S", "Reach", "StoreAway", "reaching", "reason_of"]

logger = logging.getLogger(__name__)

NO_ANSWER: Final = "it does not answer in time: see that cluster.redis is its address"
PATIENCE_S: Final = 1.5
"""How long a newcomer waits for what Redis has to say."""
_RETRY_S: Final = 0.25
"""After so long a Redis that is away is asked again."""
_MOST_RETRY_S: Final = 4.0
"""And after so long at most one that comes and goes."""
_STEADY_S: Final = 10.0
"""One that is there for so long does not come and go."""
_SAID_S: Final = 60.0
"""What is wrong with it is not said again for so long."""
_SURE_S: Final = 1.0
"""For so long Redis is asked all the same, when it has not answered once."""

_BY_KIND: Final = {
    "BusyLoadingError": "it loads its data: wait",
    "AuthenticationError": "it does not take this user or password: see cluster.redis",
    "AuthenticationWrongNumberOfArgsError": "it wants no password, or not so: see cluster.redis",
    "NoPermissionError": "its user may not do this: docs/cluster.md has an ACL",
    "OutOfMemoryError": "it is full: raise its maxmemory",
    "ReadOnlyError": "it is a replica: cluster.redis must be the address of the primary",
    "MaxConnectionsError": "it takes no more connections: raise its maxclients",
    "TimeoutError": NO_ANSWER,
}
_BY_WORD: Final = {
    "LOADING": _BY_KIND["BusyLoadingError"],
    "NOAUTH": "it wants a password: see cluster.redis",
    "WRONGPASS": _BY_KIND["AuthenticationError"],
    "NOPERM": _BY_KIND["NoPermissionError"],
    "OOM": _BY_KIND["OutOfMemoryError"],
    "READONLY": _BY_KIND["ReadOnlyError"],
    "MISCONF": "it cannot save to its disk, and takes nothing until it can: see its log",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "NOREPLICAS": "it has too few replicas to take anything: see min-replicas-to-write",
    "BUSY": "somebody's script keeps it busy: SCRIPT KILL ends that",
    "WRONGTYPE": "a key of cluster.prefix holds what is not ours: take another prefix",
    "already authenticated": "it wants a password: see cluster.redis",
    "Authentication required": "it wants a password: see cluster.redis",
    "max number of clients": _BY_KIND["MaxConnectionsError"],
}
_NO_NAME: Final = "nothing is known by the name of its host: see cluster.redis"
_NOBODY: Final = "nobody answers at its address: see that it runs, and cluster.redis"


T = TypeVar("T")
P = ParamSpec("P")


class StoreAway(Exception):  # noqa: N818 - a state of the network, no fault of ours
    """Say that Redis is not there; what was asked for may or may not have been done.

    ``why`` is for anybody: it names no address, and no secret.
    """

    def __init__(self, why: str, said: str = "") -> None:
        super().__init__(f"{why} ({said})" if said else why)
        self.why = why


def reason_of(error: BaseException) -> str:
    """Return in our words why Redis cannot be worked with."""
    said = str(error)
    for word, why in _BY_WORD.items():
        if re.search(rf"\b{word}\b", said):
            return why
    if isinstance(error, socket.gaierror) or said.startswith("Error -"):
        # The numbers of what becomes of names are below 0, and those of connections above.
        return _NO_NAME
    for kind in type(error).__mro__:
        if kind.__name__ in _BY_KIND:
            return _BY_KIND[kind.__name__]
    if isinstance(error, OSError) or type(error).__name__ == "ConnectionError":
        return _NOBODY
    return f"it answers with {type(error).__name__}"


@contextmanager
def reaching() -> Iterator[None]:
    """Turn what Redis, or the way to it, says no with into ``StoreAway``."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        # Of a pipeline it says what it was to do, and so of whom: that is in no log.
        said = re.sub(r"(?s)^Command # \d+ \(.*\) of pipeline caused error: ", "", str(error))
        raise StoreAway(reason_of(error), f"{type(error).__name__}: {said}") from error


class Reach:
    """Know since when Redis is there, or why it is not; ``on_lost`` is called whenever it is not.

    ``away`` says why, without addresses or secrets. ``pause_s`` is after how long an away one is
    to be asked again: one that comes and goes is not asked, and told of, again and again.
    """

    def __init__(self, on_lost: Callable[[], None]) -> None:
        self.away: str | None = "not asked yet"
        self.there = asyncio.Event()
        self.there_at = self._lost_at = time.monotonic()
        self.pause_s = _RETRY_S
        self._on_lost = on_lost
        self._said: dict[str, float] = {}
        self._spoken = True

    def find(self, waiting: int) -> None:
        """Note that it is there; ``waiting`` events had waited for it."""
        self.away = None
        self.there_at = time.monotonic()
        self.there.set()
        if self._spoken:
            logger.info("cluster: Redis is there; %d events had waited", waiting)
        self._spoken = False

    def lose(self, error: StoreAway) -> None:
        """Note that it is not; each reason is logged once a minute."""
        now = time.monotonic()
        if self.away is None:
            self._lost_at = now
            steady = now - self.there_at > _STEADY_S
            self.pause_s = _RETRY_S if steady else min(2 * self.pause_s, _MOST_RETRY_S)
        self._said = {why: at for why, at in self._said.items() if now - at < _SAID_S}
        if error.why not in self._said:
            self._said[error.why] = now
            self._spoken = True
            logger.error("cluster: Redis is away: %s", error)
        self.away = error.why
        self.there.clear()
        self._on_lost()

    def leave(self) -> None:
        """Note that nobody is left here who would ask it."""
        self.away = self.away or "this server has left"

    async def ask(
        self, ask: Callable[P, Awaitable[T]], *args: P.args, **given: P.kwargs
    ) -> T | None:
        """Ask Redis, twice if need be: it may have been this server that was late.

        Nobody waits for one that has been away for a while.
        """
        for _ in range(2):
            if self.away is not None and time.monotonic() - self._lost_at > _SURE_S:
                return None
            if (answer := await self._within(ask(*args, **given))) is not None:
                return answer[0]
        return None

    async def attempt(self, asked: Awaitable[T]) -> T | None:
        """Ask Redis once."""
        answer = await self._within(asked)
        return None if answer is None else answer[0]

    async def _within(self, asked: Awaitable[T]) -> tuple[T] | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return (await asked,)
        except StoreAway as error:
            self.lose(error)
        except TimeoutError:
            self.lose(StoreAway(NO_ANSWER))
        return None
