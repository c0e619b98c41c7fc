"""One stream to a server: send sound, read events, whatever the connection does."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, TypedDict

from streamser import events
from streamser.client.connection import Reconnector, RetryTiming
from streamser.client.conversation import Conversation
from streamser.client.listener import as_source, read_utterances
from streamser.client.resend import PlacedEvent, RequestKind, ResendBuffer
from streamser.client.wire import (
    REALTIME,
    Encoding,
    ServerError,
    SoundFormat,
    endpoint,
    plan_route,
)
from streamser.export.utterances import Utterance

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from streamser.audio.source import AudioSource


class ConnectOptions(TypedDict, total=False):
    """Hold what ``connect`` is told besides where, and what sound it is to send."""

    speaker: str | None
    meeting: str | None
    language: str | None
    speakers: str | int | None
    token: str | None
    ca: str | Path | None
    proxy: str | None
    give_up_s: float
    finish_s: float
    tell: Callable[[str], None]


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

    async def rename_speaker(self, speaker: str, name: str) -> None:
        """Give a voice that was told apart a name; one that somebody has makes both one person.

        As all that is said of speakers, it is answered among the events: by
        ``streamser.speakers.changed``, or by an ``error`` where nobody is called so. It is said
        again where a connection broke before that, though not to a server that was restarted:
        there labels begin anew, and mean others.
        """
        self._request("streamser.speaker.rename", {"speaker": speaker, "name": name})

    async def merge_speakers(self, speaker: str, into: str) -> None:
        """Say that two speakers are one person, who keeps the name ``into``."""
        self._request("streamser.speaker.merge", {"speaker": speaker, "into": into})

    async def assign_speaker(self, item_id: str, name: str) -> None:
        """Say whose an utterance of the last two minutes is; a new name is a new speaker's."""
        self._request("streamser.speaker.assign", {"item_id": item_id, "name": name})

    async def forget_speakers(self) -> None:
        """Let the server drop all voiceprints of the session; who speaks next is a stranger."""
        self._request("streamser.speaker.forget")

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
