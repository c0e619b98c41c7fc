"""How long to wait before trying again, and when to give up; pure."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Patience"]

_FIRST_S = 0.25
# A server holds a stream for 30 s: several tries must fall into that.
_LONGEST_S = 5.0
_STEADY_S = 10.0
"""A connection that breaks sooner is part of the same outage."""


class Patience:
    """Space tries to connect: twice as long each time, 0.25 to 5 s, up to half of it by chance.

    Chance keeps many clients of one server from coming back all at once. An outage begins at
    the first loss and ends with a connection that lasts 10 s; after ``give_up_s`` of it,
    patience is at an end. Times are seconds of any clock that never goes back; ``chance``
    gives numbers in [0, 1).
    """

    def __init__(self, give_up_s: float, chance: Callable[[], float]) -> None:
        self.give_up_s = give_up_s
        self._chance = chance
        self._since: float | None = None
        self._up: float | None = None
        self._tries = 0

    def up(self, now: float) -> None:
        """Note that there is a connection."""
        self._up = now

    def lost(self, now: float, retry_after: float | None = None) -> float | None:
        """Return the seconds to wait after a loss or a vain try; ``None``: give up.

        ``retry_after`` is the least that the server asks for.
        """
        steady = self._up is not None and now - self._up >= _STEADY_S
        if self._since is None or steady:
            self._since, self._tries = now, 0
        self._up = None
        # The exponent is bounded only to keep the float finite.
        wait = min(_LONGEST_S, _FIRST_S * 2.0 ** min(self._tries, 16))
        wait *= 1 - self._chance() / 2
        if retry_after is not None:
            wait = max(wait, retry_after * (1 + self._chance() / 10))
        self._tries += 1
        return None if now + wait - self._since > self.give_up_s else wait
