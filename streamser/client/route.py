"""The way to a server: directly or by a proxy, and whose certificates are believed."""

from __future__ import annotations

import ssl
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from streamser.client.address import is_secure, is_this_machine, shown
from streamser.client.errors import ServerError

__all__ = ["Route", "plan", "unused_proxy"]

_SOCKS = ("socks5", "socks5h", "socks4", "socks4a")
_PROXIES = ("http", "https", *_SOCKS)


class Route(msgspec.Struct, frozen=True, eq=False):
    """Hold a proxy's address, ``None`` for none, and what TLS is spoken with, if not the usual."""

    proxy: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def told(self) -> str:
        """Return the words that name the proxy, if there is one, without its password."""
        return "" if self.proxy is None else f" through the proxy {shown(self.proxy)}"


def plan(
    url: str,
    *,
    proxy: str | None = None,
    ca: str | Path | None = None,
    tls: ssl.SSLContext | None = None,
) -> Route:
    """Return the way to the server at ``url``.

    Proxies of the environment are never used: they would see token and sound. ``ca`` is a PEM
    file with the only certificates that are believed, ``tls`` a whole context instead. Raises
    ``ServerError`` with the code ``invalid_proxy`` or ``invalid_certificate`` for what cannot be
    used, and ``ValueError`` for both ``ca`` and ``tls``.
    """
    if ca is not None and tls is not None:
        raise ValueError("give ca or ssl: a context has certificates of its own")
    if (ca is not None or tls is not None) and not is_secure(url):
        raise ServerError(
            f"{shown(url)} speaks no TLS: write wss://, or leave the certificate out.",
            code="invalid_certificate",
        )
    if proxy is not None:
        _check_proxy(url, proxy)
    return Route(proxy, tls if ca is None else _trust(ca))


def unused_proxy(url: str) -> str:
    """Return a sentence about a proxy of the environment that may be needed, or nothing."""
    if is_this_machine(url):
        return ""
    from urllib.request import getproxies

    found = getproxies()
    if not any(name in found for name in ("http", "https", "socks", "all")):
        return ""
    return (
        " A proxy that the environment names is not used: where it is needed, give it with"
        " --proxy URL (in Python, proxy=…)."
    )


def _check_proxy(url: str, proxy: str) -> None:
    if is_this_machine(url):
        raise ServerError(
            f"{shown(url)} is this machine: what is sent to it must not leave it; leave the"
            " proxy out.",
            code="invalid_proxy",
        )
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in _PROXIES and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ServerError(
            "this is no address of a proxy: write it like http://proxy.example.org:3128"
            " or socks5h://127.0.0.1:1080",
            code="invalid_proxy",
        )
    if parts.scheme in _SOCKS and find_spec("python_socks") is None:
        raise ServerError(
            "a SOCKS proxy needs one more package: pip install 'python-socks[asyncio]'",
            code="invalid_proxy",
        )


def _trust(ca: str | Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca))
    except ssl.SSLError:
        # It is an OSError whose words name a line of OpenSSL.
        why = "it holds no certificate"
    except OSError as fault:
        why = fault.strerror or str(fault)
    except ValueError:
        why = "this is no name of a file"
    raise ServerError(
        f"{ca}: {why}; give a PEM file with the server's certificate, or that of who signed it",
        code="invalid_certificate",
    )
