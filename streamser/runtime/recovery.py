"""What becomes of jobs whose device thread is lost, and how soon another one begins; pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

from msgspec.structs import replace

from streamser.runtime.jobs import Fault
from streamser.runtime.queue import Ticket

__all__ = ["Loss", "Patience", "sort_out"]

Loss: TypeAlias = Literal["died", "stuck"]
"""How a device thread was lost: an error ended it, or it did not answer in time."""

_AT_ONCE = 2
"""Losses in a row that are made good at once: of a batch, and of what in it was to blame."""
_LONGEST_S = 60.0


def sort_out(
    tickets: Sequence[Ticket], loss: Loss, why: str
) -> tuple[list[Ticket], list[tuple[Ticket, Fault]]]:
    """Divide what was at work: tickets to be tried again, and those that are over.

    Each is tried again once, alone. Not a droppable one, which the next reading replaces; nor
    one that was alone when the models hung, as it would hang them again for as long.
    """
    code = "deadline" if loss == "stuck" else "worker_died"
    fault = Fault(code, why)
    again: list[Ticket] = []
    over: list[tuple[Ticket, Fault]] = []
    for ticket in tickets:
        to_blame = ticket.suspect or (loss == "stuck" and len(tickets) == 1)
        if to_blame or ticket.job.droppable:
            over.append((ticket, fault))
        else:
            again.append(replace(ticket, suspect=True))
    return again, over


class Patience:
    """Count what went wrong in a row, and say how long to wait before another attempt, in s."""

    def __init__(self) -> None:
        self._in_row = 0

    def reset(self) -> None:
        """Take note that jobs were answered."""
        self._in_row = 0

    def lost(self) -> float:
        """Take note that a device thread was lost; the first two cost no wait."""
        self._in_row += 1
        return 0.0 if self._in_row <= _AT_ONCE else _pause_s(self._in_row - _AT_ONCE)

    def not_loaded(self) -> float:
        """Take note that models could not be loaded."""
        self._in_row += 1
        return _pause_s(self._in_row)


def _pause_s(times: int) -> float:
    return min(_LONGEST_S, 2.0 ** min(times - 1, 10))
