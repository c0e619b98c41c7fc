"""Carry a connection on to the server that has its meeting, where it has come to another one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeAlias

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection
    from websockets.asyncio.server import ServerConnection

__all__ = ["CARRIED", "Ended", "carry"]

CARRIED: Final = "X-Streamser-Carried"
"""A request with this header is carried no further, so that nothing goes in circles."""
_OPEN_S: Final = 5.0
_MESSAGE_BYTES: Final = 2**26
"""The other server has its own limit."""
_AHEAD: Final = 4
"""Messages of the other server that are read before the client has taken those before them."""

Ended: TypeAlias = tuple[int, str]
"""How a connection is to be closed: code and reason."""


async def carry(socket: ServerConnection, address: str, node: str) -> Ended:
    """Carry all messages between a client and the server at ``address``; return how it ended.

    ``node`` is the name of this server. A server that does not let the client in closes with what
    it said, one that cannot be reached with 1013: the client is to come again. So is
    one that was carried here already, as its meeting has just moved on.
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
    kept = ("Authorization", "Origin", "User-Agent")
    headers = {name: request.headers[name] for name in kept if name in request.headers}
    try:
        async with connect(
            address.rstrip("/") + request.path,
            subprotocols=offered or None,
            additional_headers={**headers, CARRIED: node},
            user_agent_header=None,
            compression=None,
            open_timeout=_OPEN_S,
            max_size=_MESSAGE_BYTES,
            max_queue=_AHEAD,
            proxy=None,
        ) as other:
            return await _between(socket, other)
    except InvalidStatus as refused:
        return _worded(refused)
    except (OSError, TimeoutError, WebSocketException):
        return 1013, "the server that has this meeting cannot be reached: retry in 1 s"


async def _between(socket: ServerConnection, other: Connection) -> Ended:
    ways = [asyncio.create_task(_pass(socket, other)), asyncio.create_task(_pass(other, socket))]
    try:
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if ways[1] in done:
            return ways[1].result()
        code, reason = ways[0].result()
        if _can_be_sent(code):
            await other.close(code, reason)
        else:
            # Who has vanished may come back, and is to be missed there as here.
            other.transport.abort()
        return code, reason
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pass(source: Connection, target: Connection) -> Ended:
    """Pass messages on until one of the two is closed; return how."""
    try:
        while True:
            await target.send(await source.recv())
    except ConnectionClosed as closed:
        if closed.rcvd is not None:
            return closed.rcvd.code, closed.rcvd.reason
        return 1006, ""


def _worded(refused: InvalidStatus) -> Ended:
    response = refused.response
    code = {401: 4401, 403: 4403, 404: 4404, 429: 1013, 503: 1013}.get(response.status_code, 1011)
    body = (response.body or b"").decode("utf-8", "replace")
    return code, body[:120].strip()


def _can_be_sent(code: int) -> bool:
    return code in (1000, 1001, 1011, 1012, 1013) or 3000 <= code < 5000
