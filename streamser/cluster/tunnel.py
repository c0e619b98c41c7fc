"""Carry a connection on to the server that has its meeting, where it has come to another one."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import quote

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from streamser.errors import describe

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection
    from websockets.asyncio.server import ServerConnection

__all__ = ["CARRIED", "FORWARDED", "Ended", "Way", "carry"]

logger = logging.getLogger(__name__)

CARRIED: Final = "X-Streamser-Carried"
"""A request with this header is carried no further, so that nothing goes in circles."""
FORWARDED: Final = "X-Forwarded-For"
"""To it each proxy adds, at the end, the address that has connected to it."""
_CODES: Final = {400: 1008, 401: 4401, 403: 4403, 404: 4404, 429: 1013, 503: 1013}
"""With what a server closes for which status."""
_OPEN_S: Final = 5.0
_MESSAGE_BYTES: Final = 2**26
"""The other server has its own limit."""
_AHEAD: Final = 4
"""Messages of the other server that are read before the client has taken those before them."""

Ended: TypeAlias = tuple[int, str]
"""How a connection is to be closed: code and reason."""


class _Fault(msgspec.Struct):
    code: str


class _Refused(msgspec.Struct):
    error: _Fault


class Way(msgspec.Struct, frozen=True, eq=False):
    """Say how connections are carried on from this server.

    ``node`` is its name, ``tls`` what the certificates of others are looked at with, if not as
    usual. They end once ``leaving`` is set.
    """

    node: str
    tls: ssl.SSLContext | None
    leaving: asyncio.Event


async def carry(socket: ServerConnection, address: str, way: Way, client: str | None) -> Ended:
    """Carry all messages between a client and the server at ``address``; return how it ended.

    ``client`` is its address, of which the other server is told. A server that does not let the
    client in closes with what it said, one that cannot be reached with 1013: the client is to
    come again. So is one that was carried here already, as its meeting has just moved on; who says
    so without having been carried harms itself alone. Its page was looked at here: the other
    server is called otherwise, and would refuse it.
    """
    request = socket.request
    assert request is not None, "it has been let in"
    if CARRIED in request.headers:
        return 1013, "this meeting moves to another server: retry in 1 s"
    offered = [
        Subprotocol(name.strip())
        for header in request.headers.get_all("Sec-WebSocket-Protocol")
        for name in header.split(",")
    ]
    kept = ("Authorization", "User-Agent")
    headers = {name: request.headers[name] for name in kept if name in request.headers}
    if client is not None:
        headers[FORWARDED] = client
    own = way.tls is not None and address.startswith("wss://")
    secure: dict[str, Any] = {"ssl": way.tls} if own else {}
    try:
        async with connect(
            address.rstrip("/") + _as_written(request.path),
            subprotocols=offered or None,
            additional_headers={**headers, CARRIED: way.node},
            user_agent_header=None,
            compression=None,
            open_timeout=_OPEN_S,
            max_size=_MESSAGE_BYTES,
            max_queue=_AHEAD,
            proxy=None,
            **secure,
        ) as other:
            return await _between(socket, other, way.leaving)
    except InvalidStatus as refused:
        return _worded(refused)
    except (OSError, TimeoutError, ValueError, WebSocketException) as fault:
        # It says what is wrong with a certificate.
        logger.warning("cluster: %s cannot be reached: %s", address, describe(fault))
        return 1013, "the server that has this meeting cannot be reached: retry in 1 s"


async def _between(socket: ServerConnection, other: Connection, leaving: asyncio.Event) -> Ended:
    ways = [asyncio.create_task(_pass(socket, other)), asyncio.create_task(_pass(other, socket))]
    end = asyncio.create_task(leaving.wait())
    try:
        done, _ = await asyncio.wait([*ways, end], return_when=asyncio.FIRST_COMPLETED)
        if ways[1] in done:
            return ways[1].result()
        code, reason = ways[0].result() if ways[0] in done else (1006, "")
        if _can_be_sent(code):
            await other.close(code, reason)
        else:
            # Who has vanished may come back, and is to be missed there as here.
            other.transport.abort()
        return (code, reason) if ways[0] in done else (1001, "the server is going away")
    finally:
        for task in (*ways, end):
            task.cancel()
        await asyncio.gather(*ways, end, return_exceptions=True)


async def _pass(source: Connection, target: Connection) -> Ended:
    """Pass messages on until one of the two is closed; return how."""
    try:
        # Not by recv: a client's socket notes of each message when it came, until it is taken so.
        async for message in source:
            await target.send(message)
        goodbye = source.protocol.close_rcvd
    except ConnectionClosed as closed:
        goodbye = closed.rcvd
    return (1006, "") if goodbye is None else (goodbye.code, goodbye.reason)


def _as_written(target: str) -> str:
    """Return a request's target as an address may have it: clients send other signs, too."""
    return quote(target, safe="/?:@!$&'()*+,;=%[]~")


def _worded(refused: InvalidStatus) -> Ended:
    """Close as the other server would have, had it opened the socket."""
    response = refused.response
    code = _CODES.get(response.status_code, 1011)
    try:
        said = msgspec.json.decode(response.body or b"", type=_Refused).error.code[:80]
    except (msgspec.DecodeError, ValueError):
        said = f"the server that has this meeting says {response.status_code}"
    retry_s = response.headers.get("Retry-After", "")[:8]
    return code, said + (f"; retry in {retry_s} s" if retry_s.isdigit() else "")


def _can_be_sent(code: int) -> bool:
    return code in (1000, 1001, 1011, 1012, 1013) or 3000 <= code < 5000
