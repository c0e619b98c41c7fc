"""Get a connection to a server, and get it again: the edge where websockets and time are."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from streamser.client.wire import (
    ConnectionLost,
    Route,
    ServerError,
    is_secure,
    redacted,
    unused_proxy,
)
from streamser.events import ErrorBody

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosed

_OPEN_S = 10.0
_CLOSE_S = 2.0
# A server that slows us down reads our pings late, behind up to 100 s of sound that it takes at
# eight times real time; one that is dead is to be noticed before it forgets a stream (30 s).
_PING_S = 5.0
_PONG_S = 20.0
_MESSAGES_AHEAD = 64
_MESSAGE_BYTES = 4 * 1024 * 1024
_TOO_BIG = 1009
_ENDED = 4408
"""The server's limits are reached; its reason is one of its codes."""
_WRITE_BYTES = 65_536
"""What may wait in this process to be written; the system's own buffers come after."""

_FIRST_S = 0.25
# A server holds a stream for 30 s: several tries must fall into that.
_LONGEST_S = 5.0
_STEADY_S = 10.0
"""A connection that breaks sooner is part of the same outage."""

_PASSING_CODES = frozenset({1001, 1005, 1006, 1011, 1012, 1013, 1015})
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})
_RETRY = re.compile(r"retry in (\d+(?:\.\d+)?)\s*s")
_LONGEST_RETRY_S = 3600.0
_TOKEN_ADVICE = "give the right one (--token, STREAMSER_TOKEN; in Python, token=…)"
_STATUS_ADVICE = {
    401: f"the server wants a token: {_TOKEN_ADVICE}",
    403: "this token may not do that: give one with the right role",
    404: "there is no streamser server at this address: see its host, port and path",
}
_SENDS_ON = "it sends us on to another address, where we do not follow; give the one that it means"
_CLOSE_ADVICE = {
    1008: "the server says that we broke a rule",
    1009: "the server found a message too big: send smaller chunks",
    4401: _STATUS_ADVICE[401],
    4403: _STATUS_ADVICE[403],
    4408: "the server ended the session: it was idle, or too long; connect anew",
}
_WITHDRAWN = f"the server does not take our token any more: {_TOKEN_ADVICE}"


class RetryTiming(msgspec.Struct, frozen=True):
    """Hold the clock in seconds, the sleep and the chance in [0, 1) that retries go by."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


class Reconnector:
    """Connect to one server, as often as it takes.

    The first connection is had at once or not at all, unless the server asks to come back
    later. ``tell`` gets single lines meant for people. With ``resume`` false there is one
    connection and no other. Raises ``ServerError`` for what cannot be a token.
    """

    def __init__(
        self,
        server: str,
        token: str | None,
        route: Route,
        *,
        resume: bool,
        give_up_s: float,
        tell: Callable[[str], None] | None,
        timing: RetryTiming,
    ) -> None:
        self.server = redacted(server) + route.told
        self._route = route
        self._target = server
        self._headers = {} if token is None else {"Authorization": f"Bearer {_checked(token)}"}
        self._resume = resume
        self._backoff = ReconnectBackoff(give_up_s, timing.chance)
        self._tell = tell or (lambda line: None)
        self._timing = timing
        self._known = False
        self._trouble = ""

    async def connect(self, url: Callable[[], str]) -> ClientConnection:
        """Return an open connection to what ``url`` gives at each try.

        Raises ``ServerError`` where the server refuses us, or the patience is at an end.
        """
        while True:
            try:
                return await self._open(url())
            except ConnectionLost as broken:
                await self.wait(broken)

    def say(self, what: str) -> None:
        """Tell people something about the server."""
        self._tell(f"{self.server}: {what}")

    def mark_connected(self) -> None:
        """Note that the server has let us in and answers."""
        if self._trouble:
            self.say("connected.")
        self._known, self._trouble = True, ""
        self._backoff.connected(self._timing.clock())

    async def wait(self, broken: ConnectionLost) -> None:
        """Wait until it is time to try again; raises ``ServerError`` where there is no sense."""
        vain = not self._known and broken.retry_after is None
        if vain or not self._resume:
            hint = "" if self._route.proxy else unused_proxy(self._target)
            fault = (
                f"{self.server}: {broken.why}. See that the server runs and the address is right."
                f"{hint}"
            )
            raise ServerError(fault, code="server_unreachable") from broken
        seconds = self._backoff.next_wait_s(self._timing.clock(), broken.retry_after)
        if seconds is None:
            raise ServerError(
                f"{self.server}: {broken.why}; given up after {self._backoff.give_up_s:.0f} s."
                " Start the server again, and then this.",
                code="server_unreachable",
            ) from broken
        if broken.why != self._trouble:
            self.say(f"{broken.why}; trying again.")
        self._trouble = broken.why
        await self._timing.sleep(seconds)

    def judge(self, closed: ConnectionClosed, said: ErrorBody | None) -> None:
        """Raise ``ConnectionLost`` or ``ServerError`` where a closed connection means that."""
        if closed.sent is not None and closed.sent.code == _TOO_BIG and not closed.rcvd_then_sent:
            # It would be as long the next time.
            raise ServerError(
                f"{self.server}: it sent a message of over {_MESSAGE_BYTES // 2**20} MiB, and no"
                " event is that long: see that it is a streamser server.",
                code="message_too_big",
            ) from closed
        # 1006 is what has no close frame, as RFC 6455 has it.
        code, reason = 1006, ""
        if closed.rcvd is not None:
            code, reason = closed.rcvd.code, closed.rcvd.reason
        verdict = judge_close(code, reason, said, self.server)
        if verdict is not None:
            raise verdict from closed

    def _otherwise(self, scheme: str) -> str:
        """Say to whom nobody has answered yet that it may be the wrong kind of address."""
        secure = scheme == "wss://"
        if self._known or is_secure(self._target) == secure:
            return ""
        lacks = "wants TLS" if secure else "speaks no TLS"
        return f"; if it {lacks}, write {scheme}"

    async def _open(self, url: str) -> ClientConnection:
        from websockets.asyncio.client import connect
        from websockets.exceptions import (
            InvalidHandshake,
            InvalidStatus,
            ProxyError,
            WebSocketException,
        )

        class ConnectHere(connect):
            """Connect to what was asked for: no other place gets a token, or sound."""

            def process_redirect(self, exc: Exception) -> Exception:
                return exc

        # Without TLS the library takes no word about it, not even none.
        tls: dict[str, Any] = {} if self._route.tls is None else {"ssl": self._route.tls}
        try:
            return await ConnectHere(
                url,
                additional_headers=self._headers,
                # Sound does not shrink, and events are short.
                compression=None,
                proxy=self._route.proxy,
                open_timeout=_OPEN_S,
                close_timeout=_CLOSE_S,
                ping_interval=_PING_S,
                ping_timeout=_PONG_S,
                max_size=_MESSAGE_BYTES,
                max_queue=_MESSAGES_AHEAD,
                write_limit=_WRITE_BYTES,
                **tls,
            )
        except InvalidStatus as refused:
            answer = refused.response
            raise judge_status(
                answer.status_code,
                answer.headers.get("Retry-After"),
                bytes(answer.body or b""),
                self.server,
            ) from refused
        except ProxyError as fault:
            raise ConnectionLost(f"the proxy makes no connection ({fault})") from fault
        except InvalidHandshake as fault:
            # The cause says whether the other side hung up or does not speak websocket.
            what = f"no websocket server answers there ({fault})"
            raise ConnectionLost(f"{what}{self._otherwise('wss://')}") from fault
        except ssl.SSLCertVerificationError as fault:
            raise ServerError(
                f"{self.server}: its certificate is not believed ({fault.verify_message});"
                " give the PEM file of the certificate, or of who signed it, with --ca FILE"
                " (in Python, ca=…).",
                code="untrusted_certificate",
            ) from fault
        except (ssl.SSLError, ConnectionResetError) as fault:
            raise ConnectionLost(f"{_why(fault)}{self._otherwise('ws://')}") from fault
        except (OSError, TimeoutError) as fault:
            raise ConnectionLost(_why(fault)) from fault
        except WebSocketException as fault:
            # Its own words may repeat the address, with its secrets.
            raise ServerError(
                f"{self.server}: no connection can be made to this address"
                f" ({type(fault).__name__}).",
                code="invalid_url",
            ) from fault


def _why(fault: OSError | TimeoutError) -> str:
    """Say in a few words why there is no connection."""
    if isinstance(fault, TimeoutError):
        return f"no answer within {_OPEN_S:.0f} s"
    if isinstance(fault, socket.gaierror):
        return "no machine of this name was found"
    if isinstance(fault, ssl.SSLError):
        return f"its TLS is not in order ({fault.reason})"
    # Where a name has several addresses, asyncio says all their troubles in one line.
    if isinstance(fault, ConnectionRefusedError) or "Connect call failed" in str(fault):
        return "nobody listens there (connection refused)"
    # Some are raised without a word, such as a reset in the middle of TLS.
    return fault.strerror or str(fault) or "the connection broke"


def _checked(token: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token or not token:
        raise ServerError(
            "this is no token: one has letters, digits and signs of ASCII, and no spaces",
            code="invalid_token",
        )
    return token


class ReconnectBackoff:
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

    def connected(self, now: float) -> None:
        """Note that there is a connection."""
        self._up = now

    def next_wait_s(self, now: float, retry_after: float | None = None) -> float | None:
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


class _Refusal(msgspec.Struct):
    error: ErrorBody


def judge_status(
    status: int, retry_after: str | None, body: bytes, server: str
) -> ConnectionLost | ServerError:
    """Say what an HTTP answer other than an open websocket means.

    ``retry_after`` and ``body`` are the answer's header and content, ``server`` its address as
    it may be shown.
    """
    said = _said(body)
    if status in _PASSING_STATUSES:
        why = said.message if said is not None else f"it answers with HTTP {status}"
        return ConnectionLost(why, _seconds(retry_after) if status in (429, 503) else None)
    if 300 <= status < 400:
        # Its own words may repeat the address, with its secrets.
        return ServerError(f"{server}: {_SENDS_ON}.", code="invalid_url")
    why = _STATUS_ADVICE.get(status, f"it answers with HTTP {status}: see the address")
    if said is not None:
        # How a token is given in the protocol is of no use to whom this line is for.
        what = said.message.partition(";")[0]
        why = f"{what}: {_TOKEN_ADVICE}" if status == 401 else said.message
    return ServerError(
        f"{server}: {why}",
        code=said.code if said is not None else None,
    )


def judge_close(
    code: int, reason: str, said: ErrorBody | None, server: str
) -> ConnectionLost | ServerError | None:
    """Say what the end of a connection means; ``None``: the stream is over, all is well.

    ``said`` is what the server had to say before, if it refused us.
    """
    if code == 1000:
        return None
    if code in _PASSING_CODES:
        retry = _RETRY.search(reason)
        asked = min(float(retry[1]), _LONGEST_RETRY_S) if retry is not None else None
        why = said.message if said is not None else reason or _passing(code)
        return ConnectionLost(why, asked if asked is not None or code != 1013 else 1.0)
    if code == 1008 and reason == "unauthorized":
        return ServerError(f"{server}: {_WITHDRAWN}", code=reason)
    advice = _CLOSE_ADVICE.get(code, f"the server closed the connection with code {code}")
    detail = said.message if said is not None else f"{advice} ({reason})" if reason else advice
    ended = reason if code == _ENDED else None
    return ServerError(f"{server}: {detail}", code=said.code if said is not None else ended or None)


def _passing(code: int) -> str:
    if code in (1001, 1012):
        return "the server is going away"
    if code == 1013:
        return "the server is full, or we were too slow for it"
    return "the connection broke"


def _seconds(header: str | None) -> float:
    try:
        # A date is allowed as well; nobody sends one for a wait of seconds.
        return min(max(0.0, float(header or "")), _LONGEST_RETRY_S)
    except ValueError:
        return 1.0


def _said(body: bytes) -> ErrorBody | None:
    try:
        return msgspec.json.decode(body, type=_Refusal).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
