"""The largest number that is held, with few tries; pure."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["climb"]


def climb(held: Callable[[int], bool], *, first: int, most: int, fineness: float) -> int | None:
    """Find the largest held number by doubling, then by halving what is in between.

    Ends when the gap to a number that was not held is at most ``fineness`` of the one that
    was, or when ``most`` is held. Returns ``None`` where not even one is held.
    """
    low, high = 0, most + 1
    number = min(first, most)
    while low < most:
        if held(number):
            low = number
            number = min(2 * number, most) if high > most else (low + high) // 2
        else:
            high = number
            number = (low + high) // 2
        if high <= most and high - low <= max(1, int(fineness * low)):
            break
    return low or None
