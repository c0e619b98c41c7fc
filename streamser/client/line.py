"""Get a connection to a server, and get it again: the edge where websockets and time are."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from streamser.client.address import is_secure, shown
from streamser.client.errors import Broken, ServerError
from streamser.client.patience import Patience
from streamser.client.route import Route, unused_proxy
from streamser.client.verdict import judge_close, judge_status
from streamser.events import ErrorBody

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection
    from websockets.exceptions import ConnectionClosed

__all__ = ["Line", "Timing"]

_OPEN_S = 10.0
_CLOSE_S = 2.0
# A server that slows us down reads our pings late, behind up to 100 s of sound that it takes at
# eight times real time; one that is dead is to be noticed before it forgets a stream (30 s).
_PING_S = 5.0
_PONG_S = 20.0
_MESSAGES_AHEAD = 64
_MESSAGE_BYTES = 4 * 1024 * 1024
_TOO_BIG = 1009
_WRITE_BYTES = 65_536
"""What may wait in this process to be written; the system's own buffers come after."""


class Timing(msgspec.Struct, frozen=True):
    """Hold the clock in seconds, the sleep and the chance in [0, 1) that retries go by."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


class Line:
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
        timing: Timing,
    ) -> None:
        self.server = shown(server) + route.told
        self._route = route
        self._target = server
        self._headers = {} if token is None else {"Authorization": f"Bearer {_checked(token)}"}
        self._resume = resume
        self._patience = Patience(give_up_s, timing.chance)
        self._tell = tell or (lambda line: None)
        self._timing = timing
        self._known = False
        self._trouble = ""

    async def reach(self, url: Callable[[], str]) -> ClientConnection:
        """Return an open connection to what ``url`` gives at each try.

        Raises ``ServerError`` where the server refuses us, or the patience is at an end.
        """
        while True:
            try:
                return await self._open(url())
            except Broken as broken:
                await self.wait(broken)

    def say(self, what: str) -> None:
        """Tell people something about the server."""
        self._tell(f"{self.server}: {what}")

    def works(self) -> None:
        """Note that the server has let us in and answers."""
        if self._trouble:
            self.say("connected.")
        self._known, self._trouble = True, ""
        self._patience.up(self._timing.clock())

    async def wait(self, broken: Broken) -> None:
        """Wait until it is time to try again; raises ``ServerError`` where there is no sense."""
        vain = not self._known and broken.retry_after is None
        if vain or not self._resume:
            hint = "" if self._route.proxy else unused_proxy(self._target)
            fault = (
                f"{self.server}: {broken.why}. See that the server runs and the address is right."
                f"{hint}"
            )
            raise ServerError(fault, code="server_unreachable") from broken
        seconds = self._patience.lost(self._timing.clock(), broken.retry_after)
        if seconds is None:
            raise ServerError(
                f"{self.server}: {broken.why}; given up after {self._patience.give_up_s:.0f} s."
                " Start the server again, and then this.",
                code="server_unreachable",
            ) from broken
        if broken.why != self._trouble:
            self.say(f"{broken.why}; trying again.")
        self._trouble = broken.why
        await self._timing.sleep(seconds)

    def judge(self, closed: ConnectionClosed, said: ErrorBody | None) -> None:
        """Raise ``Broken`` or ``ServerError`` where a closed connection means that."""
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
            raise Broken(f"the proxy makes no connection ({fault})") from fault
        except InvalidHandshake as fault:
            # The cause says whether the other side hung up or does not speak websocket.
            what = f"no websocket server answers there ({fault})"
            raise Broken(f"{what}{self._otherwise('wss://')}") from fault
        except ssl.SSLCertVerificationError as fault:
            raise ServerError(
                f"{self.server}: its certificate is not believed ({fault.verify_message});"
                " give the PEM file of the certificate, or of who signed it, with --ca FILE"
                " (in Python, ca=…).",
                code="untrusted_certificate",
            ) from fault
        except (ssl.SSLError, ConnectionResetError) as fault:
            raise Broken(f"{_why(fault)}{self._otherwise('ws://')}") from fault
        except (OSError, TimeoutError) as fault:
            raise Broken(_why(fault)) from fault
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
