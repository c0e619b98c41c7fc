"""What must be there before other machines may connect."""

from __future__ import annotations

import ssl

from streamser.config import ServerSettings
from streamser.errors import ConfigError
from streamser.server.auth import Tokens

__all__ = ["is_loopback", "refuse_to_expose", "tls_context"]


def tls_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    """Load a certificate chain and its key, PEM files; raises ``ConfigError``."""
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise ConfigError("server.tls_cert and server.tls_key belong together: give both.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or str(error)
        raise ConfigError(f"server.tls_cert {cert}, server.tls_key {key}: {why}.") from None
    return context


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
    return host in ("localhost", "::1") or host.startswith("127.")
