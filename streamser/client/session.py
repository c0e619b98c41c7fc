"""One stream to a server: send sound, read events, whatever the connection does."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from streamser import events
from streamser.client.connection import Reconnector, RetryTiming
from streamser.client.listener import as_source, read_utterances
from streamser.client.resend import (
    FinalsLost,
    PlacedEvent,
    RequestKind,
    ResendBuffer,
    UnknownSession,
)
from streamser.client.wire import (
    REALTIME,
    ConnectionLost,
    Encoding,
    Envelope,
    ServerError,
    SoundFormat,
    endpoint,
    plan_route,
    read_event,
)
from streamser.export.utterances import Utterance

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from websockets.asyncio.client import ClientConnection

    from streamser.audio.source import AudioSource

_UNREAD = 256
"""Events that may wait for the user; more wait in the socket."""
_RECONNECT_CODE = 4000


class ClientSession:
    """Send sound to a server and iterate over the typed events that it answers with.

    Made by ``connect``. Read the events while you send, in a task of its own: who does not
    read slows the server, and is then sent away. Unknown types of events are left out.

    After a server was restarted the sound that it had not settled is sent again, and a second
    ``session.created`` begins a new session, whose clock begins at ``offset_ms``; utterances
    that had no final come again under other names. ``id``, ``info`` and ``offset_ms`` go with
    the event read last.
    """

    def __init__(self, conversation: Conversation, sound: SoundFormat, *, patient: bool) -> None:
        self._conversation = conversation
        self._buffer = conversation.buffer
        self._sound = sound
        self._patient = patient
        self._info: events.SessionInfo | None = None
        self._offset_ms = 0
        self._finishing = False
        self._fault_is_known = False

    @property
    def id(self) -> str:
        """Return the name of the session on the server."""
        return self.info.id

    @property
    def info(self) -> events.SessionInfo:
        """Return the session as it is set up."""
        assert self._info is not None, "a session is only given away once it is introduced"
        return self._info

    @property
    def offset_ms(self) -> int:
        """Return where the session's clock 0 lies on the whole stream, ms of sound sent."""
        return self._offset_ms

    @property
    def lost_ms(self) -> int:
        """Return how much sound no server will hear: there was no connection for too long."""
        return self._buffer.lost * 1000 // self._sound.rate

    @property
    def missed_events(self) -> int:
        """Return how many events the server told and cannot tell again; ``tell`` gets a line.

        No final is among them, where they were missed while there was no connection.
        """
        return self._buffer.missing

    async def send(self, chunk: bytes | npt.NDArray[np.float32]) -> None:
        """Send sound: raw bytes in the stream's encoding, or float32 of shape (n,) in [-1, 1].

        Waits where the server is more than a minute behind. While there is no connection
        nothing waits (unless the stream is ``patient``): the sound is kept, the oldest beyond a
        minute is lost and counted. Raises ``ValueError`` for another shape or half a sample,
        ``ServerError`` where the stream is over.
        """
        for piece in self._sound.pieces(chunk):
            await self._conversation.until(lambda: not self._must_wait)
            self._check_open()
            self._buffer.push_audio(piece)
            self._conversation.notify()
        # Who sends in a loop must leave others their turn.
        await asyncio.sleep(0)

    async def commit(self) -> None:
        """End the open utterance here."""
        self._request("input_audio_buffer.commit")

    async def clear(self) -> None:
        """Throw the open utterance away."""
        self._request("input_audio_buffer.clear")

    async def mark(self, marker_id: str) -> None:
        """Ask for a ``streamser.marker`` once all about the sound so far has been told."""
        self._request("streamser.marker", {"id": marker_id})

    async def update(self, settings: Mapping[str, Any]) -> None:
        """Change settings, as ``session`` in a ``session.update``; what is absent stays.

        They are told again to a server that was restarted. Raises ``ValueError`` for the
        format of the sound: that is said to ``connect``.
        """
        self._request("session.update", {"session": _settings(settings)})

    async def finish(self) -> None:
        """Say that no more sound comes; the iteration ends after the last event."""
        if not self._finishing:
            self._request("streamser.finish")
            self._finishing = True

    def utterances(
        self, source: AudioSource | str | Path | None = None
    ) -> AsyncIterator[Utterance]:
        """Iterate over the utterances, each when it is finished, on the clock of the whole stream.

        Meanwhile all sound of a ``source`` is sent, and the stream finished after it; a path is
        played at real speed. Raises ``ServerError`` where the stream ended in a fault, what the
        source raises, and ``ConfigError`` at once for what is no source.
        """
        sound = None if source is None else as_source(source)
        return read_utterances(self, sound, self._sound.rate)

    def __aiter__(self) -> AsyncIterator[events.SessionEvent]:
        return self

    async def __anext__(self) -> events.SessionEvent:
        """Return the next event; raises ``ServerError`` where the stream ended in a fault."""
        conversation = self._conversation
        await conversation.until(lambda: bool(conversation.inbox) or conversation.over)
        if conversation.inbox:
            told = conversation.inbox.popleft()
            conversation.notify()
            self._learn(told)
            return told.event
        self._raise_fault()
        raise StopAsyncIteration

    async def _start(self) -> None:
        conversation = self._conversation
        conversation.start()
        try:
            await conversation.until(lambda: bool(conversation.inbox) or conversation.over)
        except BaseException:
            await conversation.abandon()
            raise
        if conversation.inbox:
            self._learn(conversation.inbox[0])
        else:
            self._raise_fault()
            raise ServerError(
                f"{conversation.server}: the server ended the stream before it began; try again."
            )

    async def _end(self, finish_s: float) -> None:
        """Finish, and wait for what is still to be told; it can be read afterwards."""
        if not self._conversation.over:
            await self.finish()
        in_time = await self._conversation.drain(finish_s)
        if not self._fault_is_known:
            self._raise_fault()
        if not in_time:
            raise ServerError(
                f"{self._conversation.server}: the last events did not come within"
                f" {finish_s:.0f} s; the server has too much to do, or the connection is down.",
                code="server_timeout",
            )

    def _request(self, kind: RequestKind, body: Mapping[str, Any] | None = None) -> None:
        self._check_open()
        self._buffer.request(kind, body)
        self._conversation.notify()

    def _check_open(self) -> None:
        if self._conversation.over:
            self._raise_fault()
            raise ServerError(
                f"{self._conversation.server}: the stream is over; connect anew to send more.",
                code="session_over",
            )
        if self._finishing:
            raise ServerError("nothing can follow finish(): connect anew.", code="session_over")

    def _raise_fault(self) -> None:
        if self._conversation.error is not None:
            self._fault_is_known = True
            raise self._conversation.error

    @property
    def _must_wait(self) -> bool:
        somebody_will_come = self._buffer.synced or self._patient
        return self._buffer.full and somebody_will_come and not self._conversation.over

    def _learn(self, told: PlacedEvent) -> None:
        self._offset_ms = told.offset_ms
        if isinstance(told.event, events.SessionCreated | events.SessionUpdated):
            self._info = told.event.session


@asynccontextmanager
async def connect(
    url: str,
    *,
    speaker: str | None = None,
    meeting: str | None = None,
    language: str | None = None,
    speakers: str | int | None = None,
    token: str | None = None,
    ca: str | Path | None = None,
    ssl: SSLContext | None = None,
    proxy: str | None = None,
    rate: int = 16_000,
    encoding: Encoding = "s16le",
    settings: Mapping[str, Any] | None = None,
    resume: bool = True,
    patient: bool = False,
    give_up_s: float = 120.0,
    finish_s: float = 30.0,
    keep_s: float = 60.0,
    tell: Callable[[str], None] | None = None,
    timing: RetryTiming | None = None,
) -> AsyncIterator[ClientSession]:
    """Open a stream to a server, for ``async with``.

    ``url`` is ``ws(s)://`` or ``http(s)://``, such as ``ws://127.0.0.1:8377``, with the path
    under which a proxy has put the server, if it did. ``ca`` is a PEM file with the certificates
    to believe instead of the system's, ``ssl`` a context instead of that. ``proxy`` is the address
    of a proxy to go through; those of the environment are not used. ``language`` is the code of
    what is spoken; ``None``: as the server has it. ``speakers``: whether the voices of several at
    one microphone are told apart, ``"auto"``, ``"off"`` or how many there are. The sound is mono,
    ``rate`` frames a second of ``encoding``. ``settings`` are those of ``ClientSession.update``.

    A broken connection is made again, for ``give_up_s`` at most, and the stream goes on where
    it was; with ``resume`` false it ends. ``keep_s`` seconds of sound are kept for that. A
    ``patient`` stream waits while there is no connection, a live one loses what is older.
    ``tell`` gets lines for people about the connection and what was missed through it;
    ``timing`` is for tests.

    Leaving the block finishes the stream and waits ``finish_s`` at most for the last events,
    which can still be read from the session; an exception closes it at once. Raises
    ``ServerError`` where the server cannot be reached, refuses us or is given up (once: the
    iteration, ``send`` or the end of the block), and ``ValueError`` for sound that cannot be
    sent.
    """
    sound = SoundFormat(rate, encoding)
    buffer = ResendBuffer(sound, keep_s)
    if settings is not None:
        buffer.request("session.update", {"session": _settings(settings)})
    query = {
        "intent": "transcription",
        "rate": str(rate),
        "encoding": encoding,
        "speaker": speaker,
        "meeting": meeting,
        "language": language,
        "speakers": None if speakers is None else str(speakers),
    }
    secret = secrets.token_urlsafe(24)

    def target(seen: int) -> str:
        # A server that does not know the stream may know how far it was told of elsewhere.
        place = {"after": seen or None, "at": buffer.begins_ms or None}
        told = {key: None if number is None else str(number) for key, number in place.items()}
        back = {"stream": f"{secret}{buffer.restarts}", **told}
        return endpoint(url, REALTIME, query | back if resume else query)

    link = Reconnector(
        target(0),
        token,
        plan_route(url, proxy=proxy, ca=ca, tls=ssl),
        resume=resume,
        give_up_s=give_up_s,
        tell=tell,
        timing=timing or RetryTiming(),
    )
    conversation = Conversation(link, target, buffer)
    session = ClientSession(conversation, sound, patient=patient)
    await session._start()
    try:
        yield session
    except BaseException:
        await conversation.abandon()
        raise
    await session._end(finish_s)


def _settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a ``session.update``."""
    audio = settings.get("audio") or {}
    if "format" in (audio.get("input") or {}):
        raise ValueError("the format of the sound is said to connect(): rate=…, encoding=…")
    return {"type": "transcription", **settings}


class Conversation:
    """Carry between a resend buffer and a server, in its own task, until the stream is ``over``.

    ``url`` gives the address for the ``seq`` of the last event seen. What the user is to be
    told waits in ``inbox``; ``error`` is why the stream ended, if it was a fault.
    """

    def __init__(self, link: Reconnector, url: Callable[[int], str], buffer: ResendBuffer) -> None:
        self.buffer = buffer
        self.server = link.server
        self.inbox: deque[PlacedEvent] = deque()
        self.over = False
        self.error: Exception | None = None
        self._link = link
        self._url = url
        self._draining = False
        self._said: events.ErrorBody | None = None
        self._told_missing = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run())

    def notify(self) -> None:
        """Let everybody who waits look again: the buffer or the inbox has changed."""
        self._changed.set()

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait until something is true of the conversation."""
        while not ready():
            self._changed.clear()
            await self._changed.wait()

    async def drain(self, seconds: float) -> bool:
        """Wait for the end, whoever reads; return whether it came in time."""
        assert self._task is not None
        self._draining = True
        self.notify()
        done, _ = await asyncio.wait([self._task], timeout=seconds)
        await self.abandon()
        return bool(done)

    async def abandon(self) -> None:
        """Close the connection, and wait for nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while not await self._converse():
                pass
        except Exception as error:
            self.error = error
        finally:
            self.inbox.extend(self.buffer.release())
            self.over = True
            self.notify()

    async def _converse(self) -> bool:
        """Have one connection to its end; return whether the stream is over."""
        socket = await self._link.connect(lambda: self._url(self.buffer.seen))
        self._said = None
        self._told_missing = False
        writer = asyncio.create_task(self._write(socket))
        try:
            return await self._listen(socket)
        except UnknownSession:
            self.buffer.forget_session()
            # Any code but 1000, which would end the stream.
            await socket.close(_RECONNECT_CODE)
            broken = ConnectionLost("it has another session than we know of", 0.0)
        except FinalsLost:
            self.buffer.restart_stream()
            # Nobody comes back for the old stream.
            await socket.close(1000)
            broken = ConnectionLost("it has lost finals of ours, and is sent their sound anew", 0.0)
        except ConnectionLost as fault:
            broken = fault
        finally:
            self.buffer.disconnected()
            writer.cancel()
            (fault_of_writer,) = await asyncio.gather(writer, return_exceptions=True)
            await socket.close()
            if isinstance(fault_of_writer, Exception):
                raise fault_of_writer
        await self._link.wait(broken)
        return False

    async def _listen(self, socket: ClientConnection) -> bool:
        from websockets.exceptions import ConnectionClosed

        while not self.buffer.done:
            try:
                message = await socket.recv()
            except ConnectionClosed as closed:
                self._link.judge(closed, self._said)
                return True
            self._on_message(message)
            # A slow reader slows the server, which has its own ways to cope.
            await self.until(lambda: self._draining or len(self.inbox) < _UNREAD)
        return True

    def _on_message(self, message: str | bytes) -> None:
        event = read_event(message)
        match event:
            case None | events.Snapshot() | events.MeetingUpdated() | events.MoodShifted():
                return
            case Envelope():
                self.buffer.skip(event.session_id, event.seq)
                return
            case events.ErrorRaised(session_id=""):
                # What a refusal says before it closes the connection.
                self._said = event.error
                return
        was_synced, missing = self.buffer.synced, self.buffer.missing
        self.inbox.extend(self.buffer.on_event(event))
        if self.buffer.synced and not was_synced:
            self._link.mark_connected()
        if self.buffer.missing > missing and not self._told_missing:
            self._told_missing = True
            self._link.say(_missing(self.buffer.missing - missing, came_back=not was_synced))
        self.notify()

    async def _write(self, socket: ClientConnection) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                message = self.buffer.next_message()
                if message is None:
                    self._changed.clear()
                    await self._changed.wait()
                else:
                    await socket.send(message)
        except ConnectionClosed:
            # The reader sees it as well, and knows what to do.
            return
        except Exception:
            await socket.close()
            raise


def _missing(count: int, *, came_back: bool) -> str:
    they = "1 event is" if count == 1 else f"{count} events are"
    if came_back:
        return f"{they} not told again: the server had too many; no final is among them."
    return f"{they} missing, by their numbers; finals may be among them."
