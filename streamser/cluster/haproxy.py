"""Write the configuration of an HAProxy that brings every meeting to one server."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from streamser.cluster.tunnel import CARRIED
from streamser.errors import ConfigError
from streamser.text import read_place

__all__ = ["Backend", "haproxy_config", "read_backend"]


_HOST: Final = re.compile(r"[A-Za-z0-9_.-]*|\*|\[?[0-9A-Fa-f:.]+\]?")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_./+-]+")
_RESOLVERS = """
resolvers names
    parse-resolv-conf
    accepted_payload_size 8192
    resolve_retries 3
    timeout resolve 1s
    timeout retry 1s
    hold valid 1s
    # A name server that is away for a while takes nobody with it.
    hold timeout 60s
    hold refused 60s
    hold other 60s
    # But a server that is gone is gone.
    hold nx 5s
    hold obsolete 5s
"""


class Backend(msgspec.Struct, frozen=True):
    """Name a server, and where HAProxy finds it: host and port."""

    name: str
    place: str


def read_backend(given: str) -> Backend:
    """Read ``NAME=HOST:PORT``; raises ``ConfigError``."""
    name, _, place = given.partition("=")
    host = place.rpartition(":")[0]
    plain = name.replace("-", "").replace("_", "").replace(".", "")
    if not (plain.isascii() and plain.isalnum() and host and _is_place(place)):
        raise ConfigError(f"--node {given[:80]}: write it like a=10.0.0.5:8377.")
    return Backend(name, place)


def haproxy_config(
    backends: Sequence[Backend],
    bind: str = ":8080",
    *,
    certificate: str | None = None,
    resolve: bool = False,
) -> str:
    """Return a configuration for HAProxy 2.6 or newer.

    A connection is placed by its meeting: the query's ``meeting``, else the header
    ``X-Streamser-Meeting``; without one by its stream's secret, else anywhere. Hashing is
    consistent: a server more or less moves the meetings of one share. It goes by the servers'
    names: neither their order nor their addresses matter, and all HAProxies agree.
    ``bind`` is HOST:PORT or :PORT, ``certificate`` a PEM file for TLS. With ``resolve`` hosts are
    looked up anew all the time: one whose name nobody knows is not there yet. Raises
    ``ConfigError`` where two servers have one name, or there is none, and for what HAProxy could
    not read.
    """
    names = [backend.name for backend in backends]
    if not names:
        raise ConfigError("give the servers: --node a=HOST:PORT --node b=HOST:PORT.")
    if len({_number_of(name) for name in names}) < len(names):
        raise ConfigError("each --node needs a name of its own: call one of them otherwise.")
    if not _is_place(bind):
        raise ConfigError(f"--bind {bind[:80]}: write it like :8080 or 10.0.0.4:443.")
    if certificate and ("'" in certificate or not certificate.isprintable()):
        raise ConfigError(
            "--tls: HAProxy cannot be told of a file of this name: call it otherwise."
        )
    tls = f" ssl crt {certificate}" if certificate else ""
    if certificate and not _PLAIN.fullmatch(certificate):
        tls = f" ssl crt '{certificate}'"
    servers = "\n".join(
        f"    server {backend.name} {backend.place} id {_number_of(backend.name)} check"
        for backend in backends
    )
    found = " resolvers names init-addr none resolve-prefer ipv4" if resolve else ""
    return f"""\
# Written by `streamser cluster haproxy`.
defaults
    mode http
    timeout connect 2s
    timeout client 75s
    timeout server 75s
    # Websockets last for hours; each side asks the other for a sign of life every 20 s.
    timeout tunnel 75s
    timeout http-request 10s
    option redispatch
    retries 2
{_RESOLVERS if resolve else ""}
frontend streamser
    bind {bind}{tls}
    # Servers alone may say so, to each other.
    http-request del-header {CARRIED}
    # For whom it is, at the end of what is there: servers believe it by server.proxies.
    option forwardfor
    http-request set-var(txn.place) url_param(meeting),url_dec(1)
    http-request set-var(txn.place) req.hdr(X-Streamser-Meeting) if !{{ var(txn.place) -m found }}
    http-request set-var(txn.place) url_param(stream) if !{{ var(txn.place) -m found }}
    http-request set-var(txn.place) rand(1000000000) if !{{ var(txn.place) -m found }}
    default_backend servers

backend servers
    http-response set-header X-Streamser-Server %s
    balance hash var(txn.place)
    # By the servers' ids, which are made of their names.
    hash-type consistent sdbm avalanche
    # One that is full or about to leave gets nobody new; who is there stays.
    option httpchk
    http-check send meth GET uri /readyz
    http-check expect status 200
    default-server inter 1s fastinter 250ms downinter 500ms fall 2 rise 2 weight 16{found}
{servers}
"""


def _is_place(text: str) -> bool:
    """Return whether this is HOST:PORT, or :PORT, in signs that mean nothing to HAProxy."""
    host = text.rpartition(":")[0]
    try:
        return _HOST.fullmatch(host) is not None and read_place(f"*{text}")[1] > 0
    except ValueError:
        return False


def _number_of(name: str) -> int:
    """Return a server's id: 1 to 2^20 - 1, of which HAProxy's hash uses every bit."""
    return zlib.crc32(name.encode()) % (2**20 - 1) + 1
