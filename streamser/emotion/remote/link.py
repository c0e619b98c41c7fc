"""One address, asked over HTTP on a thread of its own, so that nobody waits longer than he says."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Final
from urllib.parse import SplitResult, urlsplit

from streamser.certificates import trusted
from streamser.emotion.remote.wire import MOST_ANSWERED
from streamser.errors import ConfigError, first_line
from streamser.text import printable

_OK: Final = 200
_TOO_LARGE: Final = 413
_REFUSED: Final = (401, 403)
_SAID: Final = 200
"""Characters of what an address says of itself that are worth telling."""
_LONGEST_TOKEN: Final = 4096


class RemoteAwayError(Exception):
    """Say why there is no answer: nobody there, too late, or no good one."""


class TooLargeError(RemoteAwayError):
    """Say that a question was too large for whoever passes it on; smaller ones may not be."""


class RemoteLink:
    """Ask an address, one question at a time; it belongs to one thread.

    Looking a name up, connecting and a server that drips may each take longer than anybody
    waits: they keep a thread that can be left behind, and while it is kept nothing more is
    asked. ``ca`` is a file of certificates that are trusted there, in place of the system's;
    ``token_file`` has the token that is shown with each question. ``url`` is the address as it
    may be told: without its query, where a secret may stand. Redirects are not followed: sound
    goes to nobody who is not named.

    Raises ``ConfigError`` for what is no address, no file of certificates, and no token.
    """

    def __init__(self, url: str, ca: str | None = None, token_file: str | None = None) -> None:
        self._place = _read_url(url)
        self.url = self._place._replace(query="", fragment="").geturl()
        secure = self._place.scheme == "https"
        if ca is not None and not secure:
            raise ConfigError("emotion.remote_ca is for https://: write that, or leave it out.")
        self._trust: ssl.SSLContext | None = None
        if secure:
            self._trust = (
                ssl.create_default_context() if ca is None else trusted(ca, "emotion.remote_ca")
            )
        self._headers = {"Content-Type": "application/msgpack"}
        if token_file is not None:
            self._headers["Authorization"] = f"Bearer {_read_token(token_file)}"
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
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
            self.cut()
            raise RemoteAwayError("what was asked before has no answer yet")
        answer: Future[bytes] = Future()
        self._asked, self._is_cut = answer, False
        until = time.monotonic() + within_s

        def ask() -> None:
            try:
                data = self._exchange(body, within_s)
                # Whoever looks for it later must not take it for one that came in time.
                if time.monotonic() > until:
                    raise TimeoutError
                answer.set_result(data)
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
        sock = self._socket
        if sock is not None:
            with suppress(OSError):
                # Of the plain socket: that of TLS would write on without TLS until it is shut.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _exchange(self, body: bytes | None, within_s: float) -> bytes:
        if self._socket is not None and _has_ended(self._socket):
            self._drop()
        kept = self._connection is not None
        try:
            return self._ask_once(body, within_s)
        except (ConnectionError, http.client.BadStatusLine, ssl.SSLEOFError):
            self._drop()
            # A server closes connections that rest: that may be known only once they are used.
            if not kept or self._is_cut:
                raise
        return self._ask_once(body, within_s)

    def _ask_once(self, body: bytes | None, within_s: float) -> bytes:
        connection = self._connection or self._connect(within_s)
        place = self._place
        path = (place.path or "/") + (f"?{place.query}" if place.query else "")
        connection.request("GET" if body is None else "POST", path, body, self._headers)
        response = connection.getresponse()
        data = response.read(MOST_ANSWERED + 1)
        if response.will_close or len(data) > MOST_ANSWERED:
            self._drop()
        if len(data) > MOST_ANSWERED:
            raise RemoteAwayError(f"it answers with more than {MOST_ANSWERED} bytes")
        if response.status == _TOO_LARGE:
            raise TooLargeError(_refusal(response, data))
        if response.status != _OK:
            raise RemoteAwayError(_refusal(response, data))
        return data

    def _connect(self, within_s: float) -> http.client.HTTPConnection:
        host, port = self._place.hostname or "", self._place.port
        connection = (
            http.client.HTTPConnection(host, port, timeout=within_s)
            if self._trust is None
            else http.client.HTTPSConnection(host, port, timeout=within_s, context=self._trust)
        )
        connection.connect()
        self._connection, self._socket = connection, connection.sock
        # Given up before there was anything that could be cut.
        if self._is_cut:
            raise TimeoutError
        return connection

    def _drop(self) -> None:
        connection, self._connection, self._socket = self._connection, None, None
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
        shown = url.rpartition("@")[2].partition("?")[0][:80]
        raise ConfigError(
            f"emotion.remote {shown!r} is no address of a model: write http://HOST:8000/, or"
            " https://."
        )
    return place


def _read_token(path: str) -> str:
    try:
        with Path(path).expanduser().open("rb") as file:
            token = file.read(_LONGEST_TOKEN + 1).decode("ascii").strip()
        why = "it holds no token of one line"
    except (OSError, RuntimeError, ValueError) as error:
        token, why = "", _reason(error)
    if not token or len(token) > _LONGEST_TOKEN or not token.isprintable() or " " in token:
        raise ConfigError(f"emotion.remote_token_file {path}: {why}; write the token into it.")
    return token


def _has_ended(sock: socket.socket) -> bool:
    """Tell whether the other end has hung up, or says what nobody has asked for."""
    if hasattr(select, "poll"):
        asked = select.poll()
        asked.register(sock, select.POLLIN)
        return bool(asked.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


def _refusal(response: http.client.HTTPResponse, data: bytes) -> str:
    """Say what an answer is that is none, and what to do where that is known."""
    status = response.status
    if 300 <= status < 400 and (place := response.getheader("Location")):
        where = printable(place.partition("?")[0][:_SAID])
        return f"it answers {status}: it is at {where}, write that for emotion.remote"
    said = " ".join(data[:_SAID].decode("utf-8", "replace").split())
    # A page for people, as proxies have them, says nothing more.
    if not said or said.startswith("<"):
        said = response.reason
    line = f"it answers {status}: {printable(said)}"
    if status in _REFUSED:
        line = f"{line.removesuffix('.')}; the token it wants goes in emotion.remote_token_file"
    return line


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted, {error.verify_message}; whose signature is trusted"
            " goes in emotion.remote_ca"
        )
    if isinstance(error, ssl.SSLError):
        return f"no TLS is spoken there: {error.reason or type(error).__name__}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {first_line(error)}"
