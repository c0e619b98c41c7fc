"""What can go wrong between a client and its server."""

from __future__ import annotations

from streamser.errors import StreamserError

__all__ = ["Broken", "ServerError"]


class ServerError(StreamserError):
    """Report a server that cannot be reached, refuses us, or has ended the stream.

    ``code`` is the server's own where it gave one.
    """

    code = "server_error"


class Broken(Exception):  # noqa: N818 - never leaves the package; it is no fault, but a wait
    """Say that there is no connection now, though there may be one later.

    ``retry_after`` is the seconds the server asks for, ``None`` where it asks for none.
    """

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.retry_after = retry_after
