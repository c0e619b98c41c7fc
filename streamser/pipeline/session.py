"""The session core: sound and results in, events and requests out.

Pure: it knows no clock, thread, socket, file or model. Whoever drives it pushes sound, runs
the requests that come out, and hands their results back, in any order and at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from streamser.audio.clip import Ring, Samples, to_ms
from streamser.audio.suspicion import Doubt
from streamser.emotion.model import Features, Prediction, SpeakerModel
from streamser.emotion.mood import Mood
from streamser.errors import ModelError
from streamser.events import (
    Advice,
    Cleared,
    Committed,
    ErrorRaised,
    Event,
    Marker,
    SessionClosed,
    SessionCreated,
    SessionResumed,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
)
from streamser.pipeline.emitter import Draft, DropCounter, EventEmitter, draft
from streamser.pipeline.requests import Cancel, Fault, Outcome, Request, fault_of
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot, describe, reach_of
from streamser.pipeline.speaker_state import SpeakerModels
from streamser.pipeline.tracker import FinalReady, PartialReady, RequestTracker, VoiceReady
from streamser.pipeline.utterance import (
    UNREADABLE,
    Analysed,
    EventBuilder,
    RefusedError,
    Utterance,
    client_error,
    server_error,
)
from streamser.speech.endpointing import (
    Closed,
    EndpointEvent,
    Extended,
    Opened,
    PauseDetected,
    SpeechResumed,
)
from streamser.speech.hypothesis import agree, committed_text, units
from streamser.speech.transcriber import Transcript
from streamser.speech.turns import ManualTurnDetector, TurnDetector, VadTurnDetector
from streamser.speech.vad import Vad

__all__ = ["Output", "Session"]

logger = logging.getLogger(__name__)

Output: TypeAlias = Event | Request | Cancel
_Word: TypeAlias = Callable[[Prediction], Draft]

_MARKERS = 1000
"""Markers that may wait: a client that stops in the middle of a word could send them for ever."""


class Session:
    """Follow one stream of sound from its first sample to its last event.

    The same samples give the same requests in any chunking; with the same results handed back
    after the same samples (or ``ordered``, after any) they give the same events.
    ``make_listener`` makes a listener that knows nobody, for each voice that is told apart.
    """

    def __init__(
        self, profile: SessionConfig, vad: Vad, make_listener: Callable[[], SpeakerModel]
    ) -> None:
        self._profile = profile
        self._vad = vad
        self._listeners = SpeakerModels(make_listener, profile.clustering)
        self._mood = Mood(profile.mood_seconds)
        self._wording = EventBuilder(profile.models.emotion, profile.speaker)
        self._ring = Ring(reach_of(profile.endpointing, vad.window))
        self._turns = self._take_turns(profile)
        self._next: SessionConfig | None = None
        self._outbox = EventEmitter(profile.session_id, ordered=profile.ordered)
        self._tracker = RequestTracker(profile, self._ring)
        self._without_words: list[Utterance] = []
        self._quiet = 0
        self._soundless = 0
        self._numbers = 0
        self._open: Utterance | None = None
        self._last: Utterance | None = None
        self._markers: list[tuple[str, int]] = []
        self._lost_partials = DropCounter("partials")
        self._lost_audio = DropCounter("audio")
        self._speech = 0
        self._utterances = 0
        self._failed = 0
        self._ending = False
        self.closed = False

    @property
    def position(self) -> int:
        """Return how many samples have been pushed."""
        return self._turns.heard

    @property
    def waits_for_time(self) -> bool:
        """Return whether anything is to be told, should time ``lapse`` without words or sound."""
        return bool(self._without_words) or self._minds_silence

    def begin(self) -> list[Output]:
        """Introduce the session; to be called once, before anything else."""
        self._outbox.say(draft(SessionCreated, session=describe(self._profile)))
        return self._output()

    def configure(self, profile: SessionConfig) -> list[Output]:
        """Go on with another profile of the same session and models.

        How utterances are found changes at the next pause, all else at once. ``ordered`` may
        change only before the first sound; raises ``ValueError`` after it.
        """
        if profile.ordered != self._profile.ordered:
            if self.position:
                raise ValueError("the order of events cannot change once sound was heard")
            self._outbox.ordered = profile.ordered
        found_alike = (profile.endpointing, profile.manual) == (
            self._profile.endpointing,
            self._profile.manual,
        )
        # A change that is taken back before it came into force is none.
        self._next = None if found_alike and self._next is None else profile
        self._profile = self._tracker.profile = profile
        self._wording = EventBuilder(profile.models.emotion, profile.speaker)
        self._change_turns()
        self._outbox.say(draft(SessionUpdated, session=describe(profile)))
        return self._output()

    def push(self, samples: Samples) -> list[Output]:
        """Hear mono float32 samples at 16 kHz, any number of them."""
        if len(samples):
            self._soundless = 0
        while len(samples):
            self._change_turns()
            taken, events = self._turns.hear(samples)
            samples = samples[taken:]
            for event in events:
                self._follow(event)
            self._tell_voices()
            if self._markers:
                self._place_markers()
        return self._output()

    def lapse(self, samples: int, *, all_heard: bool = True) -> list[Output]:
        """Let time pass in which no sound comes, not even silence, in samples.

        After ``no_sound`` of it the open utterance ends: who is heard only while speaking sends
        no pause. Unless not ``all_heard``: then sound may come, or is there and waits to be pushed.
        """
        self._quiet += samples
        self._tell_voices()
        if all_heard and self._minds_silence:
            self._soundless += samples
            if self._soundless >= self._profile.no_sound:
                for event in self._turns.commit("no_sound"):
                    self._follow(event)
                self._place_markers()
        return self._output()

    def commit(self, event_id: str | None = None, *, lenient: bool = False) -> list[Output]:
        """End the open utterance here.

        Raises ``RefusedError`` where there is none, unless ``lenient``.
        """
        events = [] if self._ending else self._turns.commit()
        for event in events:
            self._follow(event)
        if not events and not lenient:
            message = "there is nothing to commit: no speech is open, or less than 100 ms was sent"
            code = "input_audio_buffer_commit_empty"
            raise RefusedError(client_error(code, message, event_id))
        self._place_markers()
        return self._output()

    def clear(self) -> list[Output]:
        """Throw the open utterance away."""
        if not self._ending:
            self._turns.clear()
            self._drop_open()
            self._place_markers()
        self._outbox.say(draft(Cleared))
        return self._output()

    def welcome_back(self, received_frames: int, **lost: int) -> list[Output]:
        """Tell a client that has come back how much of its sound is here, what events are not."""
        self._outbox.say(draft(SessionResumed, received_frames=received_frames, **lost))
        return self._output()

    def resolve(self, request_id: int, outcome: Outcome) -> list[Output]:
        """Take the outcome of a request; one that was cancelled is ignored."""
        match self._tracker.resolve(request_id, outcome):
            case PartialReady() as answer:
                self._take_partial(answer)
            case VoiceReady():
                self._tell_voices()
            case FinalReady(utterance=utterance):
                if utterance in self._without_words:
                    self._without_words.remove(utterance)
                if utterance.slot is not None:
                    utterance.slot.ready = True
        self._outbox.settle()
        return self._output()

    def mark(self, marker_id: str) -> list[Output]:
        """Ask for an echo once everything about the sound so far has been told."""
        if len(self._markers) >= _MARKERS:
            message = f"{_MARKERS} markers wait already for the end of an utterance"
            raise RefusedError(client_error("too_many_markers", message))
        if not self._ending:
            self._markers.append((marker_id, self.position))
            self._place_markers()
        return self._output()

    def lose_audio(self, samples: int, reason: str, at: int) -> list[Output]:
        """Note that sound was lost at a sample (0: nobody knows how much); push silence for it."""
        told = self._lost_audio.note(samples, reason, at)
        if told is not None:
            self._outbox.say(told)
        return self._output()

    def report(self, code: str, message: str) -> list[Output]:
        """Tell clients of a fault of the session's source."""
        self._outbox.say(draft(ErrorRaised, error=server_error(code, message)))
        return self._output()

    def advise(self, doubt: Doubt) -> list[Output]:
        """Tell that the sound is likely of the wrong kind; what is unreadable is not read."""
        self._tracker.readable = doubt.readable
        self._outbox.say(draft(Advice, kind=doubt.kind, message=doubt.message))
        return self._output()

    def trust_sound(self) -> None:
        """Read what comes from here on: the client has said anew how it is written."""
        self._tracker.readable = True

    def snapshot(self) -> SessionSnapshot:
        """Return what was learnt of the speaker so far."""
        return SessionSnapshot(self._profile.models.emotion, self._listeners.snapshot())

    def resume(self, snapshot: SessionSnapshot) -> None:
        """Go on with what another session had learnt of the same speaker.

        Raises ``ModelError`` for the state of another model, or a damaged one.
        """
        if snapshot.model != self._profile.models.emotion:
            raise ModelError(
                f"what {snapshot.model} learnt of a speaker is of no use to"
                f" {self._profile.models.emotion}: start without it"
            )
        self._listeners.restore(snapshot.speaker)

    def forget_speaker(self) -> None:
        """Start anew with whoever speaks next: another person has taken the microphone."""
        self._listeners.reset()

    def flush(self) -> list[Output]:
        """End the stream: close what is open; ``closed`` turns true after the last final."""
        if not self._ending:
            self._ending = True
            for event in self._turns.flush():
                self._follow(event)
            self._drop_open()
            self._place_markers()
            self._outbox.reserve(self._close).ready = True
            self._outbox.settle()
        return self._output()

    @property
    def _minds_silence(self) -> bool:
        profile = self._profile
        minds = profile.no_sound and not (profile.ordered or profile.manual or self._ending)
        return bool(minds) and not self._turns.idle

    def _output(self) -> list[Output]:
        return [*self._tracker.collect(), *self._outbox.collect()]

    # Sound → utterances

    def _take_turns(self, profile: SessionConfig) -> TurnDetector:
        if profile.manual:
            return ManualTurnDetector(self._ring, profile.endpointing.max_length, self._vad.window)
        self._vad.reset()
        return VadTurnDetector(self._ring, self._vad, profile.endpointing)

    def _change_turns(self) -> None:
        """Find utterances in another way from here on, if that was asked and nobody speaks."""
        profile = self._next
        if profile is None or not self._turns.idle:
            return
        self._next = None
        self._turns.release()
        reach = reach_of(profile.endpointing, self._vad.window)
        self._ring = self._tracker.ring = self._ring.resized(reach)
        self._turns = self._take_turns(profile)

    def _follow(self, event: EndpointEvent) -> None:
        match event:
            case Opened(start=start):
                self._start(start)
            case Extended(end=end):
                self._extend(end)
            case PauseDetected(end=end):
                if self._profile.speculative:
                    self._ask_final(end)
            case SpeechResumed():
                self._tracker.withdraw_final(self._opened())
            case Closed(end=end, reason=reason):
                self._stop(end, reason)

    def _start(self, start: int) -> None:
        self._numbers += 1
        item_id = f"item_{self._profile.session_id}_{self._numbers}"
        self._open = Utterance(number=self._numbers, item_id=item_id, start=start)
        self._outbox.say(draft(SpeechStarted, item_id=item_id, audio_start_ms=to_ms(start)))

    def _extend(self, end: int) -> None:
        utterance = self._opened()
        every = self._profile.partial_every
        utterance.speech += self._turns.window
        if every and utterance.speech >= every * (utterance.readings + 1):
            utterance.readings += 1
            # An ordered session keeps the partial's place; a live one tells it when it comes.
            slot = self._outbox.reserve(lambda: None) if self._profile.ordered else None
            self._tracker.ask_partial(utterance, end, slot)

    def _stop(self, end: int, reason: str) -> None:
        utterance = self._opened()
        if utterance.is_asked and utterance.end != end:
            self._tracker.withdraw_final(utterance)
        if not utterance.is_asked:
            self._ask_final(end)
        previous = self._last.item_id if self._last else None
        item_id = utterance.item_id
        say = self._outbox.say
        say(draft(SpeechStopped, item_id=item_id, audio_end_ms=to_ms(end), reason=reason))
        say(draft(Committed, item_id=item_id, previous_item_id=previous))
        self._speech += end - utterance.start
        self._utterances += 1
        self._open, self._last = None, utterance
        utterance.slot = self._outbox.reserve(partial(self._tell_final, utterance))
        utterance.slot.ready = utterance.outcome is not None
        if utterance.outcome is None and utterance.transcript is None and self._profile.tells_voice:
            utterance.patience_ends = self._clock + self._profile.patience
            self._without_words.append(utterance)
        self._outbox.settle()

    def _drop_open(self) -> None:
        utterance, self._open = self._open, None
        if utterance is not None:
            self._tracker.drop(utterance)
            self._outbox.settle()

    def _opened(self) -> Utterance:
        assert self._open is not None, "the segmenter speaks of an utterance it never opened"
        return self._open

    def _ask_final(self, end: int) -> None:
        self._lost_partials.count(self._tracker.ask_final(self._opened(), end))

    # Results → events

    @property
    def _clock(self) -> int:
        """Return how much time has passed, with sound and without, in samples."""
        return self.position + self._quiet

    def _take_partial(self, answer: PartialReady) -> None:
        if answer.lost == "coalesced":
            self._lost_partials.count(1)
        elif answer.lost is not None and (
            told := self._lost_partials.note(1, answer.lost, self.position)
        ):
            self._outbox.say(told)
        if answer.slot is None:
            self._tell_partial(answer)
            return
        answer.slot.ready = True
        answer.slot.tell = partial(self._tell_partial, answer)

    def _tell_partial(self, answer: PartialReady) -> None:
        utterance = answer.utterance
        if answer.transcript is not None:
            self._tell_partial_words(utterance, answer.transcript, answer.end)
        if answer.observed is not None:
            self._tell_reading(
                utterance,
                answer.observed.finding,
                lambda reading: self._wording.delta(utterance, reading, answer.start, answer.end),
                answer.end,
            )

    def _tell_reading(
        self, utterance: Utterance, finding: Features, word: _Word, position: int
    ) -> None:
        """Tell what a finding means up to a sample, or that it is lost: listeners may fail."""
        try:
            known = not utterance.unreadable
            reading = self._listeners.predict(finding) if known else UNREADABLE
            content: Draft | None = word(reading)
        except Exception as error:
            logger.error("a reading was lost", exc_info=error)
            # By its own place in the sound: when it comes must not matter where order does.
            content = self._lost_partials.note(1, "failed", position)
        if content is not None:
            self._outbox.emit(content)

    def _tell_partial_words(self, utterance: Utterance, transcript: Transcript, end: int) -> None:
        if transcript.distrust:
            return
        utterance.stable = agree(utterance.stable, units(transcript.text))
        self._outbox.emit(self._wording.partial(utterance, end))
        settled = committed_text(utterance.stable)
        if len(settled) > len(utterance.told) and settled.startswith(utterance.told):
            self._outbox.emit(self._wording.settled(utterance, settled))
            utterance.told = settled

    def _tell_voices(self) -> None:
        """Tell of voices alone whose words have not come in time."""
        for utterance in list(self._without_words):
            alone, late = utterance.alone, self._clock >= utterance.patience_ends
            if late and alone is not None and utterance.transcript is None:
                self._without_words.remove(utterance)
                word = partial(self._wording.voice, utterance)
                self._tell_reading(utterance, alone.finding, word, utterance.end)

    def _tell_final(self, utterance: Utterance) -> None:
        outcome = utterance.outcome
        assert outcome is not None, "a place is ready once there is an outcome"
        if isinstance(outcome, Fault):
            self._failed += 1
            self._outbox.emit(self._wording.failure(utterance, outcome))
            return
        try:
            told = self._word_final(utterance, outcome)
        except Exception as error:
            # A listener may be anybody's: what it breaks is this final, told and counted.
            self._failed += 1
            told = [self._wording.failure(utterance, fault_of(error))]
        for content in told:
            self._outbox.emit(content)

    def _word_final(self, utterance: Utterance, outcome: Analysed) -> list[Draft]:
        # Here, and not when it came: labels are given in the order of utterances. And the client
        # may have named its speaker in the meantime.
        voice = outcome.voice if self._profile.guesses_speakers else None
        label = self._listeners.label(voice, to_ms(utterance.end - utterance.start))
        if utterance.unreadable:
            reading = UNREADABLE
        else:
            reading = self._listeners.predict(outcome.finding, label)
            self._listeners.adapt(outcome.finding, label)
        body = self._wording.judged(utterance, reading, label)
        # From what is told, not from what was read: the events alone give the same mood again.
        window = body.window
        mood = self._mood.update(body, window.end_ms, window.end_ms - window.start_ms)
        finals = self._wording.final(utterance, outcome.transcript, body)
        return [*finals, self._wording.mood(mood, body)]

    def _place_markers(self) -> None:
        # A word that has just begun will be told of with a start before the marker.
        if not self._turns.idle:
            return
        for marker_id, position in self._markers:
            echo = draft(Marker, id=marker_id, audio_ms=to_ms(position))
            self._outbox.reserve(partial(self._outbox.emit, echo)).ready = True
        self._markers.clear()
        self._outbox.settle()

    def _close(self) -> None:
        self.closed = True
        # Here, since readings of what was open at the end may have been lost after it.
        for losses in (self._lost_partials, self._lost_audio):
            told = losses.tell(self.position)
            if told is not None:
                self._outbox.emit(told)
        self._outbox.emit(
            draft(
                SessionClosed,
                audio_ms=to_ms(self.position),
                speech_ms=to_ms(self._speech),
                utterances=self._utterances,
                failed=self._failed,
                partials_dropped=self._lost_partials.total,
                audio_dropped_ms=self._lost_audio.total_ms,
            )
        )
