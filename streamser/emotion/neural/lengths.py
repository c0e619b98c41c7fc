"""Which clips of a batch go through the model together, and in what shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from torch.nn import functional

from streamser.emotion.neural.interfaces import FusedInput

__all__ = [
    "CUDA",
    "ONE_BY_ONE",
    "PROCESSOR",
    "Shapes",
    "groups",
    "power_of_two",
    "rounded",
    "widened",
]


class Shapes(msgspec.Struct, frozen=True):
    """Say what a device is to be given.

    ``forward_s``: what a pass costs whatever is in it, in seconds of sound that could be
    encoded meanwhile. ``few``: lengths are ``rounded`` and numbers of clips powers of two, so
    that libraries that prepare themselves for every new shape meet few. ``together``: most
    clips in a pass.
    """

    forward_s: float
    few: bool = False
    together: int | None = None


PROCESSOR: Final = Shapes(forward_s=1.0)
"""Between 0.2 s (HuBERT-base alone) and 3 s (the large encoders with words)."""

CUDA: Final = Shapes(forward_s=100.0, few=True)
"""An H100 with the large encoders: 16 ms for any pass, and 0.16 ms for a second of sound."""

ONE_BY_ONE: Final = Shapes(forward_s=0.0, together=1)
"""For arithmetic in which what is in a pass decides how coarse all of it is."""


def groups(lengths: Sequence[float], shapes: Shapes) -> list[list[int]]:
    """Part clips of so many seconds into passes; return their places, the shortest clips first.

    A pass of n clips costs ``forward_s`` and n times the longest of them, for the others are
    padded to it. The parting is the cheapest that there is.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    most = shapes.together or len(order)
    # The cheapest way to do the first k clips, and where its last pass begins.
    costs, begins = [0.0], [0]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        costs_of = {
            begin: costs[begin] + shapes.forward_s + (end - begin) * longest
            for begin in range(max(0, end - most), end)
        }
        begin = min(costs_of, key=costs_of.__getitem__)
        costs.append(costs_of[begin])
        begins.append(begin)
    parts = []
    end = len(order)
    while end:
        parts.append(order[begins[end] : end])
        end = begins[end]
    return parts[::-1]


def power_of_two(number: int) -> int:
    """Return the least power of two that is no less than a number over 0."""
    return 1 << (number - 1).bit_length()


def rounded(number: int) -> int:
    """Return the next of 1, 2, 3, 4, 6, 8, 12, 16, 24 … that is no less than a number over 0."""
    power = power_of_two(number)
    between = power // 4 * 3
    return between if number <= between else power


def widened(prepared: FusedInput) -> FusedInput:
    """Return a batch whose sounds are padded to a ``rounded`` length; it says the same."""
    if prepared.audio is None:
        return prepared
    values = prepared.audio.values
    missing = rounded(values.shape[1]) - values.shape[1]
    # The padding is counted from the last axis, and it is the second that grows.
    padding = (0, 0) * (values.dim() - 2) + (0, missing)
    audio = prepared.audio._replace(values=functional.pad(values, padding))
    return prepared._replace(audio=audio)
