"""Who stands at the door: how many connections there are, and how many have said nothing yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any, Final

import msgspec

__all__ = ["Bounds", "Doorway", "Sparing", "guest_of"]

_AT_ONCE: Final = 20
_EVERY_S: Final = 10.0


class Bounds(msgspec.Struct, frozen=True):
    """Say how many connections may be open, and wait at the door in all and from an address."""

    open: int = 4096
    waiting: int = 128
    waiting_of_one: int = 32


def guest_of(theirs: Any, ours: Any) -> Hashable:
    """Return what a connection is known by: the addresses of both its ends, as sockets have them.

    One address of theirs may have a connection to each of ours at the same time.
    """
    return tuple(end[:2] if isinstance(end, tuple) else None for end in (theirs, ours))


class Doorway:
    """Count connections from the moment they are accepted; pure.

    Who comes is let in as long as there is room. Where too many wait at the door, the one that has
    waited longest is shown out: who means it is through in milliseconds, and so is who leaves.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self._waiting: dict[Hashable, tuple[str, Callable[[], None]]] = {}
        self._of_one: Counter[str] = Counter()
        self._inside: dict[Hashable, tuple[str, Callable[[], None]]] = {}

    @property
    def open(self) -> int:
        """Return how many connections there are."""
        return len(self._waiting) + len(self._inside)

    @property
    def waiting(self) -> int:
        """Return how many of them are still at the door."""
        return len(self._waiting)

    def enter(self, guest: Hashable, address: str, show_out: Callable[[], None]) -> bool:
        """Take a connection to the door, or return that there is no room for it.

        ``show_out`` is called where its place is needed for somebody else.
        """
        bounds = self.bounds
        if self.open >= bounds.open:
            return False
        oldest: Hashable | None = None
        if self._of_one[address] >= bounds.waiting_of_one:
            oldest = next(each for each, (of, _) in self._waiting.items() if of == address)
        elif len(self._waiting) >= bounds.waiting:
            oldest = next(iter(self._waiting))
        if oldest is not None:
            shown = self._forget(oldest)
            if shown is not None:
                # It is open until it is closed.
                self._inside[oldest] = shown
                shown[1]()
        self._put_at_door(guest, address, show_out)
        return True

    def settle(self, guest: Hashable) -> None:
        """Note that a connection is through the door."""
        if (known := self._forget(guest)) is not None:
            self._inside[guest] = known

    def see_off(self, guest: Hashable) -> None:
        """Note that a connection is about to be closed, and stands at the door again.

        Who never says goodbye would hold a place, and there is no bound for those who leave.
        """
        known = self._inside.pop(guest, None)
        if known is not None:
            self._put_at_door(guest, *known)

    def leave(self, guest: Hashable) -> None:
        """Note that a connection is closed."""
        self._forget(guest)
        self._inside.pop(guest, None)

    def _put_at_door(self, guest: Hashable, address: str, show_out: Callable[[], None]) -> None:
        self._waiting[guest] = (address, show_out)
        self._of_one[address] += 1

    def _forget(self, guest: Hashable) -> tuple[str, Callable[[], None]] | None:
        known = self._waiting.pop(guest, None)
        if known is None:
            return None
        address, _ = known
        self._of_one[address] -= 1
        if not self._of_one[address]:
            del self._of_one[address]
        return known


class Sparing:
    """Let some lines of a kind through, then one now and then: strangers cause them; pure."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, int, int]] = {}

    def admit(self, kind: str) -> int | None:
        """Return how many lines of this kind were left out; ``None``: this is one of them.

        ``kind`` is a word of ours, never one of theirs: each is remembered.
        """
        now = self._clock()
        since, said, left_out = self._said.get(kind, (now, 0, 0))
        if now - since >= _EVERY_S:
            since, said = now, 0
        if said >= (_AT_ONCE if not left_out else 1):
            self._said[kind] = (since, said, left_out + 1)
            return None
        # Once lines were left out, one in ten seconds is enough until it is quiet again.
        self._said[kind] = (since, said + 1, 0)
        return left_out
