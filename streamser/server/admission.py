"""Whether there is room for one more, and how a refusal is told."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from streamser.events import ErrorBody
from streamser.server.lateness import Lateness
from streamser.server.pace import Visits
from streamser.settings import ServerSettings

__all__ = ["FULL", "Admission", "Refusal"]

FULL: Final = ("too_many_sessions", "too_many_sessions_of_token")
"""Codes of refusals for want of a place."""

_RETRY_S = 5
_VISITS: Final = 20.0
"""Connections of an owner a second, once it has come back with all that it may have, twice."""
_FEWEST_VISITS: Final = 100
_LOADING_S = 1
"""Models take seconds, and who has come early talks already."""


class Refusal(msgspec.Struct, frozen=True):
    """Say no: by an HTTP status, or where the socket is open already, by a close code.

    ``owner`` is the name of the token that was given, where it is known here.
    """

    status: int
    close_code: int
    code: str
    message: str
    retry_s: int | None = None
    owner: str | None = None

    def of(self, owner: str) -> Refusal:
        """Return the same, said to the owner of a token."""
        return msgspec.structs.replace(self, owner=owner)

    @property
    def error(self) -> ErrorBody:
        """Return the error for programs."""
        kind: Literal["server_error", "invalid_request_error"]
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return ErrorBody(type=kind, code=self.code, message=self.message)

    @property
    def reason(self) -> str:
        """Return the reason for a close frame, which holds 123 bytes."""
        retry = "" if self.retry_s is None else f"; retry in {self.retry_s} s"
        return f"{self.code}{retry}"


class Admission:
    """Count who is here, and know how late finals are; ``now`` is the clock for that.

    With ``shares`` no owner has more than ``server.token_share`` of the places.
    """

    def __init__(self, settings: ServerSettings, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._streams: Counter[str] = Counter()
        self._listeners: Counter[str] = Counter()
        self._lateness = Lateness(settings.late_s)
        places = settings.max_sessions + settings.max_listeners
        self._visits = Visits(max(_FEWEST_VISITS, 2 * places), _VISITS)
        self._now = now
        self.shares = False
        self.draining = False
        self.closing = False
        self.ready = False
        self.has_models: Callable[[], bool] = lambda: True
        """Says, once all is ready, whether the models still are: they may go, and come again."""
        self.gives_way: Callable[[], bool] = lambda: False
        """Says whether a stream without a client holds a place."""
        self.waiting_s: Callable[[], float] = lambda: 0.0
        """Says how long the oldest final has waited for its models."""

    @property
    def streams(self) -> int:
        """Return how many streams there are."""
        return self._streams.total()

    @property
    def listeners(self) -> int:
        """Return how many listeners there are."""
        return self._listeners.total()

    @property
    def leaving(self) -> bool:
        """Return whether no stream is let in any more."""
        return self.closing or self.draining

    @property
    def late_s(self) -> float:
        """Return how late finals are at the moment (s)."""
        return self._lateness.seconds(self.waiting_s(), self._now())

    @property
    def late(self) -> bool:
        """Return whether finals are too late for newcomers."""
        return self._lateness.is_late(self.waiting_s(), self._now())

    @property
    def serving(self) -> bool:
        """Return whether the models are there."""
        return self.ready and self.has_models()

    @property
    def crowded(self) -> bool:
        """Return whether it is full, and nobody who has vanished would give way."""
        return self.full and not self.gives_way()

    @property
    def full(self) -> bool:
        """Return whether no stream more can be taken in."""
        return self.streams >= self._settings.max_sessions

    def refuse_visit(self, owner: str) -> Refusal | None:
        """Return why a connection of this token's owner comes too soon, if it does."""
        if self._visits.admit(owner, self._now()):
            return None
        return _busy("too_many_visits", f"the token {owner!r} connects again and again")

    def refuse_stream(self, owner: str) -> Refusal | None:
        """Return why a stream of this token's owner cannot be taken in, if it cannot."""
        settings = self._settings
        if (unfit := self._unfit()) is not None:
            return unfit
        if self.full:
            return _busy(
                "too_many_sessions", f"all places for streams are taken ({settings.max_sessions})"
            )
        most = self._share(settings.max_sessions)
        if self._streams[owner] >= most:
            message = f"the token {owner!r} has as many streams as it may ({most})"
            return _busy("too_many_sessions_of_token", message)
        if self.late:
            message = f"finals are {self.late_s:.1f} s late, and one more would make it worse"
            return _busy("overloaded", message)
        return None

    def refuse_listener(self, owner: str) -> Refusal | None:
        """Return why a listener cannot be taken in, if it cannot."""
        if self.closing:
            return self._unfit()
        if self.listeners >= self._settings.max_listeners:
            most = self._settings.max_listeners
            return _busy("too_many_listeners", f"all places for listeners are taken ({most})")
        most = self._share(self._settings.max_listeners)
        if self._listeners[owner] >= most:
            message = f"the token {owner!r} has as many listeners as it may ({most})"
            return _busy("too_many_listeners_of_token", message)
        return None

    def answered(self, took_s: float) -> bool:
        """Take note how long after its utterance a final was told; returns if that was too long."""
        return self._lateness.note(took_s, self._now())

    def enter_stream(self, owner: str) -> None:
        """Count a stream."""
        self._streams[owner] += 1

    def leave_stream(self, owner: str) -> None:
        """Count a stream no more."""
        self._streams[owner] -= 1
        if not self._streams[owner]:
            del self._streams[owner]

    def enter_listener(self, owner: str) -> None:
        """Count a listener."""
        self._listeners[owner] += 1

    def leave_listener(self, owner: str) -> None:
        """Count a listener no more."""
        self._listeners[owner] -= 1
        if not self._listeners[owner]:
            del self._listeners[owner]

    def _share(self, places: int) -> int:
        return max(1, int(places * self._settings.token_share)) if self.shares else places

    def _unfit(self) -> Refusal | None:
        if self.leaving:
            return _busy("shutting_down", "the server is about to end")
        if not self.serving:
            return _busy("not_ready", "the server is loading its models", _LOADING_S)
        return None


def _busy(code: str, message: str, retry_s: int = _RETRY_S) -> Refusal:
    return Refusal(503, 1013, code, f"{message}: try again in {retry_s} s", retry_s)
