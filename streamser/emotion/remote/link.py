"""One address, asked over HTTP on a thread of its own, so that nobody waits longer than he says."""

from __future__ import annotations

import http.client
import socket
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Final
from urllib.parse import SplitResult, urlsplit

from streamser.emotion.remote.wire import MOST_ANSWERED
from streamser.errors import ConfigError, first_line

_OK: Final = 200
_SAID: Final = 200
"""Characters of what an address says of itself that are worth telling."""


class RemoteAwayError(Exception):
    """Say why there is no answer: nobody there, too late, or no good one."""


class RemoteLink:
    """Ask an address, one question at a time; it belongs to one thread.

    Looking a name up, connecting and a server that drips may each take longer than anybody
    waits: they keep a thread that can be left behind, and while it is kept nothing more is
    asked. Raises ``ConfigError`` for what is no address.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._place = _read_url(url)
        self._connection: http.client.HTTPConnection | None = None
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._asked: Future[bytes] | None = None
        self._is_cut = False
        threading.Thread(
            target=_serve_calls, args=(self._calls,), name="streamser-remote", daemon=True
        ).start()
        weakref.finalize(self, self._calls.put, None)

    def begin(self, body: bytes | None, within_s: float) -> Future[bytes]:
        """Ask without waiting; ``None`` asks for the card.

        The future has the answer's bytes, or ``RemoteAwayError``, which is raised at once where
        what was asked before has no answer yet.
        """
        if self._asked is not None and not self._asked.done():
            raise RemoteAwayError("what was asked before has no answer yet")
        answer: Future[bytes] = Future()
        self._asked, self._is_cut = answer, False

        def ask() -> None:
            try:
                answer.set_result(self._exchange(body, within_s))
            except RemoteAwayError as away:
                answer.set_exception(away)
            # Also what a connection raises that is cut meanwhile: an end that nobody is told of
            # would be waited for ever.
            except Exception as error:
                self._drop()
                answer.set_exception(RemoteAwayError(_reason(error)))

        self._calls.put(ask)
        return answer

    def wait_for(self, body: bytes | None, within_s: float) -> bytes:
        """Ask, and wait so long; raises ``RemoteAwayError``."""
        answer = self.begin(body, within_s)
        try:
            return answer.result(within_s)
        except TimeoutError:
            self.cut()
            raise RemoteAwayError(f"no answer within {within_s:g} s") from None

    def cut(self) -> None:
        """Give up what is asked; its thread ends with the connection."""
        self._is_cut = True
        connection = self._connection
        sock = None if connection is None else connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _exchange(self, body: bytes | None, within_s: float) -> bytes:
        kept = self._connection is not None
        try:
            return self._ask_once(body, within_s)
        except (ConnectionError, http.client.BadStatusLine):
            self._drop()
            # A server closes connections that rest: that is known only once they are used.
            if not kept or self._is_cut:
                raise
        return self._ask_once(body, within_s)

    def _ask_once(self, body: bytes | None, within_s: float) -> bytes:
        place = self._place
        if self._connection is None:
            secure = place.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            self._connection = kind(place.hostname or "", place.port, timeout=within_s)
        connection = self._connection
        path = (place.path or "/") + (f"?{place.query}" if place.query else "")
        headers = {"Content-Type": "application/msgpack"}
        connection.request("GET" if body is None else "POST", path, body, headers)
        response = connection.getresponse()
        data = response.read(MOST_ANSWERED + 1)
        if len(data) > MOST_ANSWERED:
            self._drop()
            raise RemoteAwayError(f"it answers with more than {MOST_ANSWERED} bytes")
        if response.status != _OK:
            said = " ".join(data[:_SAID].decode("utf-8", "replace").split())
            raise RemoteAwayError(f"it answers {response.status}: {said or response.reason}")
        return data

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _serve_calls(calls: SimpleQueue[Callable[[], None] | None]) -> None:
    while (call := calls.get()) is not None:
        call()
        # It would keep the link until the next one comes.
        del call


def _read_url(url: str) -> SplitResult:
    try:
        place = urlsplit(url)
        usable = place.scheme in ("http", "https") and bool(place.hostname)
        usable = usable and place.port != 0 and place.username is None and url.isascii()
    except ValueError:
        usable = False
    if not usable or any(sign.isspace() or not sign.isprintable() for sign in url):
        raise ConfigError(
            f"emotion.remote {url[:80]!r} is no address of a model: write http://HOST:8000/, or"
            " https://."
        )
    return place


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {first_line(error)}"
