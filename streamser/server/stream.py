"""One client's stream on the server: it outlives its connection, and knows no socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Final, Protocol

import msgspec
import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE, Samples, to_samples
from streamser.audio.reader import Resampler
from streamser.audio.source import (
    SoundCheck,
    SoundDecoder,
    encoding_of,
    frame_bytes,
    rate_of,
    usable,
)
from streamser.errors import ModelError
from streamser.events import (
    AudioConfig,
    AudioFormat,
    AudioInput,
    ErrorBody,
    Event,
    Limits,
    ModelNames,
    TranscriptionConfig,
    TurnDetection,
)
from streamser.hosting.records import (
    Advise,
    Clear,
    Commit,
    Expect,
    Flush,
    Mark,
    Notify,
    Push,
    Reconfigure,
    SessionHandle,
    SessionHost,
    SessionInput,
    Told,
    TrustSound,
    WelcomeBack,
)
from streamser.pipeline.build import build_session_config
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot
from streamser.pipeline.speaker_state import SpeakerOrder
from streamser.server.dialects.commands import StreamSettings
from streamser.server.limits import MessagePace
from streamser.server.outgoing import MissedEvents
from streamser.settings import EndpointingSettings, Settings

_BURST_S = 30.0

_AHEAD = 8
"""Finals a stream may wait for before no more of its sound is taken in."""

_IN_FLIGHT = 2 * SAMPLE_RATE
"""Samples that may be on their way to the session before no more of its sound is taken in."""

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
    it. ``host`` is where sessions live, with their models.
    """

    settings: Settings
    host: SessionHost
    models: ModelNames
    modalities: tuple[str, ...]
    limits: Limits
    language: str | None


class StreamOwner(Protocol):
    """Get what a stream tells."""

    def on_event(self, event: Event) -> None:
        """Pass an event on to everybody."""
        ...

    def on_refusal(self, error: ErrorBody) -> None:
        """Tell the client alone that something it asked for cannot be done."""
        ...

    def on_fault(self, error: Exception) -> None:
        """End the stream, as something has failed."""
        ...


def stream_settings(settings: Settings) -> StreamSettings:
    """Say how a stream is set up whose client says nothing."""
    return StreamSettings(
        format=usable(AudioFormat(type="audio/pcm")),
        endpointing=settings.endpointing,
        partial=settings.partial,
        speakers=settings.speakers.told_apart or "off",
    )


class LiveStream:
    """Take in the sound of one client for its session, and tell its ``owner`` what comes of it.

    For the event loop's thread. Sound is given in ``pieces`` that take a moment each.
    """

    def __init__(
        self,
        session_id: str,
        meeting: str | None,
        asked: StreamSettings,
        resources: StreamResources,
        messages: MessagePace,
        owner: StreamOwner,
    ) -> None:
        self.session_id = session_id
        self.asked = asked
        self.began = time.monotonic()
        # Of the stream, not of the connection: coming back again and again gains nothing.
        self.pace = AudioPace(resources.limits.speed)
        self.messages = messages
        self._meeting = meeting
        self._resources = resources
        self._owner: StreamOwner = owner
        self._handle: SessionHandle | None = None
        self._decoder = SoundDecoder(asked.format)
        self._check: SoundCheck | None = SoundCheck(encoding_of(asked.format))
        self._resampler = Resampler(rate_of(asked.format), 1)
        self._frames = 0
        self._reached = 0.0
        self._pending = 0
        self._away = False
        self._expecting = False
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

    @property
    def away(self) -> bool:
        """Return whether the client has vanished, and may come back with the rest of its sound."""
        return self._away

    @away.setter
    def away(self, away: bool) -> None:
        self._away = away
        self._tell_expectation()

    def open(self, voice: SessionSnapshot | None) -> None:
        """Open the session; ``voice`` is what was learnt of the speaker before."""
        config = self._session_config(self.asked)
        self._handle = self._resources.host.open(config, voice, self._on_told)

    def voice(self) -> SessionSnapshot | None:
        """Return what has been learnt of the speaker; ``None`` where the model cannot say."""
        return None if self._handle is None else self._handle.snapshot()

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
            self._apply(Advise(doubt))
        frames = self._decoder.decode(data)
        self._frames += len(frames)
        self._reached += len(frames) * SAMPLE_RATE / self._resampler.rate
        self._push(self._resampler.feed(frames), came)

    def commit(self, event_id: str | None, *, lenient: bool) -> None:
        """End the open utterance here."""
        if self.asked.manual:
            # All that was sent before counts, also what the resampler still holds.
            self._drain_resampler()
        self._apply(Commit(event_id, lenient))

    def clear(self) -> None:
        """Throw the open utterance away."""
        if self.asked.manual:
            self._drain_resampler()
        self._apply(Clear())

    def mark(self, marker: str) -> None:
        """Echo a marker once everything so far has been told."""
        self._apply(Mark(marker))

    def name_speakers(self, order: SpeakerOrder) -> None:
        """Follow what the client says of who speaks."""
        self._apply(order)

    def report(self, code: str, message: str) -> None:
        """Tell the client of a fault that is not its own."""
        self._apply(Notify(code, message))

    def welcome_back(self, missed: MissedEvents) -> None:
        """Tell a client that has come back where to go on, and what it cannot be told."""
        # A sample that was cut in two with the line comes again, whole.
        self._decoder = SoundDecoder(self.asked.format)
        if self._check is not None:
            self._check = SoundCheck(encoding_of(self.asked.format))
        self._apply(WelcomeBack(self._frames, missed.lost_events, missed.lost_finals))

    def configure(self, asked: StreamSettings) -> None:
        """Go on with other settings."""
        if asked.format != self.asked.format:
            self._drain_resampler()
            self._decoder = SoundDecoder(asked.format)
            if self._check is not None:
                self._check = SoundCheck(encoding_of(asked.format))
            self._apply(TrustSound())
            self._resampler = Resampler(rate_of(asked.format), 1)
        new_speaker = asked.speaker != self.asked.speaker
        self.asked = asked
        self._apply(Reconfigure(self._session_config(asked), new_speaker))

    def finish(self) -> None:
        """Let the sound end here; everything still to tell will be told."""
        if not self._ending:
            self._drain_resampler()
            self._ending = True
            self._apply(Flush())

    def fail(self) -> None:
        """End after a fault: no sound is heard any more, and what was heard is still told."""
        if not self._ending:
            self._ending = True
            self._apply(Flush())

    async def wait_until_over(self) -> None:
        """Wait for the last event."""
        await self._over.wait()

    def abandon(self) -> None:
        """Drop what waits with the models; nothing is told any more."""
        self._ending = True
        self._end()

    def _end(self) -> None:
        self._over.set()
        # Who waits to give it sound may serve others besides.
        self._room.set()
        # We would keep each other, and the sound, until somebody looks for such circles.
        self._owner = _NOBODY
        handle, self._handle = self._handle, None
        if handle is not None:
            handle.leave()

    def _drain_resampler(self) -> None:
        if self._ending:
            return
        samples = self._resampler.flush()
        self._resampler = Resampler(self._resampler.rate, 1)
        self._push(samples, time.monotonic())

    def _push(self, samples: Samples, came: float) -> None:
        sound = np.ascontiguousarray(samples, np.float32).tobytes()
        self._apply(Push(sound, came, round(self._reached)))
        self._look_for_room()

    def _apply(self, item: SessionInput) -> None:
        if self._handle is not None:
            self._handle.apply(item)

    def _on_told(self, told: Told) -> None:
        for event in told.events:
            self._owner.on_event(event)
        for _, refusal in told.refusals:
            self._owner.on_refusal(refusal)
        self._pending = told.pending
        if told.fault is not None:
            self._owner.on_fault(ModelError(told.fault))
        self._look_for_room()
        if told.closed:
            self._end()

    def _look_for_room(self) -> None:
        """See whether more sound can be taken in: not if finals, or sound, are too far behind."""
        behind = 0 if self._handle is None else self._handle.in_flight
        if self._pending < _AHEAD and behind < _IN_FLIGHT:
            self._room.set()
        else:
            self._room.clear()
        self._tell_expectation()

    def _tell_expectation(self) -> None:
        # Of one who is away the rest is still to come, and of one who waits for room it is here.
        expecting = self._away or not self._room.is_set()
        if expecting != self._expecting:
            self._expecting = expecting
            self._apply(Expect(expecting))

    def _session_config(self, asked: StreamSettings) -> SessionConfig:
        resources = self._resources
        settings = replace(
            resources.settings,
            endpointing=asked.endpointing,
            partial=asked.partial,
            speakers=replace(resources.settings.speakers, told_apart=asked.speakers),
        )
        models = resources.models if asked.transcribe else replace(resources.models, asr=None)
        return replace(
            build_session_config(settings, self.session_id, models, resources.modalities),
            ordered=asked.ordered,
            # A stream is paced by not reading on, so its finals need never be refused.
            patient=True,
            background=asked.background,
            manual=asked.manual,
            speaker=asked.speaker,
            meeting=self._meeting,
            language=asked.language,
            audio=_audio(asked, models, asked.language or resources.language),
            limits=resources.limits,
        )


class _Nobody:
    def on_event(self, event: Event) -> None:
        return

    def on_refusal(self, error: ErrorBody) -> None:
        return

    def on_fault(self, error: Exception) -> None:
        return


_NOBODY: Final = _Nobody()


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
