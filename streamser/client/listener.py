"""Hear what a server makes of sound: everybody's events, or the utterances of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from streamser import events
from streamser.client.connection import Reconnector, RetryTiming
from streamser.client.wire import (
    EVENTS,
    ConnectionLost,
    Envelope,
    ServerError,
    endpoint,
    plan_route,
    read_event,
    shift_times,
)
from streamser.errors import ConfigError
from streamser.export.utterances import Utterance, read_utterance

if TYPE_CHECKING:
    from streamser.audio.source import AudioSource


class Stamped(msgspec.Struct, frozen=True):
    """Hold an event and where it stands among all events of the server and in its meeting."""

    stamp: events.Stamp
    event: events.AnyEvent


class ListenPosition:
    """Know how far a listener has come, so that it hears everything once; pure.

    With ``by_seq`` it listens to one session and counts its ``seq``, else the ``cursor``.
    """

    def __init__(self, after: int | None, *, by_seq: bool) -> None:
        self.after = after
        self._by_seq = by_seq

    def accept(self, message: bytes | str) -> Stamped | None:
        """Read a message; ``None`` where it was told before, or nobody knows what it is."""
        event = read_event(message)
        if event is None:
            return None
        if isinstance(event, events.Snapshot):
            self._start(event)
            return Stamped(events.Stamp(cursor=event.cursor), event)
        stamp = _stamp(message)
        number = getattr(event, "seq", None) if self._by_seq else stamp.cursor
        if number:
            if self.after is not None and number <= self.after:
                return None
            self.after = number
        return None if isinstance(event, Envelope) else Stamped(stamp, event)

    def _start(self, snapshot: events.Snapshot) -> None:
        if self._by_seq:
            if self.after is None and snapshot.sessions:
                self.after = snapshot.sessions[0].seq
        elif self.after is None:
            self.after = snapshot.cursor
        elif snapshot.cursor < self.after:
            # Another server counts here: what it tells is new.
            first = snapshot.replay_from
            self.after = snapshot.cursor if first is None else first - 1


async def subscribe(
    url: str,
    *,
    meeting: str | None = None,
    session: str | None = None,
    types: Iterable[str] | None = None,
    after: int | None = None,
    token: str | None = None,
    ca: str | Path | None = None,
    ssl: SSLContext | None = None,
    proxy: str | None = None,
    give_up_s: float = 120.0,
    tell: Callable[[str], None] | None = None,
    timing: RetryTiming | None = None,
) -> AsyncGenerator[Stamped, None]:
    """Yield the events of a meeting, of a session or, without either, of all sessions.

    A ``streamser.snapshot`` comes first, and again after each time the connection was broken
    and made again; the other events go on where they were, each told once. ``types`` are
    those wanted (``streamser.*``: all that begin so). ``after`` is the ``seq`` of a session,
    else the ``cursor``, of the last event that is known already; 0 asks for all that is kept.
    A snapshot that is ``lost`` says that events since then are gone, and ``tell`` gets a line.
    ``ca``, ``ssl`` and ``proxy`` are those of ``connect``.

    Raises ``ServerError`` where the server cannot be reached, refuses us or is given up, and
    ``ValueError`` where both a meeting and a session are named.
    """
    from websockets.exceptions import ConnectionClosed

    if meeting is not None and session is not None:
        raise ValueError("listen to a meeting or to a session, not to both")
    position = ListenPosition(after, by_seq=session is not None)
    query = {
        "meeting": meeting,
        "session": session,
        "all": "1" if meeting is None and session is None else None,
        "types": None if types is None else ",".join(types),
    }

    def target() -> str:
        known = None if position.after is None else str(position.after)
        return endpoint(url, EVENTS, query | {"after": known})

    link = Reconnector(
        target(),
        token,
        plan_route(url, proxy=proxy, ca=ca, tls=ssl),
        resume=True,
        give_up_s=give_up_s,
        tell=tell,
        timing=timing or RetryTiming(),
    )
    while True:
        socket = await link.connect(target)
        said: events.ErrorBody | None = None
        first = True
        try:
            while True:
                message = await socket.recv()
                told = position.accept(message)
                if told is None:
                    continue
                if isinstance(told.event, events.ErrorRaised) and not told.event.session_id:
                    said = told.event.error
                    continue
                if first:
                    link.mark_connected()
                    first = False
                if isinstance(told.event, events.Snapshot) and told.event.lost:
                    link.say("some events since the last one known are gone, and not told again.")
                yield told
        except ConnectionClosed as closed:
            try:
                link.judge(closed, said)
            except ConnectionLost as fault:
                broken = fault
            else:
                return
        finally:
            await socket.close()
        await link.wait(broken)


def _stamp(message: bytes | str) -> events.Stamp:
    try:
        return msgspec.json.decode(message, type=events.Stamp)
    except msgspec.DecodeError:
        # A refusal has none.
        return events.Stamp(cursor=0)


class SentStream(Protocol):
    """Take sound and tell events: what ``ClientSession`` does."""

    @property
    def info(self) -> events.SessionInfo:
        """Return the session as it was set up at the event read last."""
        ...

    @property
    def offset_ms(self) -> int:
        """Return where the clock of the session begins on that of the whole stream."""
        ...

    async def send(self, chunk: Any) -> None:
        """Send sound, float32 of shape (n,)."""
        ...

    async def finish(self) -> None:
        """Say that no more sound comes."""
        ...

    def __aiter__(self) -> AsyncIterator[events.SessionEvent]: ...


def as_source(source: Any) -> AudioSource:
    """Return a source as it is, and the file at a path as one that is played at real speed.

    Raises ``ConfigError`` for what is neither, ``AudioError`` for a file that cannot be read.
    """
    if isinstance(source, str | Path):
        from streamser.audio.file import FileSource

        return FileSource(source, paced=True)
    if hasattr(source, "chunks") and hasattr(source, "stop"):
        return source  # type: ignore[no-any-return]
    raise ConfigError(
        f"{type(source).__name__} is no source of sound: give the path of a file or a source such"
        " as streamser.Microphone(), or send() an array yourself."
    )


async def read_utterances(
    stream: SentStream, source: AudioSource | None, rate: int
) -> AsyncIterator[Utterance]:
    """Yield each utterance when it is finished; meanwhile send a source at ``rate``, and finish.

    Raises ``ServerError`` where the stream ended in a fault, and what the source raises.
    """
    sending = None if source is None else asyncio.create_task(_send_all(stream, source, rate))
    try:
        async for event in stream:
            session = stream.info
            told = shift_times(event, stream.offset_ms)
            assert isinstance(told, events.Event)
            spoken = read_utterance(told, transcribed=session.models.asr is not None)
            if spoken is not None:
                voice = None if spoken.emotion is None else spoken.emotion.speaker
                yield msgspec.structs.replace(spoken, speaker=voice or session.speaker)
        if sending is not None:
            await sending
    finally:
        if sending is not None and source is not None:
            source.stop()
            sending.cancel()


async def _send_all(stream: SentStream, source: AudioSource, rate: int) -> None:
    from streamser.audio.clip import SAMPLE_RATE
    from streamser.audio.reader import Resampler
    from streamser.audio.source import Gap

    try:
        if rate != SAMPLE_RATE:
            raise ValueError(f"sources are sent at {SAMPLE_RATE} Hz: leave rate= out of connect()")
        resampler = Resampler(source.rate, source.channels)
        chunks = source.chunks()
        while (piece := await asyncio.to_thread(next, chunks, None)) is not None:
            if isinstance(piece, Gap):
                await stream.send(resampler.fill(piece.frames))
            else:
                await stream.send(resampler.feed(piece))
        await stream.send(resampler.flush())
    finally:
        with suppress(ServerError):
            await stream.finish()
