"""One client's stream on the server: it outlives its connection, and knows no socket."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator

import msgspec
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE, to_samples
from streamser.audio.reader import Resampler
from streamser.audio.source import SoundCheck
from streamser.emotion.model import SpeakerModel
from streamser.errors import ModelError
from streamser.events import (
    AudioConfig,
    AudioFormat,
    AudioInput,
    Event,
    Limits,
    ModelNames,
    TranscriptionConfig,
    TurnDetection,
)
from streamser.pipeline.build import build_session_config
from streamser.pipeline.pool import WorkerPools
from streamser.pipeline.requests import Outcome, Request
from streamser.pipeline.session import Output, Session
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot
from streamser.pipeline.stream import SessionRunner
from streamser.server.commands import (
    SoundDecoder,
    StreamSettings,
    encoding_of,
    frame_bytes,
    rate_of,
    usable,
)
from streamser.server.limits import MessagePace
from streamser.server.outgoing import MissedEvents
from streamser.settings import EndpointingSettings, Settings
from streamser.speech.vad import Vad

logger = logging.getLogger(__name__)

_BURST_S = 30.0

_AHEAD = 8
"""Finals a stream may wait for before no more of its sound is taken in."""

_QUIET_S = 0.25
"""How often it is looked what is to be told, where no sound comes: by no more than so much at
once, so that a loop that was held up does not take what waits in its sockets for a pause."""

_PIECE_S = 0.5
"""Longest piece of sound heard at once: between two, others get their turn."""


class AudioPace:
    """Let sound through at ``speed`` times real time, after a burst of 30 s; pure.

    A client who has lost its connection may so catch up at once.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._credit = _BURST_S
        self._last: float | None = None

    def due(self, sound_s: float, came: float) -> float:
        """Return when so many seconds of sound that came at ``came`` are to be taken in.

        It is as if they came then. What came earlier has to be given earlier.
        """
        last = came if self._last is None else self._last
        self._last = came = max(came, last)
        self._credit = min(_BURST_S, self._credit + (came - last) * self._speed) - sound_s
        return came + max(0.0, -self._credit / self._speed)


class StreamResources(msgspec.Struct, frozen=True, eq=False):
    """Hold what all streams of a server are made with.

    ``models`` names them, ``modalities`` are those that emotion is read from; ``language`` is
    what the recogniser takes speech for where a client does not say, ``None`` where it detects
    it. ``new_speaker`` makes a speaker of the emotion model, which may have been loaded anew.
    """

    settings: Settings
    make_vad: Callable[[], Vad]
    new_speaker: Callable[[], SpeakerModel]
    models: ModelNames
    modalities: tuple[str, ...]
    workers: WorkerPools
    limits: Limits
    language: str | None


def stream_settings(settings: Settings) -> StreamSettings:
    """Say how a stream is set up whose client says nothing."""
    return StreamSettings(
        format=usable(AudioFormat(type="audio/pcm")),
        endpointing=settings.endpointing,
        partial=settings.partial,
    )


class LiveStream:
    """Drive one session on the event loop's thread; events go to ``on_event``, in order.

    What fails where nobody has called is given to ``on_fault``; methods raise it.

    Sound is given in ``pieces`` that take a moment each.
    """

    def __init__(
        self,
        session_id: str,
        meeting: str | None,
        asked: StreamSettings,
        resources: StreamResources,
        messages: MessagePace,
        on_event: Callable[[Event], None],
        on_fault: Callable[[Exception], None],
    ) -> None:
        self.session_id = session_id
        self.asked = asked
        self.began = time.monotonic()
        self.away = False
        """Whether the client has vanished, and may come back with the rest of its sound."""
        # Of the stream, not of the connection: coming back again and again gains nothing.
        self.pace = AudioPace(resources.limits.speed)
        self.messages = messages
        self._meeting = meeting
        self._resources = resources
        self._on_event = on_event
        self._on_fault = on_fault
        self._loop = asyncio.get_running_loop()
        config = self._session_config(asked)
        self._session = Session(config, resources.make_vad(), resources.new_speaker)
        self._runner = SessionRunner(
            self._session, resources.workers, self._post, None if asked.ordered else time.monotonic
        )
        self._decoder = SoundDecoder(asked.format)
        self._check: SoundCheck | None = SoundCheck(encoding_of(asked.format))
        self._resampler = Resampler(rate_of(asked.format), 1)
        self._frames = 0
        self._reached = 0.0
        self._last_sound = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._ahead = _AHEAD
        self._room = asyncio.Event()
        self._room.set()
        self._over = asyncio.Event()
        self._ending = False

    @property
    def received_frames(self) -> int:
        """Return how many frames of sound have come, at the rates they came in."""
        return self._frames

    @property
    def reached_ms(self) -> int:
        """Return how much sound has been heard, in ms."""
        return round(self._reached / to_samples(1))

    @property
    def over(self) -> bool:
        """Return whether the last event has been told."""
        return self._over.is_set()

    def open(self, voice: SessionSnapshot | None) -> None:
        """Open the session; ``voice`` is what was learnt of the speaker before."""
        self._resources.workers.enter(self.session_id)
        if voice is not None:
            try:
                self._session.speakers.restore(voice)
            except ModelError as error:
                # Worth less than a stream that begins: the voice is learnt anew.
                logger.warning("a voice is learnt anew: %s", error)
        self._emit(self._runner.begin())

    def voice(self) -> SessionSnapshot | None:
        """Return what has been learnt of the speaker; ``None`` where the model cannot say."""
        try:
            return self._session.speakers.snapshot()
        except Exception as error:
            # Of a model that may be anybody's: the stream's end is to be told all the same.
            logger.error("what was learnt of a speaker is lost", exc_info=error)
            return None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Cut raw sound so that each part is soon heard."""
        size = round(_PIECE_S * rate_of(self.asked.format)) * frame_bytes(self.asked.format)
        for offset in range(0, len(data), size):
            yield data[offset : offset + size]

    def seconds(self, data: bytes) -> float:
        """Return how long raw sound lasts."""
        return len(data) / frame_bytes(self.asked.format) / rate_of(self.asked.format)

    async def wait_for_room(self) -> None:
        """Wait until the stream's finals are not too far behind."""
        await self._room.wait()

    def push_audio(self, data: bytes, came: float) -> None:
        """Hear raw sound; lags are counted from ``came``, in s of the monotonic clock."""
        if self._ending:
            return
        # None once there was a doubt: one advice a stream, whatever is set up after it.
        doubt = None if self._check is None else self._check.look(data)
        if doubt is not None:
            self._check = None
            self._emit(self._runner.advise(doubt))
        frames = self._decoder.decode(data)
        self._frames += len(frames)
        self._reached += len(frames) * SAMPLE_RATE / self._resampler.rate
        samples = self._resampler.feed(frames)
        self._last_sound = time.monotonic()
        arrived = min(came, self._last_sound)
        self._emit(self._runner.push_audio(samples, arrived, round(self._reached)))

    def commit(self, event_id: str | None, *, lenient: bool) -> None:
        """End the open utterance here."""
        if self.asked.manual:
            # All that was sent before counts, also what the resampler still holds.
            self._drain_resampler()
        self._carry(self._session.commit(event_id, lenient=lenient))

    def clear(self) -> None:
        """Throw the open utterance away."""
        if self.asked.manual:
            self._drain_resampler()
        self._carry(self._session.clear())

    def mark(self, marker: str) -> None:
        """Echo a marker once everything so far has been told."""
        self._carry(self._session.mark(marker))

    def report(self, code: str, message: str) -> None:
        """Tell the client of a fault that is not its own."""
        self._carry(self._session.report(code, message))

    def welcome_back(self, missed: MissedEvents) -> None:
        """Tell a client that has come back where to go on, and what it cannot be told."""
        # A sample that was cut in two with the line comes again, whole.
        self._decoder = SoundDecoder(self.asked.format)
        if self._check is not None:
            self._check = SoundCheck(encoding_of(self.asked.format))
        lost = {"lost_events": missed.lost_events, "lost_finals": missed.lost_finals}
        self._carry(self._session.welcome_back(received_frames=self._frames, **lost))

    def configure(self, asked: StreamSettings) -> None:
        """Go on with other settings."""
        if asked.format != self.asked.format:
            self._drain_resampler()
            self._decoder = SoundDecoder(asked.format)
            if self._check is not None:
                self._check = SoundCheck(encoding_of(asked.format))
            self._session.trust_sound()
            self._resampler = Resampler(rate_of(asked.format), 1)
        if asked.speaker != self.asked.speaker:
            self._session.speakers.reset()
        self.asked = asked
        self._runner.set_clock(None if asked.ordered else time.monotonic)
        self._carry(self._session.configure(self._session_config(asked)))

    def finish(self) -> None:
        """Let the sound end here; everything still to tell will be told."""
        if not self._ending:
            self._drain_resampler()
            self._ending = True
            self._emit(self._runner.flush())

    def fail(self) -> None:
        """End after a fault: no sound is heard any more, and what was heard is still told."""
        if not self._ending:
            self._ending = True
            self._emit(self._runner.flush())

    async def wait_until_over(self) -> None:
        """Wait for the last event."""
        await self._over.wait()

    def abandon(self) -> None:
        """Drop what waits with the workers; nothing is told any more."""
        self._ending = True
        self._resources.workers.leave(self.session_id)
        self._room.set()
        self._end()

    def _end(self) -> None:
        self._over.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        # We would keep each other, and the sound, until somebody looks for such circles.
        self._on_event = _ignore
        self._on_fault = _ignore
        self._runner.detach()

    def _drain_resampler(self) -> None:
        if self._ending:
            return
        samples = self._resampler.flush()
        self._resampler = Resampler(self._resampler.rate, 1)
        self._emit(self._runner.push_audio(samples, time.monotonic(), round(self._reached)))

    def _post(self, request: Request, outcome: Outcome) -> None:
        """Bring an outcome from a worker's thread to the loop's."""
        try:
            self._loop.call_soon_threadsafe(self._on_outcome, request, outcome)
        except RuntimeError:
            # The loop has ended: nobody waits for outcomes any more.
            return

    def _on_outcome(self, request: Request, outcome: Outcome) -> None:
        if self._over.is_set():
            return
        try:
            self._emit(self._runner.resolve(request, outcome))
        except Exception as error:
            self._on_fault(error)

    def _let_time_pass(self) -> None:
        self._timer = None
        if self._over.is_set():
            return
        quiet = time.monotonic() - self._last_sound >= _QUIET_S
        passed = to_samples(1000 * _QUIET_S) if quiet else 0
        # Of one who is away the rest is still to come, and of one who waits for room it is here.
        all_heard = not self.away and self._room.is_set()
        try:
            self._emit(self._runner.lapse(passed, all_heard=all_heard))
        except Exception as error:
            self._on_fault(error)

    def _carry(self, output: list[Output]) -> None:
        self._emit(self._runner.dispatch(output))

    def _emit(self, events: list[Event]) -> None:
        for event in events:
            self._on_event(event)
        waits = self._runner.waits_for_time and not self._runner.closed
        if waits and self._timer is None:
            self._timer = self._loop.call_later(_QUIET_S, self._let_time_pass)
        if self._runner.pending < self._ahead:
            self._room.set()
        else:
            self._room.clear()
        if self._runner.closed:
            self._resources.workers.leave(self.session_id)
            self._end()

    def _session_config(self, asked: StreamSettings) -> SessionConfig:
        resources = self._resources
        settings = replace(resources.settings, endpointing=asked.endpointing, partial=asked.partial)
        models = resources.models if asked.transcribe else replace(resources.models, asr=None)
        return replace(
            build_session_config(settings, self.session_id, models, resources.modalities),
            ordered=asked.ordered,
            # A stream is paced by not reading on, so its finals need never be refused.
            patient=True,
            manual=asked.manual,
            speaker=asked.speaker,
            meeting=self._meeting,
            language=asked.language,
            audio=_audio(asked, models, asked.language or resources.language),
            limits=resources.limits,
        )


def _ignore(event: Event | Exception) -> None:
    return


def _audio(asked: StreamSettings, models: ModelNames, language: str | None) -> AudioConfig:
    transcription = None
    if models.asr is not None:
        transcription = TranscriptionConfig(
            model=models.asr, language=language, prompt=asked.prompt
        )
    turns = None if asked.manual else _turns(asked.endpointing)
    return AudioConfig(
        input=AudioInput(format=asked.format, transcription=transcription, turn_detection=turns)
    )


def _turns(endpointing: EndpointingSettings) -> TurnDetection:
    return TurnDetection(
        threshold=endpointing.threshold,
        prefix_padding_ms=endpointing.pre_roll_ms,
        silence_duration_ms=endpointing.silence_ms,
    )
