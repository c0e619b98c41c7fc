"""The addresses of a server's endpoints, made from whatever a user calls the server."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from streamser.client.errors import ServerError

__all__ = ["EVENTS", "REALTIME", "address", "shown"]

REALTIME = "/v1/realtime"
EVENTS = "/v1/events"

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}


def address(url: str, path: str, query: Mapping[str, str | None]) -> str:
    """Return the websocket address of an endpoint of the server at ``url``.

    ``url`` is ``ws://``, ``wss://``, ``http://`` or ``https://``; without a path of its own it
    gets ``path``. Its own query stays, but for what ``query`` sets (``None``: not). Raises
    ``ServerError`` with the code ``invalid_url`` for anything else.
    """
    parts = _split(url)
    own = dict(parse_qsl(parts.query, keep_blank_values=True))
    given = {key: value for key, value in query.items() if value is not None}
    return SplitResult(
        _SCHEMES[parts.scheme],
        parts.netloc,
        parts.path if parts.path.strip("/") else path,
        urlencode(own | given),
        "",
    ).geturl()


def shown(url: str) -> str:
    """Return an address as it may be shown and logged: no token, stream secret or password."""
    parts = urlsplit(url)
    return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "").geturl()


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        # The port is looked at only when asked for.
        usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        bare = url.split("?")[0].rpartition("@")[2]
        raise ServerError(
            f"{bare!r} is no address of a server: write it like ws://127.0.0.1:8377"
            " or wss://example.org",
            code="invalid_url",
        )
    return parts
