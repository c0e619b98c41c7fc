"""Which of several ways of doing the same is the fastest here: a choice by measured times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

__all__ = ["MARGIN", "Trial", "fastest", "least_times", "told"]

MARGIN: Final = 0.9
"""Share of the favourite's time that another may take at most to be preferred to it."""


class Trial(msgspec.Struct, frozen=True):
    """Hold how one way did: its least time, or why it is not to be taken."""

    name: str
    seconds: float | None = None
    why: str = ""


def least_times(
    ways: Mapping[str, Callable[[], object]],
    *,
    clock: Callable[[], float],
    budget_s: float,
    rounds: int,
) -> dict[str, float]:
    """Return the least time that each way took, in seconds of ``clock``.

    They take turns, so that what else the machine does meets all of them. There is one round
    at least, ``rounds`` at most, and no further one that would end after ``budget_s`` if it took
    as long as the one before. Raises what a way raises.
    """
    least = dict.fromkeys(ways, float("inf"))
    spent = 0.0
    for _ in range(rounds):
        taken = {name: _time(way, clock) for name, way in ways.items()}
        least = {name: min(least[name], taken[name]) for name in ways}
        spent += sum(taken.values())
        if spent + sum(taken.values()) > budget_s:
            break
    return least


def fastest(trials: Sequence[Trial]) -> str:
    """Return the name of the way to take.

    The first is the favourite: it stays unless another takes at most ``MARGIN`` of its time,
    so that chance does not decide between ways that are alike. Raises ``ValueError`` where none
    was measured.
    """
    measured = [(trial.seconds, trial.name) for trial in trials if trial.seconds is not None]
    if not measured:
        raise ValueError("no way of doing it was measured")
    best, name = min(measured)
    favourite = trials[0]
    if favourite.seconds is not None and best > MARGIN * favourite.seconds:
        return favourite.name
    return name


def told(trials: Sequence[Trial]) -> str:
    """Say in one line how each did, such as ``float32 212 ms, int8 left out (not here)``."""
    return ", ".join(
        f"{trial.name} left out ({trial.why})"
        if trial.seconds is None
        else f"{trial.name} {1000 * trial.seconds:.3g} ms"
        for trial in trials
    )


def _time(way: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    way()
    return clock() - began
