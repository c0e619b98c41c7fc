"""Who is at the door, and whose connections those are that a proxy has brought."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeAlias

from streamser.errors import ConfigError
from streamser.server.limits import ConnectionBounds

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Proxies:
    """Know the proxies that are believed, in ``server.proxies``: addresses and networks; pure.

    Raises ``ConfigError`` for what is neither.
    """

    def __init__(self, text: str = "") -> None:
        self._networks = tuple(_network(part.strip()) for part in text.split(",") if part.strip())

    def knows(self, host: str) -> bool:
        """Return whether this is the address of one of them."""
        address = _address(host) if self._networks else None
        return address is not None and self._has(address)

    def client_of(self, host: str, forwarded: Iterable[str]) -> str:
        """Return the address of the client behind a connection from ``host``.

        ``forwarded`` are the values of ``X-Forwarded-For`` in their order. The last address there
        that is no proxy's is the client's: what stands before it is the client's own say. Where
        there is none, or no address, it is the proxy's that was the last to be known.
        """
        address = _address(host)
        if address is None or not self._has(address):
            return host
        told = [part for value in forwarded for part in value.split(",")]
        for part in reversed(told):
            before = _address(_without_port(part.strip()))
            if before is None:
                break
            address = before
            if not self._has(address):
                break
        return str(address)

    def _has(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def ends_of(theirs: Any, ours: Any) -> Hashable:
    """Return what a connection is known by: the addresses of both its ends, as sockets have them.

    One address of theirs may have a connection to each of ours at the same time.
    """
    return tuple(end[:2] if isinstance(end, tuple) else None for end in (theirs, ours))


class ConnectionTable:
    """Count connections from the moment they are accepted; pure.

    Who comes is let in as long as there is room. Where too many wait at the door, the one that has
    waited longest is shown out: who means it is through in milliseconds, and so is who leaves.
    What ``proxies`` bring counts as their clients' once they say whose it is.
    """

    def __init__(self, bounds: ConnectionBounds, proxies: Proxies | None = None) -> None:
        self.bounds = bounds
        self._proxies = proxies or Proxies()
        self._waiting: dict[Hashable, tuple[str | None, Callable[[], None]]] = {}
        """Without an address: a proxy has brought it, and has not said yet for whom."""
        self._of_one: Counter[str | None] = Counter()
        self._inside: dict[Hashable, tuple[str | None, Callable[[], None]]] = {}

    @property
    def open(self) -> int:
        """Return how many connections there are."""
        return len(self._waiting) + len(self._inside)

    @property
    def waiting(self) -> int:
        """Return how many of them are still at the door."""
        return len(self._waiting)

    def enter(self, ends: Hashable, host: str, disconnect: Callable[[], None]) -> bool:
        """Take a connection from ``host`` to the door, or return that there is no room for it.

        ``disconnect`` is called where its place is needed for somebody else.
        """
        if self.open >= self.bounds.open:
            return False
        address = None if self._proxies.knows(host) else host
        self._make_room(address)
        self._put_at_door(ends, address, disconnect)
        return True

    def identify(self, ends: Hashable, host: str, forwarded: Iterable[str]) -> str | None:
        """Note for whom a proxy has brought a connection, and return that address.

        ``forwarded`` is as for ``Proxies.client_of``; ``None`` where ``host`` is no proxy.
        """
        if not self._proxies.knows(host):
            return None
        client = self._proxies.client_of(host, forwarded)
        if (waiting := self._forget(ends)) is not None:
            self._make_room(client)
            self._put_at_door(ends, client, waiting[1])
        elif (inside := self._inside.get(ends)) is not None:
            self._inside[ends] = (client, inside[1])
        return client

    def settle(self, ends: Hashable) -> None:
        """Note that a connection is through the door."""
        if (known := self._forget(ends)) is not None:
            self._inside[ends] = known

    def start_closing(self, ends: Hashable) -> None:
        """Note that a connection is about to be closed, and stands at the door again.

        Who never says goodbye would hold a place, and there is no bound for those who leave.
        """
        known = self._inside.pop(ends, None)
        if known is not None:
            self._put_at_door(ends, *known)

    def leave(self, ends: Hashable) -> None:
        """Note that a connection is closed."""
        self._forget(ends)
        self._inside.pop(ends, None)

    def _make_room(self, address: str | None) -> None:
        """Show out who has waited longest where too many do, in all or of one address."""
        bounds, waiting = self.bounds, self._waiting.items()
        oldest: Hashable | None = None
        most = bounds.brought if address is None else bounds.waiting_of_one
        if self._of_one[address] >= most:
            oldest = next(each for each, (of, _) in waiting if of == address)
        elif address is not None and len(waiting) - self._of_one[None] >= bounds.waiting:
            oldest = next(each for each, (of, _) in waiting if of is not None)
        if oldest is not None and (shown := self._forget(oldest)) is not None:
            # It is open until it is closed.
            self._inside[oldest] = shown
            shown[1]()

    def _put_at_door(
        self, ends: Hashable, address: str | None, disconnect: Callable[[], None]
    ) -> None:
        self._waiting[ends] = (address, disconnect)
        self._of_one[address] += 1

    def _forget(self, ends: Hashable) -> tuple[str | None, Callable[[], None]] | None:
        known = self._waiting.pop(ends, None)
        if known is None:
            return None
        address, _ = known
        self._of_one[address] -= 1
        if not self._of_one[address]:
            del self._of_one[address]
        return known


def _network(text: str) -> _Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(
            f"server.proxies: {text[:80]!r} is no address and no network ({error}): write them like"
            " 10.0.0.5,10.1.0.0/16,fd00::/64."
        ) from None


def _address(text: str) -> _Address | None:
    """Read an address; one of version 4 also where it is written as one of version 6."""
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _without_port(text: str) -> str:
    if text.startswith("["):
        return text[1:].partition("]")[0]
    host, colon, port = text.partition(":")
    return host if colon and port.isascii() and port.isdigit() and "." in host else text
