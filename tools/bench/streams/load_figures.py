"""What the streams of a load test have sent and were told, and its figures from that; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from tools.bench.measure import percentile
from tools.bench.streams.client import BLOCK_MS, Told

__all__ = [
    "DEFINITIONS",
    "Figures",
    "Hangover",
    "Latency",
    "Receipt",
    "StreamLog",
    "figures_of",
    "latency",
    "missing_events",
]

DEFINITIONS = (
    "Sound goes out in blocks of 100 ms, each when its last sample has been spoken. A sample is"
    " sent when its block is handed to the socket, by the generator's clock; an event is received"
    " when its bytes are read from the socket, by the same clock.",
    "Speech ends at E = audio_end_ms of the utterance - the tail that the server keeps after the"
    " last speech (EndpointerSettings.tail).",
    "After speech end: receipt of the final - the moment at which the sample at E was sent."
    " Beyond the hangover: receipt of the final - the moment at which the last sample of the"
    " silence was sent that ends an utterance; the silence is endpointing.silence_ms, rounded up"
    " to whole windows of the speech detector, for it hears no parts of windows. (After speech"
    " end - silence_ms is the same without that rounding: up to one block more.)",
    "Partial lag: receipt of streamser.emotion.delta - the moment at which the end of its window"
    " was sent.",
    "Utterances that a pause ended while the step was measured count; those cut at the greatest"
    " length have no hangover and are counted apart. The warm-up and the end of a step are under"
    " the same load and give no latency.",
    "Lost: committed utterances without each of their finals; numbers missing from the sequence of"
    " events that no streamser.overload accounts for; failed utterances; sound the server gave up;"
    " streams that broke. Readings left out under load (overload: partials, deltas) are no loss,"
    " they are counted as drops.",
)

_WINDOWS_MS = {"silero": 32, "webrtc": 30}


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Hold an event and when it was read from the socket, in seconds (``time.monotonic``)."""

    at: float
    told: Told


class StreamLog(msgspec.Struct, kw_only=True):
    """Hold one stream: times in seconds (``time.monotonic``), in the order in which they passed.

    ``sent`` has the moment at which each block of ``BLOCK_MS`` went out, ``late`` how long after
    its time that was. ``fault`` says how the stream broke, if it did.
    """

    sent: list[float] = []
    late: list[float] = []
    receipts: list[Receipt] = []
    fault: str | None = None

    def sent_at(self, ms: float) -> float | None:
        """Return when the sound before a place, in ms of the stream, had all been sent.

        That is when the block went out that holds the last sample before it; ``None`` where it
        never did.
        """
        number = max(0, math.ceil(ms / BLOCK_MS) - 1)
        return self.sent[number] if number < len(self.sent) else None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how ``n`` latencies are distributed, in ms."""

    n: int
    p50: float
    p90: float
    p95: float
    p99: float
    most: float


class Hangover(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how a server ends utterances, in ms; ``heard_ms`` is the silence it must have heard."""

    silence_ms: int
    heard_ms: int
    tail_ms: int

    @classmethod
    def of(cls, vad: str, silence_ms: int, tail_ms: int | None = None) -> Hangover:
        """Work it out from a detector's name, and the usual tail where none is given."""
        window = next((ms for name, ms in _WINDOWS_MS.items() if vad.startswith(name)), 1)
        usual = min(160, silence_ms // 2)
        return cls(
            silence_ms=silence_ms,
            heard_ms=math.ceil(silence_ms / window) * window,
            tail_ms=usual if tail_ms is None else tail_ms,
        )


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what the logs of one step say; latencies in ms, ``None`` where there were none.

    ``late_ms`` is how late the generator itself sent. ``lost_finals`` counts utterances, and
    ``lost_events`` missing numbers. ``drops`` counts by the kind of overload (``audio``: ms).
    ``left_out`` are readings the server left out or overtook, as its goodbyes have it, warm-up
    included.
    """

    utterances: int
    cut: int
    emotion: Latency | None
    emotion_beyond: Latency | None
    transcript: Latency | None
    transcript_beyond: Latency | None
    partial: Latency | None
    late_ms: Latency | None
    failed: int
    lost_finals: int
    lost_events: int
    drops: dict[str, int]
    left_out: int
    faults: tuple[str, ...]

    @property
    def losses(self) -> tuple[str, ...]:
        """Say in words what was lost."""
        counts = {
            "finals lost": self.lost_finals,
            "events lost": self.lost_events,
            "utterances failed": self.failed,
            "ms of sound lost": self.drops.get("audio", 0),
            "streams broken": len(self.faults),
        }
        return tuple(f"{count} {what}" for what, count in counts.items() if count)


class _Final(msgspec.Struct, frozen=True):
    """One final: ms after the end of speech, and ms beyond the hangover."""

    after: float
    beyond: float


def latency(seconds: Sequence[float]) -> Latency | None:
    """Summarise latencies in seconds; ``None`` where there are none."""
    if not seconds:
        return None
    ms = [1000 * each for each in seconds]
    p50, p90, p95, p99 = (round(percentile(ms, share), 1) for share in (0.5, 0.9, 0.95, 0.99))
    return Latency(n=len(ms), p50=p50, p90=p90, p95=p95, p99=p99, most=round(max(ms), 1))


def figures_of(logs: Sequence[StreamLog], hangover: Hangover, begin: float, end: float) -> Figures:
    """Judge what happened between two moments (``time.monotonic``), and what became of it."""
    streams = [_Stream(log, hangover, begin, end) for log in logs]
    emotions = [final for stream in streams for final in stream.finals(stream.emotions)]
    transcripts = [final for stream in streams for final in stream.finals(stream.transcripts)]
    drops: dict[str, int] = {}
    for stream in streams:
        for told in stream.overloads:
            drops[told.kind] = drops.get(told.kind, 0) + told.dropped
    return Figures(
        utterances=sum(len(stream.measured) for stream in streams),
        cut=sum(stream.cut for stream in streams),
        emotion=latency([final.after for final in emotions]),
        emotion_beyond=latency([final.beyond for final in emotions]),
        transcript=latency([final.after for final in transcripts]),
        transcript_beyond=latency([final.beyond for final in transcripts]),
        partial=latency([lag for stream in streams for lag in stream.partials()]),
        late_ms=latency([late for stream in streams for late in stream.late()]),
        failed=sum(len(stream.failed) for stream in streams),
        lost_finals=sum(stream.lost_finals for stream in streams),
        lost_events=sum(missing_events(log.receipts) for log in logs),
        drops=drops,
        left_out=sum(stream.left_out for stream in streams),
        faults=tuple(log.fault for log in logs if log.fault is not None),
    )


def missing_events(receipts: Iterable[Receipt]) -> int:
    """Count the numbers that are missing from a stream's events, and that nobody answers for."""
    numbers: set[int] = set()
    answered = 0
    for receipt in receipts:
        told = receipt.told
        numbers.add(told.seq)
        if told.type == "streamser.overload" and told.kind == "deltas":
            # It has the number of the last event that it stands for.
            answered += told.dropped - 1
    numbers.discard(0)
    return max(0, max(numbers, default=0) - len(numbers) - answered)


class _Stream:
    """Sort one stream's events by what they say; those of the warm-up give no figure."""

    def __init__(self, log: StreamLog, hangover: Hangover, begin: float, end: float) -> None:
        self._log = log
        self._hangover = hangover
        self._begin, self._end = begin, end
        self._deltas: list[Receipt] = []
        self._stops: dict[str, Told] = {}
        self._committed: set[str] = set()
        self._transcribing = False
        self.emotions: dict[str, float] = {}
        self.transcripts: dict[str, float] = {}
        self.failed: set[str] = set()
        self.overloads: list[Told] = []
        self.left_out = 0
        for receipt in log.receipts:
            self._sort(receipt)
        self.measured = {
            item: told.audio_end_ms - hangover.tail_ms
            for item, told in self._stops.items()
            if told.reason == "pause"
            and self._covers(told.audio_end_ms - hangover.tail_ms + hangover.heard_ms)
        }
        self.cut = sum(
            told.reason == "max_length" and self._covers(told.audio_end_ms)
            for told in self._stops.values()
        )

    @property
    def lost_finals(self) -> int:
        """Return how many utterances lack a final."""
        read = set(self.emotions)
        if self._transcribing:
            read &= set(self.transcripts)
        return len(self._committed - read - self.failed)

    def finals(self, received: dict[str, float]) -> Iterator[_Final]:
        """Yield the latencies of the measured utterances' finals."""
        for item, speech_end in self.measured.items():
            ended = self._log.sent_at(speech_end)
            over = self._log.sent_at(speech_end + self._hangover.heard_ms)
            if item in received and ended is not None and over is not None:
                yield _Final(received[item] - ended, received[item] - over)

    def partials(self) -> Iterator[float]:
        """Yield the lags of the partials."""
        for receipt in self._deltas:
            emotion = receipt.told.emotion
            sent = None if emotion is None else self._log.sent_at(emotion.window.end_ms)
            if sent is not None:
                yield receipt.at - sent

    def late(self) -> Iterator[float]:
        """Yield how late blocks were sent."""
        for sent, late in zip(self._log.sent, self._log.late, strict=True):
            if self._begin <= sent < self._end:
                yield late

    def _covers(self, ms: float) -> bool:
        sent = self._log.sent_at(ms)
        return sent is not None and self._begin <= sent < self._end

    def _sort(self, receipt: Receipt) -> None:
        told, at = receipt.told, receipt.at
        warm = at >= self._begin
        match told.type:
            case "session.created" | "session.updated" if told.session is not None:
                self._transcribing = told.session.models.get("asr") is not None
            case "input_audio_buffer.speech_stopped":
                self._stops[told.item_id] = told
            case "input_audio_buffer.committed" if warm:
                self._committed.add(told.item_id)
            case "streamser.emotion.completed":
                self.emotions[told.item_id] = at
            case "conversation.item.input_audio_transcription.completed":
                self.transcripts[told.item_id] = at
            case "conversation.item.input_audio_transcription.failed" if warm:
                self.failed.add(told.item_id)
            case "streamser.emotion.delta" if self._begin <= at < self._end:
                self._deltas.append(receipt)
            case "streamser.overload" if warm:
                self.overloads.append(told)
            case "streamser.session.closed":
                self.left_out = told.partials_dropped
