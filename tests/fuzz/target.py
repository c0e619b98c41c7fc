"""What a fuzzing target is, and what every target promises of a case."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec

__all__ = ["BrokenError", "Target", "forbidding", "require"]

_FORBIDDEN = (
    "ctypes.dlopen",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "pickle.find_class",
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
)


class BrokenError(AssertionError):
    """Say which promise a case has broken."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one thing that is fuzzed.

    ``seeds`` makes good cases; ``mutate`` a new case from one, by a random generator; ``check``
    raises anything at all where a promise is broken, else it says in a word what came of the
    case. ``seconds`` and ``mib`` are what one case may take of time and of memory.
    """

    name: str
    seeds: Callable[[Path], list[bytes]]
    mutate: Callable[[bytes, Random], bytes]
    check: Callable[[bytes, Path], str]
    seconds: float = 5.0
    mib: int = 256


def require(kept: bool, promise: str) -> None:
    """Raise ``BrokenError`` where a promise is not kept."""
    if not kept:
        raise BrokenError(promise)


class _Watch:
    on = False

    def __call__(self, event: str, arguments: Any) -> None:
        if self.on and event in _FORBIDDEN:
            raise BrokenError(f"foreign bytes led to {event}{arguments!r}"[:300])


_watch = _Watch()


@contextmanager
def forbidding() -> Iterator[None]:
    """Forbid what would be the execution of foreign code, or a word to the network."""
    if _watch not in _hooked:
        sys.addaudithook(_watch)
        _hooked.append(_watch)
    _watch.on = True
    try:
        yield
    finally:
        _watch.on = False


_hooked: list[_Watch] = []
