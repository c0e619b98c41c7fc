"""``streamser listen --server``: the sound goes to a server, and its events come back."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, cast

import msgspec

from streamser.cli.console import tell, warn
from streamser.cli.live.sinks import advice_of
from streamser.cli.options import Common
from streamser.client.wire import ServerError, page_url, plan_route, redacted, shift_times
from streamser.errors import ConfigError, StreamserError
from streamser.events import EmotionCompleted, SessionClosed, SessionEvent, TranscriptionFailed

if TYPE_CHECKING:
    from streamser.audio.clip import Samples
    from streamser.audio.reader import AudioItem, LostAudio
    from streamser.audio.source import AudioSource
    from streamser.client import ClientSession

_Tap: TypeAlias = "Callable[[Samples], None]"

_OPTIONS = {
    "asr.engine": "--asr",
    "asr.model": "--asr-model",
    "emotion.model": "--model",
    "offline": "--offline",
}


def check_remote(common: Common, server: str | None, theirs: Mapping[str, str | None]) -> None:
    """Raise ``ConfigError`` for options that make no sense with, or without, a server.

    ``theirs`` are the values of those that are only for a server.
    """
    if server is None:
        for option, value in theirs.items():
            if value is not None:
                raise ConfigError(f"{option} goes with --server URL: without one, leave it out.")
        return
    # The microphone is here, and the language is that of who speaks; all else is there.
    settings = [
        key for key in common.flags if not key.startswith("audio.") and key != "asr.language"
    ]
    options = [_OPTIONS.get(key, f"--set {key}") for key in settings]
    if common.configs:
        options.append("--config")
    if options:
        raise ConfigError(
            f"{options[0]}: the server at --server has its own models and settings; leave it out."
        )


class Totals:
    """Sum up a stream over all the sessions that it took; pure."""

    def __init__(self) -> None:
        self._sessions: set[str] = set()
        self._utterances = 0
        self._failed = 0
        self._speech_ms = 0
        self._partials = 0
        self._lost_ms = 0

    def count(self, event: SessionEvent, lost_ms: int) -> SessionEvent:
        """Count an event; return it, or the last of a session with the sums of all so far.

        ``lost_ms`` is sound that never came to a server.
        """
        self._sessions.add(event.session_id)
        match event:
            case EmotionCompleted():
                self._utterances += 1
                self._speech_ms += event.emotion.window.end_ms - event.emotion.window.start_ms
            case TranscriptionFailed():
                self._utterances += 1
                self._failed += 1
                self._speech_ms += event.audio_end_ms - event.audio_start_ms
            case SessionClosed():
                return self._close(event, lost_ms)
        return event

    def _close(self, closed: SessionClosed, lost_ms: int) -> SessionClosed:
        self._partials += closed.partials_dropped
        self._lost_ms += closed.audio_dropped_ms
        closed = msgspec.structs.replace(
            closed, partials_dropped=self._partials, audio_dropped_ms=self._lost_ms + lost_ms
        )
        if len(self._sessions) == 1:
            return closed
        return msgspec.structs.replace(
            closed,
            utterances=self._utterances,
            failed=self._failed,
            speech_ms=self._speech_ms,
        )


class Remote:
    """Stand in for an ``Analyzer`` whose models are on a server.

    Entering it begins to hear a live source, so that nothing is lost that is said to a server that
    still loads its models, and connects; raises ``ServerError`` where that fails. The events of
    ``stream`` are on the clock of the whole stream, also after the server was restarted.
    ``fault`` is why the source broke off, if it did.
    """

    def __init__(
        self,
        server: str,
        source: AudioSource,
        *,
        channel: int | None = None,
        patient: bool = False,
        speaker: str | None = None,
        speakers: str | None = None,
        meeting: str | None = None,
        language: str | None = None,
        token: str | None = None,
        ca: str | None = None,
        proxy: str | None = None,
    ) -> None:
        self.fault: str | None = None
        self._server = server
        self._source = source
        self._channel = channel
        self._patient = patient
        self._speaker = speaker
        self._speakers = speakers
        self._meeting = meeting
        self._language = language
        self._token = token or os.environ.get("STREAMSER_TOKEN") or None
        self._ca = ca
        self._proxy = proxy
        self._runner = asyncio.Runner()

    def __enter__(self) -> Remote:
        from streamser.audio.reader import KEPT, AudioReader

        route = plan_route(self._server, proxy=self._proxy, ca=self._ca)
        kept = f"What it keeps of you stands at {page_url(self._server)}"
        tell(f"The sound is sent to {redacted(self._server)}{route.told}. {kept}")
        loop = self._runner.get_loop()
        self._mailbox: asyncio.Queue[AudioItem] = asyncio.Queue()

        def post(item: AudioItem) -> None:
            loop.call_soon_threadsafe(self._mailbox.put_nowait, item)

        self._reader = AudioReader(self._source, self._channel, post, time.monotonic)
        try:
            if self._source.live:
                self._reader.start(KEPT)
            self._runner.run(self._connect())
            if self._source.live:
                self._reader.keep_less()
            else:
                self._reader.start()
        except BaseException:
            self._reader.abandon()
            self._runner.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.abandon()
        try:
            self._runner.run(self._leave(kind, error, trace))
        finally:
            self._runner.close()

    def stream(
        self,
        source: AudioSource,
        *,
        live: bool | None = None,
        speaker: str | None = None,
        on_audio: _Tap | None = None,
    ) -> Iterator[SessionEvent]:
        """Send a source and yield the events that come back, until the last; called once.

        How it is analysed was said when connecting. ``on_audio`` gets all sound, mono at
        16 kHz, before it is sent. Raises ``ServerError`` where the server is lost for good.
        """
        try:
            yield from self._events(source, on_audio or (lambda samples: None))
        finally:
            source.stop()

    async def _connect(self) -> None:
        from streamser.client import connect

        self._connection: AbstractAsyncContextManager[ClientSession] = connect(
            self._server,
            speaker=self._speaker,
            speakers=self._speakers,
            meeting=self._meeting,
            language=self._language,
            token=self._token,
            ca=self._ca,
            proxy=self._proxy,
            patient=self._patient,
            tell=warn,
        )
        self._session = await self._connection.__aenter__()

    async def _leave(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._connection.__aexit__(kind, error, trace)

    def _events(self, source: AudioSource, on_audio: _Tap) -> Iterator[SessionEvent]:
        from streamser.pipeline.emitter import DropCounter

        self._missing = DropCounter("audio")
        self._lost_ms = 0
        sending = self._runner.get_loop().create_task(self._send(source, on_audio))
        totals = Totals()
        while (event := self._runner.run(self._next())) is not None:
            self._tell_lost()
            lost_ms = self._session.lost_ms + self._missing.total_ms
            yield totals.count(event, lost_ms)
        self._runner.run(_wait_for(sending))

    async def _next(self) -> SessionEvent | None:
        event = await anext(self._session, None)
        if event is None:
            return None
        return cast("SessionEvent", shift_times(event, self._session.offset_ms))

    async def _send(self, source: AudioSource, on_audio: _Tap) -> None:
        from streamser.audio.reader import Chunk, EndOfStream, LostAudio

        try:
            while True:
                match await self._mailbox.get():
                    case Chunk(samples=samples):
                        on_audio(samples)
                        await self._session.send(samples)
                        self._reader.consumed(len(samples))
                    case LostAudio() as missed:
                        self._tell_missed(missed)
                    case EndOfStream(error=error):
                        self.fault = _fault(error)
                        return
        except ServerError:
            # Whoever reads the events is told of it.
            source.stop()
        finally:
            with suppress(ServerError):
                await self._session.finish()

    def _tell_missed(self, missed: LostAudio) -> None:
        from streamser.events import Overload

        report = self._missing.drop(missed.samples, missed.reason, missed.at)
        if report is not None:
            advice = advice_of(Overload(event_id="", session_id=self._session.id, seq=0, **report))
            warn(advice or "some sound was lost")

    def _tell_lost(self) -> None:
        lost_ms = self._session.lost_ms
        if lost_ms > self._lost_ms:
            warn(f"{lost_ms - self._lost_ms} ms of sound lost: there was no connection for long")
            self._lost_ms = lost_ms


async def _wait_for(task: asyncio.Task[None]) -> None:
    await task


def _fault(error: BaseException | None) -> str | None:
    """Say for people why a source broke off."""
    if error is None or isinstance(error, StreamserError):
        return None if error is None else str(error)
    return f"{type(error).__name__}: {error}"
