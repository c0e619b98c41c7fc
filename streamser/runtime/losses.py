"""Count what could not be kept up with, and say so without flooding."""

from __future__ import annotations

from typing import Literal

from streamser.audio.clip import to_ms, to_samples
from streamser.events import Overload
from streamser.runtime.outbox import Draft, draft

__all__ = ["Losses"]

_TELL_EVERY = to_samples(1000)


class Losses:
    """Count losses of one kind: partial readings, or samples of sound.

    At most one ``streamser.overload`` a second of audio; what came in between is added up in
    the next, or in the one that ``tell`` gives at the end.
    """

    def __init__(self, kind: Literal["partials", "audio"]) -> None:
        self.total = 0
        self._kind = kind
        self._amount = 0
        self._since: int | None = None
        self._told: int | None = None
        self._reason = ""

    @property
    def total_ms(self) -> int:
        """Return the total as ms of sound."""
        return to_ms(self.total)

    def count(self, amount: int) -> None:
        """Count a loss that is nobody's trouble."""
        self.total += amount

    def note(self, amount: int, reason: str, position: int) -> Draft | None:
        """Count a loss at an absolute sample; returns the event if one is due."""
        self.total += amount
        self._amount += amount
        self._reason = reason
        if self._since is None:
            self._since = position
        if self._told is None or position - self._told >= _TELL_EVERY:
            return self.tell(position)
        return None

    def tell(self, position: int) -> Draft | None:
        """Return an event for what has not been told yet, if there is any."""
        if self._since is None:
            return None
        audio = self._kind == "audio"
        event = draft(
            Overload,
            kind=self._kind,
            dropped=to_ms(self._amount) if audio else self._amount,
            total=self.total_ms if audio else self.total,
            since_ms=to_ms(self._since),
            reason=self._reason,
        )
        self._amount, self._since, self._told = 0, None, position
        return event
