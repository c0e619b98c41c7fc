"""What can be wrong before or while a server is measured."""

from __future__ import annotations

__all__ = ["BenchError"]


class BenchError(Exception):
    """Tell in one line what went wrong and what to do about it."""
