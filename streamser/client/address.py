"""The addresses of a server's endpoints, made from whatever a user calls the server."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from streamser.client.errors import ServerError

__all__ = ["EVENTS", "REALTIME", "address", "is_secure", "is_this_machine", "page", "shown"]

REALTIME = "/v1/realtime"
EVENTS = "/v1/events"

_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_SECRET = frozenset("@?#")
"""What may follow, or stand before, a password or a token."""


def address(url: str, path: str, query: Mapping[str, str | None]) -> str:
    """Return the websocket address of an endpoint of the server at ``url``.

    ``url`` is ``ws://``, ``wss://``, ``http://`` or ``https://``. ``path`` is put behind its own
    path, under which a proxy may have put the server; an endpoint at its end is replaced. Its own
    query stays, but for what ``query`` sets (``None``: not). Raises ``ServerError`` with the code
    ``invalid_url`` for anything else.
    """
    parts = _split(url)
    own = dict(parse_qsl(parts.query, keep_blank_values=True))
    given = {key: value for key, value in query.items() if value is not None}
    prefix = parts.path.rstrip("/")
    for endpoint in (REALTIME, EVENTS):
        prefix = prefix.removesuffix(endpoint)
    return SplitResult(
        _SCHEMES[parts.scheme],
        parts.netloc,
        prefix.rstrip("/") + path,
        urlencode(own | given),
        "",
    ).geturl()


def shown(url: str) -> str:
    """Return an address as it may be shown and logged: no token, stream secret or password."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return "an address that cannot be read"
    # A slash in a password makes its end look like a path.
    path = "" if "@" in parts.path else parts.path
    return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], path, "", "").geturl()


def page(url: str) -> str:
    """Return the address of the page of the server at ``url``, without secrets, for people.

    Raises ``ServerError`` for what is no address.
    """
    return f"http{shown(address(url, '/', {})).removeprefix('ws')}"


def is_secure(url: str) -> bool:
    """Return whether an address asks for TLS; raises ``ServerError`` for what is none."""
    return _SCHEMES[_split(url).scheme] == "wss"


def is_this_machine(url: str) -> bool:
    """Return whether an address means the machine that we run on, by its name or number.

    Raises ``ServerError`` for what is no address.
    """
    host = (_split(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        number = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    mapped = number.ipv4_mapped if isinstance(number, ipaddress.IPv6Address) else None
    number = mapped or number
    # Who connects to "every address" reaches this machine.
    return number.is_loopback or number.is_unspecified


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip())
        # The port is looked at only when asked for.
        usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
        # What cannot be a name of a machine is told here, and not by the resolver.
        usable = usable and bool((parts.hostname or "").encode("idna"))
    except ValueError:
        usable = False
    if not usable:
        told = "this" if _SECRET & set(url) else repr(url)
        raise ServerError(
            f"{told} is no address of a server: write it like ws://127.0.0.1:8377"
            " or wss://example.org",
            code="invalid_url",
        )
    return parts
