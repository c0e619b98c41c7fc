"""Ports for the servers of a test."""

from __future__ import annotations

import socket

__all__ = ["free_port"]


def free_port() -> int:
    """Return a port of this machine that nobody has now."""
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        number: int = link.getsockname()[1]
        return number
