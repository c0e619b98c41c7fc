"""What must be there before others can reach the server: a certificate, origins, tokens."""

from __future__ import annotations

import ipaddress
import re
import ssl
from typing import Final
from urllib.parse import urlsplit

from streamser.errors import ConfigError
from streamser.server.handshake import Tokens
from streamser.settings import ServerSettings

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+")


def tls_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """Load a certificate chain and its key, PEM files; raises ``ConfigError``."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigError("server.tls_cert and server.tls_key belong together: give both.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # A key with a password would have the terminal asked for it, where there is one.
        context.load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        raise ConfigError(
            f"server.tls_cert {cert}, server.tls_key {key}: they are to be a certificate chain and"
            f" its key, without a password, each a PEM file ({error.reason or 'not readable'})."
        ) from None
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"server.tls_cert {cert}, server.tls_key {key}: {why}.") from None
    return context


def read_origins(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the origins in ``server.origins``, as browsers write them, and the hosts of these.

    Raises ``ConfigError`` for what no browser would ever call one.
    """
    origins = tuple(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip())
    hosts = []
    for origin in origins:
        try:
            whole = _ORIGIN.fullmatch(origin) is not None
            hosts.append(urlsplit(origin).hostname or "")
        except ValueError:
            whole = False
        if not whole and origin not in ("*", "null"):
            raise ConfigError(
                f"server.origins: {origin!r} is no origin: write it like https://voice.example,"
                " with :PORT where it has one, and no path."
            )
    return origins, tuple(hosts)


def refuse_to_expose(own: ServerSettings, tokens: Tokens, tls: ssl.SSLContext | None) -> None:
    """Raise ``ConfigError`` where other machines could listen in, or connect unasked."""
    if is_loopback(own.host) or own.insecure:
        return
    lacking = [
        name
        for name, there in (
            ("tokens (--token-file, or STREAMSER_TOKENS)", len(tokens)),
            ("TLS (--tls-cert, --tls-key)", tls),
        )
        if not there
    ]
    if lacking:
        raise ConfigError(
            f"{own.host} can be reached from other machines: give {' and '.join(lacking)}, or"
            " --insecure if something else protects it, such as a proxy."
        )


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # A name may begin like an address and be anybody's.
        return False
