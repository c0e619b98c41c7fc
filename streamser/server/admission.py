"""Whether there is room for one more, and how a refusal is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

import msgspec

from streamser.config import ServerSettings
from streamser.events import ErrorBody

__all__ = ["Admission", "Refusal"]

_RETRY_S = 5
_LOADING_S = 1
"""Models take seconds, and who has come early talks already."""


class Refusal(msgspec.Struct, frozen=True):
    """Say no: by an HTTP status, or where the socket is open already, by a close code."""

    status: int
    close_code: int
    code: str
    message: str
    retry_s: int | None = None

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
    """Count who is here; pure."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._streams: Counter[str] = Counter()
        self.listeners = 0
        self.closing = False
        self.ready = False
        self.has_models: Callable[[], bool] = lambda: True
        """Says, once all is ready, whether the models still are: they may go, and come again."""

    @property
    def streams(self) -> int:
        """Return how many streams there are."""
        return self._streams.total()

    @property
    def serving(self) -> bool:
        """Return whether the models are there."""
        return self.ready and self.has_models()

    @property
    def full(self) -> bool:
        """Return whether no stream more can be taken in."""
        return self.streams >= self._settings.max_sessions

    def refuse_stream(self, owner: str) -> Refusal | None:
        """Return why a stream of this token's owner cannot be taken in, if it cannot."""
        settings = self._settings
        if (unfit := self._unfit()) is not None:
            return unfit
        if self.full:
            return _busy("too_many_sessions", f"all {settings.max_sessions} streams are in use")
        if self._streams[owner] >= settings.max_token_sessions:
            message = f"the token {owner!r} has {settings.max_token_sessions} streams already"
            return _busy("too_many_sessions_of_token", message)
        return None

    def refuse_listener(self) -> Refusal | None:
        """Return why a listener cannot be taken in, if it cannot."""
        if self.closing:
            return self._unfit()
        if self.listeners >= self._settings.max_listeners:
            most = self._settings.max_listeners
            return _busy("too_many_listeners", f"all {most} places for listeners are taken")
        return None

    def enter_stream(self, owner: str) -> None:
        """Count a stream."""
        self._streams[owner] += 1

    def leave_stream(self, owner: str) -> None:
        """Count a stream no more."""
        self._streams[owner] -= 1
        if not self._streams[owner]:
            del self._streams[owner]

    def _unfit(self) -> Refusal | None:
        if self.closing:
            return _busy("shutting_down", "the server is about to end")
        if not self.serving:
            return _busy("not_ready", "the server is loading its models", _LOADING_S)
        return None


def _busy(code: str, message: str, retry_s: int = _RETRY_S) -> Refusal:
    return Refusal(503, 1013, code, f"{message}: try again in {retry_s} s", retry_s)
