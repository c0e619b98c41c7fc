"""The session core: sound and outcomes in, events and requests out.

The only file that makes the events of an utterance. Read it as it happens: ``push`` →
``_start_utterance`` → ``_ask_partial`` → ``_stop_utterance`` for the sound; ``resolve`` →
``_partial`` → ``_provisional`` → ``_complete`` for what models find in it.

Pure: it knows no clock, thread, socket, file or model. Whoever drives it pushes sound, sends the
requests that come out to the models, and hands their outcomes back, in any order and at any time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from streamser import events
from streamser.audio.clip import Samples, to_ms
from streamser.audio.source import Doubt
from streamser.emotion.model import Features, SpeakerModel
from streamser.emotion.mood import Mood
from streamser.errors import ConfigError
from streamser.pipeline.emitter import (
    UNREADABLE,
    Counts,
    DropCounter,
    EventBuilder,
    EventEmitter,
    RefusedError,
    server_error,
)
from streamser.pipeline.hearing import Hearing
from streamser.pipeline.requests import Cancel, Fault, Outcome, Request, fault_of
from streamser.pipeline.session_config import SessionConfig, describe
from streamser.pipeline.speaker_state import SpeakerModels, SpeakerOrder, WhoSpoke
from streamser.pipeline.utterance import (
    Analysed,
    FinalReady,
    PartialReady,
    RequestTracker,
    TrackedUtterance,
    VoiceReady,
)
from streamser.speech import endpointing
from streamser.speech.hypothesis import agree, committed_text, units
from streamser.speech.vad import Vad

logger = logging.getLogger(__name__)

Output: TypeAlias = events.Event | Request | Cancel

_MARKERS = 1000
"""Markers that may wait: a client that stops in the middle of a word could send them for ever."""

_THE_END = object()  # holds the last place of a session's events


class Session:
    """Follow one stream of sound from its first sample to its last event.

    The same samples give the same requests in any chunking; with the same outcomes handed back
    after the same samples (or ``ordered``, after any) they give the same events.
    ``new_speaker`` makes a speaker model that knows nobody, for each voice that is told apart.
    """

    def __init__(
        self, config: SessionConfig, vad: Vad, new_speaker: Callable[[], SpeakerModel]
    ) -> None:
        self._config = config
        self._hearing = Hearing(config, vad)
        self.speakers = SpeakerModels(new_speaker, config.models.emotion, config.apart)
        self._mood = Mood(config.mood_seconds)
        self._tracker = RequestTracker(config, self._hearing.ring)
        self._builder = EventBuilder(config.models.emotion, config.speaker)
        self._events = EventEmitter(config.session_id, ordered=config.ordered)
        self._blank = self._events.blank
        self._open: TrackedUtterance | None = None
        self._last: TrackedUtterance | None = None
        self._without_words: list[TrackedUtterance] = []
        self._markers: list[tuple[str, int]] = []
        self._quiet = self._soundless = 0
        self._counts = Counts()
        self._dropped_partials = DropCounter("partials")
        self._dropped_audio = DropCounter("audio")
        self._ending = self.closed = False

    @property
    def position(self) -> int:
        """Return how many samples have been pushed."""
        return self._hearing.position

    @property
    def waits_for_time(self) -> bool:
        """Return whether anything is to be told, should time ``lapse`` without words or sound."""
        return bool(self._without_words) or self._minds_silence

    def time_events(self, lag_of: Callable[[int], float | None]) -> None:
        """Put into each event how late it is: ``lag_of`` its place in the audio, both in ms."""
        self._events.lag_of = lag_of

    def begin(self) -> list[Output]:
        """Introduce the session; to be called once, before anything else."""
        self._events.post(events.SessionCreated(**self._blank, session=describe(self._config)))
        return self._output()

    def configure(self, config: SessionConfig) -> list[Output]:
        """Go on with another configuration of the same session and models.

        How utterances are found changes at the next pause, all else at once. ``ordered`` may
        change only before the first sound; raises ``ValueError`` after it.
        """
        if config.ordered != self._config.ordered:
            if self.position:
                raise ValueError("the order of events cannot change once sound was heard")
            self._events.ordered = config.ordered
        self._config = self._tracker.config = config
        self._builder = EventBuilder(config.models.emotion, config.speaker)
        self._hearing.configure(config)
        self.speakers.tell_apart(config.apart)
        self._tracker.ring = self._hearing.ring
        self._events.post(events.SessionUpdated(**self._blank, session=describe(config)))
        return self._output()

    def push(self, samples: Samples) -> list[Output]:
        """Hear mono float32 samples at 16 kHz, any number of them."""
        if len(samples):
            self._soundless = 0
        while len(samples):
            if self._hearing.change():
                self._tracker.ring = self._hearing.ring
            taken, found = self._hearing.detect(samples)
            samples = samples[taken:]
            self._follow(found)
            self._provisional()
            if self._markers:
                self._place_markers()
        return self._output()

    def lapse(self, samples: int, *, all_heard: bool = True) -> list[Output]:
        """Let time pass in which no sound comes, not even silence, in samples.

        After ``no_sound`` of it the open utterance ends: who is heard only while speaking sends
        no pause. Unless not ``all_heard``: then sound may come, or is there and waits to be pushed.
        """
        self._quiet += samples
        self._provisional()
        if all_heard and self._minds_silence:
            self._soundless += samples
            if self._soundless >= self._config.no_sound:
                self._follow(self._hearing.commit("no_sound"))
                self._place_markers()
        return self._output()

    def commit(self, event_id: str | None = None, *, lenient: bool = False) -> list[Output]:
        """End the open utterance here.

        Raises ``RefusedError`` where there is none, unless ``lenient``.
        """
        found = [] if self._ending else self._hearing.commit()
        self._follow(found)
        if not found and not lenient:
            why = "there is nothing to commit: no speech is open, or less than 100 ms was sent"
            raise RefusedError("input_audio_buffer_commit_empty", why, event_id)
        self._place_markers()
        return self._output()

    def clear(self) -> list[Output]:
        """Throw the open utterance away."""
        if not self._ending:
            self._hearing.clear()
            self._drop_open()
            self._place_markers()
        self._events.post(events.Cleared(**self._blank))
        return self._output()

    def welcome_back(self, **fields: int) -> list[Output]:
        """Tell a client that has come back how much of its sound is here, what events are not."""
        self._events.post(events.SessionResumed(**{**self._blank, **fields}))
        return self._output()

    def resolve(self, request_id: int, outcome: Outcome) -> list[Output]:
        """Take the outcome of a request; one that was cancelled is ignored."""
        match self._tracker.resolve(request_id, outcome):
            case PartialReady() as partial:
                self._take_partial(partial)
            case VoiceReady():
                self._provisional()
            case FinalReady(utterance=utterance):
                if utterance in self._without_words:
                    self._without_words.remove(utterance)
                if utterance.slot is not None:
                    utterance.slot.ready = True
        self._emit_due()
        return self._output()

    def mark(self, marker_id: str) -> list[Output]:
        """Ask for an echo once everything about the sound so far has been told."""
        if len(self._markers) >= _MARKERS:
            message = f"{_MARKERS} markers wait already for the end of an utterance"
            raise RefusedError("too_many_markers", message)
        if not self._ending:
            self._markers.append((marker_id, self.position))
            self._place_markers()
        return self._output()

    def name_speakers(self, order: SpeakerOrder) -> list[Output]:
        """Follow what a client says of who speaks; raises ``RefusedError``."""
        try:
            renamed, found = self.speakers.follow(order, self._config.session_id)
        except ConfigError as error:
            raise RefusedError("invalid_value", str(error), order.event_id) from None
        changes = self._builder.changes(found, self._config.session_id)
        self._events.post(events.SpeakersChanged(**self._blank, changes=changes, renamed=renamed))
        return self._output()

    def lose_audio(self, samples: int, reason: str, at: int) -> list[Output]:
        """Note that sound was lost at a sample (0: nobody knows how much); push silence for it."""
        report = self._dropped_audio.drop(samples, reason, at)
        if report is not None:
            self._events.post(events.Overload(**self._blank, **report))
        return self._output()

    def report(self, code: str, message: str) -> list[Output]:
        """Tell clients of a fault of the session's source."""
        self._events.post(events.ErrorRaised(**self._blank, error=server_error(code, message)))
        return self._output()

    def advise(self, doubt: Doubt) -> list[Output]:
        """Tell that the sound is likely of the wrong kind; what is unreadable is not read."""
        self._tracker.readable = doubt.readable
        self._events.post(events.Advice(**self._blank, kind=doubt.kind, message=doubt.message))
        return self._output()

    def trust_sound(self) -> None:
        """Read what comes from here on: the client has said anew how it is written."""
        self._tracker.readable = True

    def flush(self) -> list[Output]:
        """End the stream: close what is open; ``closed`` turns true after the last final."""
        if not self._ending:
            self._ending = True
            self._follow(self._hearing.flush())
            self._drop_open()
            self._place_markers()
            self._events.reserve(_THE_END).ready = True
            self._emit_due()
        return self._output()

    @property
    def _minds_silence(self) -> bool:
        config = self._config
        ignores = config.ordered or config.manual or self._ending or self._hearing.idle
        return config.no_sound > 0 and not ignores

    def _output(self) -> list[Output]:
        return [*self._tracker.collect(), *self._events.collect()]

    # Sound → utterances

    def _follow(self, found: list[endpointing.EndpointEvent]) -> None:
        for event in found:
            match event:
                case endpointing.Opened(start=start):
                    self._start_utterance(start)
                case endpointing.Extended(end=end):
                    self._ask_partial(end)
                case endpointing.PauseDetected(end=end):
                    if self._config.speculative:
                        self._ask_final(end)
                case endpointing.SpeechResumed():
                    self._tracker.withdraw_final(self._opened())
                case endpointing.Closed(end=end, reason=reason):
                    self._stop_utterance(end, reason)

    def _start_utterance(self, start: int) -> None:
        self._counts.numbers += 1
        number = self._counts.numbers
        item_id = f"item_{self._config.session_id}_{number}"
        self._open = TrackedUtterance(number=number, item_id=item_id, start=start)
        started = events.SpeechStarted(**self._blank, item_id=item_id, audio_start_ms=to_ms(start))
        self._events.post(started)

    def _ask_partial(self, end: int) -> None:
        utterance = self._opened()
        every = self._config.partial_every
        utterance.speech += self._hearing.window
        if every and utterance.speech >= every * (utterance.readings + 1):
            utterance.readings += 1
            # An ordered session keeps the partial's place; a live one tells it when it comes.
            slot = self._events.reserve() if self._config.ordered else None
            self._tracker.ask_partial(utterance, end, slot)

    def _ask_final(self, end: int) -> None:
        self._dropped_partials.ignore(self._tracker.ask_final(self._opened(), end))

    def _stop_utterance(self, end: int, reason: endpointing.CloseReason) -> None:
        utterance = self._opened()
        if utterance.is_asked and utterance.end != end:
            self._tracker.withdraw_final(utterance)
        if not utterance.is_asked:
            self._ask_final(end)
        item, previous = utterance.item_id, self._last.item_id if self._last else None
        self._events.post(
            events.SpeechStopped(
                **self._blank, item_id=item, audio_end_ms=to_ms(end), reason=reason
            )
        )
        self._events.post(events.Committed(**self._blank, item_id=item, previous_item_id=previous))
        self._counts.speech += end - utterance.start
        self._counts.utterances += 1
        self._open, self._last = None, utterance
        utterance.slot = self._events.reserve(utterance)
        utterance.slot.ready = utterance.outcome is not None
        if utterance.outcome is None and utterance.transcript is None and self._config.tells_voice:
            utterance.patience_ends = self._clock + self._config.patience
            self._without_words.append(utterance)
        self._emit_due()

    def _drop_open(self) -> None:
        utterance, self._open = self._open, None
        if utterance is not None:
            self._tracker.drop(utterance)
            self._emit_due()

    def _opened(self) -> TrackedUtterance:
        assert self._open is not None, "the endpointer speaks of an utterance it never opened"
        return self._open

    # Outcomes → events

    @property
    def _clock(self) -> int:
        """Return how much time has passed, with sound and without, in samples."""
        return self.position + self._quiet

    def _emit_due(self) -> None:
        """Tell what has kept its place in the order, as far as it is ready."""
        for due in self._events.due():
            if isinstance(due, PartialReady):
                self._partial(due)
            elif isinstance(due, TrackedUtterance):
                if self._identify(due):
                    self._complete(due)
            else:
                self._close()

    def _take_partial(self, partial: PartialReady) -> None:
        if partial.lost == "coalesced":
            self._dropped_partials.ignore(1)
        elif partial.lost is not None and (
            report := self._dropped_partials.drop(1, partial.lost, self.position)
        ):
            self._events.post(events.Overload(**self._blank, **report))
        if partial.slot is None:
            self._partial(partial)
        else:
            partial.slot.content, partial.slot.ready = partial, True

    def _partial(self, partial: PartialReady) -> None:
        """Tell what is known of an utterance that goes on: its words, its emotion, or both."""
        utterance, end = partial.utterance, partial.end
        if partial.transcript is not None and not partial.transcript.distrust:
            utterance.stable = agree(utterance.stable, units(partial.transcript.text))
            words = self._builder.partial(utterance, end)
            self._events.emit(
                events.TranscriptPartial(**self._blank, item_id=utterance.item_id, **words)
            )
            self._settle_text(utterance, committed_text(utterance.stable))
        if partial.observed is not None:
            features = partial.observed.features
            emotion = self._try_emotion(utterance, features, partial.start, end)
            if emotion is not None:
                item_id = utterance.item_id
                self._events.emit(
                    events.EmotionDelta(**self._blank, item_id=item_id, emotion=emotion)
                )

    def _settle_text(self, utterance: TrackedUtterance, text: str) -> None:
        """Tell what more of an utterance's text is settled, where it goes on from what was told."""
        if len(text) > len(utterance.told) and text.startswith(utterance.told):
            more = text[len(utterance.told) :]
            delta = events.TranscriptionDelta(**self._blank, item_id=utterance.item_id, delta=more)
            self._events.emit(delta)
            utterance.told = text

    def _provisional(self) -> None:
        """Tell what the voice alone says of utterances whose words have not come in time."""
        for utterance in list(self._without_words):
            alone, late = utterance.alone, self._clock >= utterance.patience_ends
            if late and alone is not None and utterance.transcript is None:
                self._without_words.remove(utterance)
                item_id, start, end = utterance.item_id, utterance.start, utterance.end
                emotion = self._try_emotion(utterance, alone.features, start, end)
                if emotion is not None:
                    self._events.emit(
                        events.EmotionProvisional(**self._blank, item_id=item_id, emotion=emotion)
                    )

    def _try_emotion(
        self, utterance: TrackedUtterance, features: Features, start: int, end: int
    ) -> events.EmotionBody | None:
        """Judge what is told before a final; where that fails, a partial is lost at ``end``."""
        try:
            known = not utterance.unreadable
            prediction = self.speakers.predict(features) if known else UNREADABLE
            return self._builder.emotion(prediction, start, end)
        except Exception as error:
            logger.error("a reading was lost", exc_info=error)
        # By its own place in the sound: when it comes must not matter where order does.
        report = self._dropped_partials.drop(1, "failed", end)
        if report is not None:
            self._events.emit(events.Overload(**self._blank, **report))
        return None

    def _complete(self, utterance: TrackedUtterance) -> None:
        """Tell the outcome of an utterance: words, emotion and mood, or that it failed."""
        outcome = utterance.outcome
        assert outcome is not None, "a place is ready once there is an outcome"
        if isinstance(outcome, Fault):
            self._fail(utterance, outcome)
            return
        try:
            who, emotion, parts = self._judge(utterance, outcome)
            # Of what is told, not of what was read: the events alone give the same mood again.
            window = emotion.window
            mood = self._mood.update(emotion, window.end_ms, window.end_ms - window.start_ms)
            mood_fields = self._builder.mood(mood, emotion)
            transcript = outcome.transcript
            words = None if transcript is None else self._builder.words(utterance, transcript)
        except Exception as error:
            # A speaker model may be anybody's: what it breaks is this final, told and counted.
            self._fail(utterance, fault_of(error))
            return
        item_id = utterance.item_id
        if words is not None:
            # Who only follows the deltas shall have the whole text, where they led to it.
            self._settle_text(utterance, words["transcript"])
            self._events.emit(
                events.TranscriptionCompleted(
                    **self._blank, item_id=item_id, **words, emotion=emotion
                )
            )
        self._events.emit(
            events.EmotionCompleted(**self._blank, item_id=item_id, emotion=emotion, parts=parts)
        )
        if who.changes:
            changes = self._builder.changes(who.changes, self._config.session_id)
            self._events.emit(events.SpeakersChanged(**self._blank, changes=changes))
        self._events.emit(events.MoodUpdated(**self._blank, **mood_fields))

    def _judge(
        self, utterance: TrackedUtterance, outcome: Analysed
    ) -> tuple[WhoSpoke, events.EmotionBody, tuple[events.SpeakerPart, ...]]:
        span = utterance.start, utterance.end
        if utterance.unreadable:
            return WhoSpoke(), self._builder.emotion(UNREADABLE, *span, found=outcome), ()
        guesses = self._config.guesses_speakers
        heard = self.speakers.judge(utterance, outcome.features, guesses=guesses)
        emotion = self._builder.emotion(heard.prediction, *span, heard.who.label, outcome)
        return heard.who, emotion, self._builder.parts(heard.who.parts, heard.readings)

    def _identify(self, utterance: TrackedUtterance) -> bool:
        """Find whose an utterance is; false where each who speaks in it is to be read first."""
        # Here, and not when it came: labels are given in the order of utterances. And the client
        # may have named its speaker in the meantime.
        if utterance.heard or not self._config.guesses_speakers:
            return True
        if not self._tracker.ask_parts(utterance, self.speakers.identify(utterance)):
            return True
        assert utterance.slot is not None, "what is due has a place"
        self._events.hold(utterance.slot, utterance)
        return False

    def _fail(self, utterance: TrackedUtterance, fault: Fault) -> None:
        self._counts.failed += 1
        fields = self._builder.failure(utterance, fault)
        failed = events.TranscriptionFailed(**self._blank, item_id=utterance.item_id, **fields)
        self._events.emit(failed)

    def _place_markers(self) -> None:
        # A word that has just begun will be told of with a start before the marker.
        if not self._hearing.idle:
            return
        for marker_id, position in self._markers:
            echo = events.Marker(**self._blank, id=marker_id, audio_ms=to_ms(position))
            self._events.post(echo, last=True)
        self._markers.clear()
        self._emit_due()

    def _close(self) -> None:
        self.closed = True
        # Here, since readings of what was open at the end may have been lost after it.
        dropped = self._dropped_partials, self._dropped_audio
        for counter in dropped:
            report = counter.rest(self.position)
            if report is not None:
                self._events.emit(events.Overload(**self._blank, **report))
        counted = self._counts.summary(self.position, *dropped)
        self._events.emit(events.SessionClosed(**self._blank, **counted))
