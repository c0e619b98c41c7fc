"""How long after the hangover the emotion of an utterance is told, live, in real time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Literal

import msgspec
from msgspec.structs import replace

from streamser.audio.clip import to_ms
from streamser.errors import ModelError
from streamser.events import (
    EmotionCompleted,
    EmotionDelta,
    Event,
    SessionCreated,
    SpeechStopped,
    TranscriptionFailed,
)
from streamser.settings import AsrSettings, EndpointingSettings, Settings
from tools.bench.conversation import BLOCK_MS, Conversation, Placed, Playback
from tools.bench.measure import METHOD, Spread, spread

__all__ = ["LatencySection", "Listening", "Live", "measure_latency"]

Recogniser = Literal["none", "whisper"]

_NEAR_S = 0.4
"""A speech end farther than this from every true one belongs to none of them."""
_READY_MS = 1.0
"""An emotion that follows its endpoint within this was there already."""
_TELL_EVERY = 12


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the latency of one configuration; all spreads in ms.

    For an utterance that ended by a pause, E = (``audio_end_ms`` - ``tail_ms``) is the end of
    the last window of speech, and E + ``silence_ms`` the moment at which the hangover is over.

    ``beyond_hangover``: from when the block with E + ``silence_ms`` was due from the source
    (complete, by the clock of its playing) until ``streamser.emotion.completed`` was handed to
    the caller. Lateness of our own threads counts, since a block is due whether it is taken
    or not. ``by_lag``: the same from the event alone, ``lag_ms`` - (``silence_ms`` -
    ``tail_ms``); it can differ by a block, for blocks arrive at once, and leaves out how late
    a block was taken. ``beyond_true_end``: the same as the first with the true end of speech
    in the place of E. ``end_deviation``: E minus the true end. ``after_endpoint``: from the
    endpoint (``speech_stopped``) until the emotion; ``ready_share`` is the share of it below
    1 ms: the result was there already.

    ``utterances`` counts those that ended by a pause, ``matched`` those of them whose end lies
    near a true one (``None``: no truth is known). ``discarded`` counts jobs whose result was
    of no use: speculative finals that were taken back after they had begun, and partials
    overtaken by the final. ``fault`` says why a configuration could not be measured.
    """

    asr: str
    transcriber: str | None = None
    speculative: bool
    spoken: int
    utterances: int
    failed: int = 0
    matched: int | None = None
    beyond_hangover: Spread | None = None
    by_lag: Spread | None = None
    beyond_true_end: Spread | None = None
    end_deviation: Spread | None = None
    after_endpoint: Spread | None = None
    ready_share: float | None = None
    jobs: int = 0
    discarded: int = 0
    fault: str | None = None


class LatencySection(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the latencies; ``together`` says that all configurations ran at the same time."""

    rate: int
    block_ms: int
    silence_ms: int
    tail_ms: int
    together: bool
    percentiles: str
    live: tuple[Live, ...]


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Say what is listened to: so many turns, by these recognisers, one at a time or not."""

    conversation: Conversation
    turns: int
    recognisers: tuple[Recogniser, ...]
    together: bool


class _Final(msgspec.Struct, frozen=True):
    """One utterance that ended by a pause: when its emotion was handed out, and its events."""

    handed: float
    emotion: EmotionCompleted
    stopped: SpeechStopped


class _Heard(msgspec.Struct, frozen=True):
    """What one live stream gave; ``useful`` counts events that used up a job's result."""

    transcriber: str | None
    finals: list[_Final]
    useful: int
    failed: int


def measure_latency(listening: Listening, tell: Callable[[str], None]) -> LatencySection:
    """Play the conversation in real time to each recogniser, with speculative finals and without.

    A recogniser that cannot be had is reported with its reason, and the others are measured.
    """
    plans = list(product(listening.recognisers, (True, False)))
    if listening.together:
        with ThreadPoolExecutor(len(plans)) as pool:
            running = [pool.submit(_measure, listening, *plan, tell) for plan in plans]
            live = [future.result() for future in running]
    else:
        # On this thread, so that Ctrl-C ends it at once.
        live = [_measure(listening, *plan, tell) for plan in plans]
    endpointing = EndpointingSettings()
    return LatencySection(
        rate=listening.conversation.rate,
        block_ms=BLOCK_MS,
        silence_ms=endpointing.silence_ms,
        tail_ms=_tail_ms(endpointing),
        together=listening.together,
        percentiles=METHOD,
        live=tuple(live),
    )


def _measure(
    listening: Listening, recogniser: Recogniser, speculative: bool, tell: Callable[[str], None]
) -> Live:
    from streamser.pipeline.analyzer import Analyzer

    endpointing = EndpointingSettings(speculative=speculative)
    settings = Settings(asr=AsrSettings(engine=recogniser), endpointing=endpointing)
    turns = listening.conversation.first(listening.turns)
    source = _play(listening.conversation, turns, endpointing)
    blank = Live(asr=recogniser, speculative=speculative, spoken=len(turns), utterances=0)
    with Analyzer(settings, tell=tell) as analyzer:
        try:
            analyzer.models()
        except ModelError as error:
            return replace(blank, fault=str(error))
        manner = "with" if speculative else "without"
        title = f"latency, asr {recogniser}, {manner} speculative finals"
        tell(f"{title}: {source.duration:.0f} s in real time")
        heard = _collect(_told(analyzer.stream(source, live=True), title, tell))
        jobs = analyzer.stats().requests
    truths = _true_ends(turns, source.rate)
    live = _judge(blank, heard, source, endpointing, truths)
    return replace(live, jobs=jobs, discarded=jobs - heard.useful - heard.failed)


def _play(
    conversation: Conversation, turns: Sequence[Placed], endpointing: EndpointingSettings
) -> Playback:
    last = turns[-1]
    spoken = (last.start + len(last.turn.samples)) / conversation.rate
    # The last hangover must be over before the sound is, or its utterance would be flushed.
    rest = endpointing.silence_ms / 1000 + 0.5
    return Playback(conversation, spoken + rest, paced=True, turns=len(turns))


def _told(events: Iterable[Event], title: str, tell: Callable[[str], None]) -> Iterator[Event]:
    finals = 0
    for event in events:
        yield event
        finals += isinstance(event, EmotionCompleted)
        if isinstance(event, EmotionCompleted) and finals % _TELL_EVERY == 0:
            tell(f"{title}: {finals} utterances")


def _collect(events: Iterable[Event]) -> _Heard:
    transcriber: str | None = None
    finals: list[_Final] = []
    useful, failed = 0, 0
    stops: dict[str, SpeechStopped] = {}
    for event in events:
        handed = time.monotonic()
        match event:
            case SessionCreated():
                transcriber = event.session.models.asr
            case SpeechStopped():
                stops[event.item_id] = event
            case EmotionDelta():
                useful += 1
            case EmotionCompleted():
                useful += 1
                stopped = stops.pop(event.item_id)
                if stopped.reason == "pause":
                    finals.append(_Final(handed, event, stopped))
            case TranscriptionFailed():
                failed += 1
    return _Heard(transcriber, finals, useful, failed)


def _true_ends(turns: Sequence[Placed], rate: int) -> list[float]:
    return [
        placed.start / rate + placed.turn.speech[1]
        for placed in turns
        if placed.turn.speech is not None
    ]


def _tail_ms(endpointing: EndpointingSettings) -> int:
    from streamser.pipeline.build import endpointer_settings

    return to_ms(endpointer_settings(endpointing).tail)


def _judge(
    blank: Live,
    heard: _Heard,
    source: Playback,
    endpointing: EndpointingSettings,
    truths: Sequence[float],
) -> Live:
    silence, tail = endpointing.silence_ms, _tail_ms(endpointing)
    beyond, by_lag, beyond_truth, deviation, waited = [], [], [], [], []
    for final in heard.finals:
        end = (final.stopped.audio_end_ms - tail) / 1000
        beyond.append(1000 * (final.handed - source.due(end + silence / 1000)))
        lag, lag_at_endpoint = final.emotion.lag_ms, final.stopped.lag_ms
        if lag is not None and lag_at_endpoint is not None:
            by_lag.append(lag - (silence - tail))
            waited.append(lag - lag_at_endpoint)
        truth = min(truths, key=lambda true: abs(true - end), default=None)
        if truth is not None and abs(truth - end) <= _NEAR_S:
            deviation.append(1000 * (end - truth))
            beyond_truth.append(1000 * (final.handed - source.due(truth + silence / 1000)))
    return replace(
        blank,
        transcriber=heard.transcriber,
        utterances=len(heard.finals),
        failed=heard.failed,
        matched=len(deviation) if truths else None,
        beyond_hangover=spread(beyond),
        by_lag=spread(by_lag),
        beyond_true_end=spread(beyond_truth),
        end_deviation=spread(deviation),
        after_endpoint=spread(waited),
        ready_share=(
            round(sum(wait < _READY_MS for wait in waited) / len(waited), 3) if waited else None
        ),
    )
