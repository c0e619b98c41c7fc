"""What a client has asked of its server, and what of it must be asked again; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

__all__ = ["Kind", "Request", "Requests"]

Kind: TypeAlias = Literal[
    "session.update",
    "input_audio_buffer.commit",
    "input_audio_buffer.clear",
    "streamser.marker",
    "streamser.finish",
]

_BOUND_TO_SOUND: tuple[Kind, ...] = ("input_audio_buffer.commit", "input_audio_buffer.clear")
_GROUPS = ("audio", "input", "streamser")
"""What lies below, such as ``turn_detection``, is replaced as a whole."""


class Request(msgspec.Struct, kw_only=True):
    """Hold one request: it belongs behind the frame ``at`` of the stream.

    ``repeated``: it was answered before, by a session that is no more.
    """

    event_id: str
    kind: Kind
    at: int
    body: Mapping[str, Any]
    sent: bool = False
    answered: bool = False
    repeated: bool = False

    def text(self) -> str:
        """Write it as a message."""
        message = {"type": self.kind, "event_id": self.event_id, **self.body}
        return msgspec.json.encode(message).decode()


class Requests:
    """Keep requests in their order until nothing can make them necessary again.

    An answered commit is needed for as long as its utterance has no final: a restarted server
    gets the sound again, and must cut it at the same place. Settings are needed for ever.
    """

    def __init__(self) -> None:
        self._all: list[Request] = []
        self._settings: dict[str, Any] = {}
        self._count = 0

    @property
    def finishing(self) -> bool:
        """Return whether the end of the stream was asked for."""
        return any(request.kind == "streamser.finish" for request in self._all)

    @property
    def complete(self) -> bool:
        """Return whether the end was sent, and everything before it was answered."""
        return self.finishing and all(
            request.sent if request.kind == "streamser.finish" else request.answered
            for request in self._all
        )

    def add(self, kind: Kind, body: Mapping[str, Any], at: int) -> None:
        """Ask for something behind a frame, which is not before that of the last request."""
        self._all.append(self._request(kind, body, at))

    def next(self) -> Request | None:
        """Return the first request that is to be sent."""
        return next((request for request in self._all if not request.sent), None)

    def answered(self, kind: Kind, marker: str | None = None) -> bool:
        """Note that the oldest open request of a kind was answered; ``False``: there is none."""
        for request in self._all:
            same = request.kind == kind and (marker is None or request.body.get("id") == marker)
            if same and request.sent and not request.answered:
                self._close(request)
                return True
        return False

    def refused(self, event_id: str | None) -> bool:
        """Note that a request was refused; return whether that is news to the user."""
        for request in self._all:
            if request.event_id == event_id:
                self._all.remove(request)
                return not request.repeated
        return True

    def settled(self, frame: int) -> None:
        """Note that nothing before a frame will be sent again."""
        self._all = [
            request for request in self._all if not (request.answered and request.at <= frame)
        ]

    def resume(self, frame: int) -> None:
        """Send again what was not answered and stands behind a frame, the last one received."""
        for request in self._all:
            if not request.answered and request.at >= frame:
                request.sent = False

    def restart(self, frame: int) -> None:
        """Send again what a new session, whose sound begins at a frame, needs: settings first."""
        again = []
        if self._settings:
            again.append(self._request("session.update", {"session": self._settings}, frame))
        for request in self._all:
            over = request.kind in _BOUND_TO_SOUND and request.sent and request.at <= frame
            if over:
                continue
            request.at = max(request.at, frame)
            request.repeated |= request.answered
            request.sent = request.answered = False
            again.append(request)
        self._all = again

    def _request(self, kind: Kind, body: Mapping[str, Any], at: int) -> Request:
        self._count += 1
        return Request(event_id=f"client_{self._count}", kind=kind, at=at, body=body)

    def _close(self, request: Request) -> None:
        if request.kind in _BOUND_TO_SOUND:
            request.answered = True
            return
        self._all.remove(request)
        if request.kind == "session.update":
            self._settings = _joined(self._settings, request.body["session"])


def _joined(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Lay new settings over old ones, as a server does: only groups are joined."""
    joined = dict(old)
    for key, value in new.items():
        before = joined.get(key)
        if key in _GROUPS and isinstance(before, Mapping) and isinstance(value, Mapping):
            joined[key] = _joined(before, value)
        else:
            joined[key] = value
    return joined
