"""Whose certificates are believed, where the machine's own list does not know who signed them."""

from __future__ import annotations

import ssl
from pathlib import Path

from streamser.errors import ConfigError

__all__ = ["trusted", "trusting"]


def trusting(ca: str | Path) -> ssl.SSLContext:
    """Return what believes the certificates of a PEM file alone, or of whom they have signed.

    Raises ``ValueError`` that says why none can be read from it.
    """
    try:
        return ssl.create_default_context(cafile=str(ca))
    except ssl.SSLError:
        # It is an OSError whose words name a line of OpenSSL.
        why = "it holds no certificate"
    except OSError as fault:
        why = fault.strerror or str(fault)
    except ValueError:
        why = "this is no name of a file"
    raise ValueError(why)


def trusted(ca: str, setting: str) -> ssl.SSLContext:
    """Return the same of a file that a setting names; raises ``ConfigError`` with its name."""
    try:
        return trusting(ca)
    except ValueError as why:
        raise ConfigError(
            f"{setting} {ca}: {why}; give a PEM file with the certificates to believe, or that of"
            " who signed them."
        ) from None
