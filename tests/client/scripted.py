"""A small server in this process: it speaks the protocol, and breaks when told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streamser.client import RetryTiming
from streamser.events import ErrorBody, Event, encode_event
from tests.client.pretend import PretendSession

__all__ = ["FakeTime", "ScriptedServer", "play"]

_PATIENCE_S = 60.0


class FakeTime:
    """A clock that only sleeping moves on; it remembers how long was slept."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.timing = RetryTiming(clock=lambda: self.now, sleep=self._sleep, chance=lambda: 0.0)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class ScriptedServer:
    """Serve pretended sessions on a port of its own.

    ``thinks`` says whether utterances are finished at once, ``reads`` whether messages are
    read at all. ``refusals`` and ``closes`` meet the next clients, one each.
    """

    def __init__(self, utterance_ms: int = 100) -> None:
        self.sessions: list[PretendSession] = []
        self.queries: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.refusals: list[tuple[HTTPStatus, dict[str, str], ErrorBody | None]] = []
        self.closes: list[tuple[int, str]] = []
        self.thinks = True
        self.reads = asyncio.Event()
        self.reads.set()
        self.extra: list[bytes] = []
        self.port = 0
        self._utterance_ms = utterance_ms
        self._streams: dict[str, PretendSession] = {}
        self._links: dict[ServerConnection, PretendSession] = {}
        self._sent: dict[ServerConnection, int] = {}
        self._changed = asyncio.Event()
        self._server: Server | None = None

    async def __aenter__(self) -> ScriptedServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        """Return the address, as a user would give it."""
        return f"ws://127.0.0.1:{self.port}"

    @property
    def session(self) -> PretendSession:
        """Return the newest session."""
        return self.sessions[-1]

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._server = await serve(
            self._handle,
            "127.0.0.1",
            self.port,
            process_request=self._admit,
            compression=None,
            max_queue=2,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and drop everybody; what is known of streams stays."""
        assert self._server is not None
        self.reads.set()
        self.drop()
        self._server.close()
        await self._server.wait_closed()

    def drop(self) -> None:
        """Cut all connections without a word."""
        for link in list(self._links):
            link.transport.abort()

    def die(self) -> None:
        """Cut all connections and forget all streams, as a process that is killed."""
        self._streams.clear()
        self.drop()

    async def leave(self) -> None:
        """Finish all streams and say goodbye, as a process that is asked to end."""
        self._streams.clear()
        for link, session in list(self._links.items()):
            session.finish()
            await self._flush(link)
            await link.close(1001, "shutting down")

    async def think(self, most: int = 1) -> None:
        """Finish so many utterances of every session."""
        for link, session in list(self._links.items()):
            session.think(most)
            await self._flush(link)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until something is true of what has come."""
        async with asyncio.timeout(_PATIENCE_S):
            while not ready():
                self._changed.clear()
                await self._changed.wait()

    def _admit(self, link: ServerConnection, request: Request) -> Response | None:
        query = parse_qs(urlsplit(request.path).query)
        self.queries.append({key: values[-1] for key, values in query.items()})
        self.headers.append(dict(request.headers.raw_items()))
        self._changed.set()
        if not self.refusals:
            return None
        status, headers, error = self.refusals.pop(0)
        response = link.respond(status, "")
        if error is not None:
            response.body = msgspec.json.encode({"error": error})
            del response.headers["Content-Length"]
            response.headers["Content-Length"] = str(len(response.body))
        for name, value in headers.items():
            response.headers[name] = value
        return response

    async def _handle(self, link: ServerConnection) -> None:
        if self.closes:
            await link.close(*self.closes.pop(0))
            return
        assert link.request is not None
        query = parse_qs(urlsplit(link.request.path).query)
        stream = query.get("stream", [""])[-1]
        session = self._streams.get(stream)
        if session is None:
            session = PretendSession(f"s{len(self.sessions) + 1}", self._utterance_ms)
            self.sessions.append(session)
            if stream:
                self._streams[stream] = session
            greeting = session.events[:]
        else:
            greeting = session.welcome(int(query.get("after", ["0"])[-1]))
        self._links[link], self._sent[link] = session, len(session.events)
        try:
            await self._converse(link, session, greeting)
        except ConnectionClosed:
            pass
        finally:
            del self._links[link], self._sent[link]
            self._changed.set()

    async def _converse(
        self, link: ServerConnection, session: PretendSession, greeting: list[Event]
    ) -> None:
        for event in greeting:
            await link.send(encode_event(event).decode())
        for line in self.extra:
            await link.send(line.decode())
        while not session.closed:
            await self.reads.wait()
            session.receive(await link.recv())
            if self.thinks:
                session.think(100)
            await self._flush(link)
            self._changed.set()

    async def _flush(self, link: ServerConnection) -> None:
        events = self._links[link].events
        sent, self._sent[link] = self._sent[link], len(events)
        for event in events[sent:]:
            await link.send(encode_event(event).decode())


def play(scene: Coroutine[Any, Any, None]) -> None:
    """Run a scene to its end; one that hangs fails."""

    async def run() -> None:
        async with asyncio.timeout(_PATIENCE_S):
            await scene

    asyncio.run(run())
