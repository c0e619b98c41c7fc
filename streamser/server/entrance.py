"""The sockets that a server listens on, and how many connections this process can hold."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from streamser.server.doorway import Bounds, Doorway, guest_of
from streamser.settings import ServerSettings

__all__ = ["Entrance", "bounds_of", "open_entrances", "short_of_files"]

_RESERVE: Final = 96
"""Files of models, exports and the system, beside those that are open already."""
_FILES_OF_A_STREAM: Final = 2
_BACKLOG: Final = 100
_NO_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def bounds_of(own: ServerSettings) -> Bounds:
    """Return how many connections this process can hold beside the files that it needs."""
    bounds = Bounds()
    room = _limit() - _open_files() - _RESERVE - _FILES_OF_A_STREAM * own.max_sessions
    most = own.max_sessions + own.max_listeners + 2 * bounds.waiting
    there = max(16, min(room, most))
    # Those who wait must never fill the house: somebody would have to wait for their time-out.
    return Bounds(there, min(bounds.waiting, there // 2), min(bounds.waiting_of_one, there // 4))


def short_of_files(own: ServerSettings) -> str | None:
    """Return a line for people where this process may open too few files; ``None``: enough."""
    bounds = Bounds()
    needed = _open_files() + _RESERVE + bounds.waiting
    needed += own.max_listeners + (1 + _FILES_OF_A_STREAM) * own.max_sessions
    if _limit() >= needed:
        return None
    return (
        f"This process may open {_limit()} files; {own.max_sessions} streams and"
        f" {own.max_listeners} listeners need {needed}: raise it (`ulimit -n {needed}`; systemd:"
        " LimitNOFILE=), or lower server.max_sessions and server.max_listeners."
    )


class Entrance(socket.socket):
    """Listen, and take in no more than a doorway has room for.

    ``refuse`` is told in a word of each connection that gets no answer. Where no file is left, a
    spare one makes room to hang up on who has come: else they would come again and again.
    """

    doorway: Doorway
    refuse: Callable[[str], None]
    _spare: int | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        """Take a connection; raises ``BlockingIOError`` where there is none to be taken in."""
        for _ in range(_BACKLOG):
            try:
                found, address = super().accept()
            except OSError as error:
                if error.errno not in _NO_FILES or not self._hang_up():
                    raise
                self.refuse("no_files")
                continue
            guest = _Guest(found.family, found.type, found.proto, fileno=found.detach())
            key = guest_of(address, guest.getsockname())
            guest.left = lambda key=key: self.doorway.leave(key)
            if self.doorway.enter(key, str(address[0]), guest.show_out):
                return guest, address
            guest.close()
            self.refuse("too_many_connections")
        raise BlockingIOError(errno.EAGAIN, "nobody is taken in for now")

    def close(self) -> None:
        """Listen no more."""
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
        super().close()

    def keep_spare(self) -> None:
        """Keep a file for the time when there is none."""
        with contextlib.suppress(OSError):
            self._spare = os.open(os.devnull, os.O_RDONLY)

    def _hang_up(self) -> bool:
        if self._spare is None:
            return False
        os.close(self._spare)
        self._spare = None
        try:
            found, _ = super().accept()
            found.close()
        except BlockingIOError:
            raise
        except OSError:
            return False
        finally:
            self.keep_spare()
        return True


class _Guest(socket.socket):
    """Hold an accepted connection, and tell when it is closed."""

    left: Callable[[], None] | None = None

    def show_out(self) -> None:
        """End the connection; whoever reads it sees the end."""
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        super().close()
        left, self.left = self.left, None
        if left is not None:
            left()


def open_entrances(
    host: str, port: int, doorway: Doorway, refuse: Callable[[str], None]
) -> list[Entrance]:
    """Listen on every address of a host; raises ``OSError`` where one cannot be had."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    entrances: list[Entrance] = []
    try:
        for family, kind, proto, _, address in dict.fromkeys(found):
            try:
                entrance = Entrance(family, kind, proto)
            except OSError:
                # The machine does not speak this kind of address.
                continue
            entrances.append(entrance)
            entrance.doorway, entrance.refuse = doorway, refuse
            if os.name == "posix":
                entrance.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                entrance.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            entrance.bind(address)
            entrance.listen(_BACKLOG)
            entrance.setblocking(False)
            entrance.keep_spare()
    except OSError:
        for entrance in entrances:
            entrance.close()
        raise
    if not entrances:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    return entrances


def _limit() -> int:
    try:
        import resource
    except ImportError:  # Windows knows no such bound
        return 1 << 20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def _open_files() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return len(os.listdir(folder))
    return 32
