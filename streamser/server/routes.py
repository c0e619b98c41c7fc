"""What the server answers to plain HTTP: page, health, metrics, schemas."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus

import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Response

from streamser.server.admission import Admission, Refusal
from streamser.server.auth import Principal
from streamser.server.gate import Call, Gate
from streamser.server.metrics import CONTENT_TYPE, Metrics
from streamser.server.page import read_page, security, with_statement
from streamser.server.protocol import protocol_json
from streamser.server.room import LiveMeeting

__all__ = ["Routes", "refuse", "without_body"]

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


class Routes:
    """Answer requests to read; each costs little, and none waits.

    ``gate`` says whose calls are answered; health is told to everybody, the metrics, which tell
    how much is going on, to those who may listen or read them, and the ``meetings`` that are held
    to those who may listen, each of a bound token its own. ``is_whole`` says whether all was kept
    so far that is to be; ``statement`` is what the page says of the server before the consent
    (HTML).
    """

    def __init__(
        self,
        admission: Admission,
        metrics: Metrics,
        gate: Gate,
        statement: str,
        meetings: Callable[[], Sequence[LiveMeeting]],
        is_whole: Callable[[], bool] = lambda: True,
    ) -> None:
        self._is_whole = is_whole
        self._gate = gate
        self._admission = admission
        self._metrics = metrics
        self._meetings = meetings
        self._unstated = read_page()
        self.state(statement)
        self._protocol = protocol_json()

    def state(self, statement: str) -> None:
        """Let the page say something else of the server from now on."""
        self._page = with_statement(self._unstated, statement)

    def answer(self, call: Call) -> Response | Refusal:
        """Answer a call, by its path."""
        path = call.path
        match path:
            case "/healthz":
                return _respond(200, _TEXT, b"ok\n")
            case "/readyz":
                return self._ready()
        if (stranger := self._gate.judge_host(call)) is not None:
            return stranger
        match path:
            case "/metrics":
                return self._guarded(call, CONTENT_TYPE, lambda _: self._metrics.render())
            case "/v1/meetings":
                return self._guarded(call, _JSON, self._list_meetings)
            case "/v1/protocol.json":
                return _respond(200, _JSON, self._protocol)
        asset = self._page.get(path)
        if asset is None:
            return refuse(Refusal(404, 1008, "not_found", f"there is nothing at {path[:80]}"))
        return _respond(200, asset.media_type, asset.body, host=call.host)

    def _list_meetings(self, principal: Principal) -> bytes:
        own = principal.meeting
        meetings = [each for each in self._meetings() if own in (None, each.meeting)]
        return msgspec.json.encode({"meetings": meetings}) + b"\n"

    def _guarded(
        self, call: Call, media_type: str, write: Callable[[Principal], bytes]
    ) -> Response | Refusal:
        """Answer those alone who may read it."""
        visitor = self._gate.admit(call)
        if isinstance(visitor, Refusal):
            return visitor
        return _respond(200, media_type, write(visitor))

    def _ready(self) -> Response:
        admission = self._admission
        for hindered, why in (
            (admission.leaving, "shutting_down"),
            (not admission.serving, "not_ready"),
            (admission.crowded, "too_many_sessions"),
            (admission.late, "overloaded"),
        ):
            if hindered:
                return _respond(503, _TEXT, f"{why}\n".encode(), retry_s=5)
        # No reason to send clients elsewhere: who is there is heard and answered.
        ready = b"ready\n" if self._is_whole() else b"ready\nexport_incomplete\n"
        return _respond(200, _TEXT, ready)


def refuse(refusal: Refusal) -> Response:
    """Answer with a refusal, for programs."""
    body = json.dumps({"error": msgspec.to_builtins(refusal.error)}).encode() + b"\n"
    return _respond(refusal.status, _JSON, body, retry_s=refusal.retry_s)


def without_body(response: Response, method: str) -> Response:
    """Return an answer as the method wants it: that to ``HEAD`` is a head alone."""
    if method == "HEAD":
        response.body = b""
    return response


def _respond(
    status: int,
    media_type: str,
    body: bytes,
    *,
    retry_s: int | None = None,
    host: str | None = None,
) -> Response:
    headers = Headers(
        {
            "Content-Type": media_type,
            "Content-Length": str(len(body)),
            "Connection": "close",
            **security(host),
        }
    )
    if retry_s is not None:
        headers["Retry-After"] = str(retry_s)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="streamser"'
    if status == 405:
        headers["Allow"] = "GET, HEAD"
    if status == 426:
        headers["Upgrade"] = "websocket"
    return Response(status, HTTPStatus(status).phrase, headers, body)
