"""What a server tells its operator of itself: the lines of its log, and metrics.

A line for each thing that happens, by the standard ``logging``; never a token, never what people
say.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, TypeAlias

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamser import __version__
from streamser.errors import describe
from streamser.events import (
    EmotionCompleted,
    EmotionProvisional,
    Event,
    Overload,
    SessionClosed,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionFailed,
)
from streamser.hosting.records import HostReport
from streamser.logs import FIELDS
from streamser.pipeline.worker import BatchReport

SORRY: Final = "the server has met a fault of its own; the connection ends, begin a new stream"
"""What a client is told, whatever it was."""

_LINES_AT_ONCE: Final = 20
_LINE_EVERY_S: Final = 10.0

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)

_Field: TypeAlias = str | float | None

_logger = logging.getLogger(__name__)


def log_info(what: str, **fields: _Field) -> None:
    """Write a line: a word for what happened, and what is known of it."""
    _write(logging.INFO, what, fields)


def log_loss(what: str, **fields: _Field) -> None:
    """Write a line of something that is lost, though all goes on."""
    _write(logging.WARNING, what, fields)


def log_fault(error: BaseException, **fields: _Field) -> None:
    """Write a line of what has failed on our side, and where."""
    found: dict[str, _Field] = {"error": type(error).__name__, "reason": describe(error)}
    _write(logging.ERROR, "fault", {**fields, **found})


def peer_of(connection: Any) -> str | None:
    """Return the other side of a connection as ``host:port``; behind a proxy the client's host."""
    client: str | None = getattr(connection, "client_address", None)
    if client is not None:
        return client
    address = connection.remote_address
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"


def _write(level: int, what: str, fields: Mapping[str, _Field]) -> None:
    known = {name: value for name, value in fields.items() if value is not None}
    told = "".join(f" {name}={_shown(value)}" for name, value in known.items())
    _logger.log(level, "%s%s", what, told, extra={FIELDS: {"event": what, **known}})


def _shown(value: str | float) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    plain = text.isprintable() and text and not any(sign in text for sign in ' ="')
    return text if plain else ascii(text) if not text.isprintable() else f'"{text}"'


def supervised(
    work: Callable[[], Coroutine[Any, Any, None]], on_fault: Callable[[Exception], None]
) -> asyncio.Task[None]:
    """Begin a task; ``on_fault`` is called at once with what it raises."""
    return asyncio.create_task(_guard(work, on_fault))


async def _guard(
    work: Callable[[], Coroutine[Any, Any, None]], on_fault: Callable[[Exception], None]
) -> None:
    try:
        await work()
    except Exception as error:
        on_fault(error)


class LogThrottle:
    """Let some lines of a kind through, then one now and then: strangers cause them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said: dict[str, tuple[float, int, int]] = {}

    def admit(self, kind: str) -> int | None:
        """Return how many lines of this kind were left out; ``None``: this is one of them.

        ``kind`` is a word of ours, never one of theirs: each is remembered.
        """
        now = self._clock()
        since, said, left_out = self._said.get(kind, (now, 0, 0))
        if now - since >= _LINE_EVERY_S:
            since, said = now, 0
        if said >= (_LINES_AT_ONCE if not left_out else 1):
            self._said[kind] = (since, said, left_out + 1)
            return None
        # Once lines were left out, one in ten seconds is enough until it is quiet again.
        self._said[kind] = (since, said + 1, 0)
        return left_out

    def log_info(self, what: str, kind: str, **fields: _Field) -> None:
        """Write a line as ``log_info`` does, where one of this kind may be written."""
        left_out = self.admit(kind)
        if left_out is not None:
            log_info(what, **fields, left_out=left_out or None)


class Metrics:
    """Count and time what happens; a registry of its own, so that servers do not mix.

    ``batch`` may be called from a worker's thread; the rest from the event loop's.
    """

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._streams = Gauge("streamser_streams", "Streams open now.", registry=registry)
        self._places = Gauge(
            "streamser_places", "Streams that may be open at the same time.", registry=registry
        )
        self._listeners = Gauge("streamser_listeners", "Listeners now.", registry=registry)
        self._meetings = Gauge("streamser_meetings", "Meetings known now.", registry=registry)
        self._kept = Gauge(
            "streamser_kept_events", "Events kept for those who come back.", registry=registry
        )
        self._tasks = Gauge("streamser_tasks", "Tasks of the event loop now.", registry=registry)
        self._loop_late = Gauge(
            "streamser_loop_late_seconds",
            "How late the event loop was at the worst in the last 15 s; everybody waited for it.",
            registry=registry,
        )
        self._threads = Gauge(
            "streamser_threads",
            "Threads of Python's in the server's own process now.",
            registry=registry,
        )
        self._threads.set_function(threading.active_count)
        self._late = Gauge(
            "streamser_late_seconds",
            "How late finals are: three of four of the last 15 s came sooner, none waits longer.",
            registry=registry,
        )
        self._late_finals = Counter(
            "streamser_late_finals", "Finals told later than server.late_s.", registry=registry
        )
        self._audio = Counter("streamser_audio_seconds", "Sound taken in.", registry=registry)
        self._events = Counter("streamser_events", "Events.", ["type"], registry=registry)
        self._utterances = Counter(
            "streamser_utterances", "Utterances by outcome.", ["outcome"], registry=registry
        )
        self._readings = Counter(
            "streamser_readings",
            "Utterances that were read, by model.",
            ["model"],
            registry=registry,
        )
        self._drops = Counter(
            "streamser_drops",
            "Given up to keep pace: partials (readings), audio_ms, deltas (events to slow readers),"
            " listeners (closed as too slow).",
            ["kind"],
            registry=registry,
        )
        # From the beginning: an alert sees how a figure grows, not that it appears.
        for kind in ("partials", "audio_ms", "deltas", "listeners"):
            self._drops.labels(kind)
        self._uploads = Counter(
            "streamser_uploads",
            "Files that were let in, by the HTTP status of the answer; 499: hung up before it.",
            ["status"],
            registry=registry,
        )
        self._refusals = Counter(
            "streamser_refusals", "Connections refused.", ["code"], registry=registry
        )
        self._bot_messages = Counter(
            "streamser_bot_messages",
            "Messages of meeting bots: heard, event (who is there), late, unheard (no room), jumped"
            " (with a clock that did), unusable.",
            ["outcome"],
            registry=registry,
        )
        self._bot_silence = Counter(
            "streamser_bot_silence_seconds",
            "Silence for gaps in the sound of meeting bots.",
            registry=registry,
        )
        self._faults = Counter(
            "streamser_server_faults",
            "Streams and connections that a fault of the server's own has ended.",
            registry=registry,
        )
        self._export_lost = Counter(
            "streamser_export_lost",
            "What --export could not keep: events (the disk was too slow), files (a fault).",
            ["kind"],
            registry=registry,
        )
        self._incomplete = Gauge(
            "streamser_export_incomplete",
            "1 once --export or a --sink has not got everything.",
            registry=registry,
        )
        Info("streamser_build", "What runs here.", registry=registry).info({"version": __version__})
        # Of the server's own process: models have others.
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._batch_size = Histogram(
            "streamser_batch_size", "Jobs in a batch.", buckets=_BATCHES, registry=registry
        )
        self._stages = Histogram(
            "streamser_stage_seconds",
            "Time by stage: wait (of a job before its batch), transcription, emotion and voices (of"
            " a batch), speech_end_to_transcript and speech_end_to_emotion (of a final: from the"
            " arrival of the last sound of the utterance, hangover included),"
            " speech_end_to_reading (the same of the first reading, provisional or final).",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._busy = Counter(
            "streamser_device_busy_seconds",
            "Time that workers spent in models, all together.",
            registry=registry,
        )
        self._busy_s = self._audio_s = 0.0
        self._early: dict[str, set[str]] = {}

    def watch(self, device: HostReport) -> None:
        """Tell of the workers, and the real-time factor, when asked."""
        self.registry.register(_DeviceCollector(device, self._real_time_factor))

    def render(self) -> bytes:
        """Write everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def follow(
        self,
        streams: Callable[[], int],
        places: Callable[[], int],
        listeners: Callable[[], int],
        meetings: Callable[[], int],
        kept: Callable[[], int],
        late_s: Callable[[], float],
        incomplete: Callable[[], bool] = lambda: False,
    ) -> None:
        """Ask these how many there are, whenever somebody asks us."""
        self._streams.set_function(streams)
        self._places.set_function(places)
        self._listeners.set_function(listeners)
        self._meetings.set_function(meetings)
        self._kept.set_function(kept)
        self._late.set_function(late_s)
        self._incomplete.set_function(lambda: float(incomplete()))

    def run_by(self, loop: asyncio.AbstractEventLoop, late_s: Callable[[], float]) -> None:
        """Tell of a loop's tasks and of how late it is, when asked; only its own thread may ask."""
        self._loop_late.set_function(late_s)
        self._tasks.set_function(lambda: len(asyncio.all_tasks(loop)))

    def sound(self, seconds: float) -> None:
        """Note sound that was taken in."""
        self._audio.inc(seconds)
        self._audio_s += seconds

    def drops(self, events: int) -> None:
        """Note events that a slow connection did not get."""
        self._drops.labels("deltas").inc(events)

    def lost_listener(self) -> None:
        """Note a connection that was closed because it did not keep up."""
        self._drops.labels("listeners").inc()

    def refused(self, code: str) -> None:
        """Note a connection that was refused."""
        self._refusals.labels(code).inc()

    def bot_message(self, outcome: str) -> None:
        """Note a message of a meeting bot."""
        self._bot_messages.labels(outcome).inc()

    def bot_silence(self, seconds: float) -> None:
        """Note silence in the place of sound that a meeting bot has not sent."""
        self._bot_silence.inc(seconds)

    def upload(self, status: int) -> None:
        """Note what became of a file that was let in."""
        self._uploads.labels(str(status)).inc()

    def late_final(self) -> None:
        """Note a final that was told too late."""
        self._late_finals.inc()

    def fault(self) -> None:
        """Note a stream or a connection that a fault of ours has ended."""
        self._faults.inc()

    def export_lost(self, kind: str, number: int) -> None:
        """Note what an export could not keep; may be called from any thread."""
        self._export_lost.labels(kind).inc(number)

    def batch(self, report: BatchReport) -> None:
        """Note a batch of a worker."""
        self._batch_size.observe(len(report.waited_s))
        for waited in report.waited_s:
            self._stages.labels("wait").observe(waited)
        spent = report.spent
        self._stages.labels("transcription").observe(spent.transcribing_s)
        self._stages.labels("emotion").observe(spent.judging_s)
        if spent.embedding_s:
            self._stages.labels("voices").observe(spent.embedding_s)
        busy = spent.transcribing_s + spent.judging_s + spent.embedding_s
        self._busy.inc(busy)
        self._busy_s += busy

    def event(self, event: Event) -> None:
        """Note an event of a session."""
        self._events.labels(str(type(event).__struct_config__.tag)).inc()
        match event:
            case TranscriptionCompleted(lag_ms=float(lag)):
                self._stages.labels("speech_end_to_transcript").observe(lag / 1000)
            case EmotionProvisional(item_id=item_id, lag_ms=lag):
                self._early.setdefault(event.session_id, set()).add(item_id)
                self._first_reading(lag)
            case EmotionCompleted(item_id=item_id, lag_ms=lag):
                self._utterances.labels("read").inc()
                self._readings.labels(event.emotion.model).inc()
                if lag is not None:
                    self._stages.labels("speech_end_to_emotion").observe(lag / 1000)
                if not self._was_early(event.session_id, item_id):
                    self._first_reading(lag)
            case TranscriptionFailed(item_id=item_id):
                self._utterances.labels("failed").inc()
                self._was_early(event.session_id, item_id)
            case SessionClosed():
                self._early.pop(event.session_id, None)
            case Overload(kind="partials"):
                self._drops.labels("partials").inc(event.dropped)
            case Overload(kind="audio"):
                self._drops.labels("audio_ms").inc(event.dropped)
            case SpeechStopped(reason="max_length"):
                self._utterances.labels("cut").inc()

    def _first_reading(self, lag_ms: float | None) -> None:
        if lag_ms is not None:
            self._stages.labels("speech_end_to_reading").observe(lag_ms / 1000)

    def _was_early(self, session_id: str, item_id: str) -> bool:
        """Return whether a voice was told of before its words; it is over now."""
        early = self._early.get(session_id, set())
        known = item_id in early
        early.discard(item_id)
        return known

    def _real_time_factor(self) -> float:
        return self._busy_s / self._audio_s if self._audio_s else 0.0


class _DeviceCollector(Collector):
    """Ask the workers only when somebody asks us."""

    def __init__(self, device: HostReport, factor: Callable[[], float]) -> None:
        self._device = device
        self._factor = factor

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges as they are now."""
        load, stats = self._device.load(), self._device.stats
        depth = GaugeMetricFamily("streamser_queue_jobs", "Waiting jobs.", labels=["kind"])
        depth.add_metric(["final"], load.finals)
        depth.add_metric(["partial"], load.partials)
        yield depth
        yield GaugeMetricFamily(
            "streamser_queue_oldest_seconds", "How long the oldest waits.", load.oldest_s
        )
        yield GaugeMetricFamily(
            "streamser_real_time_factor",
            "Time in models over sound taken in, since the start; all streams together.",
            self._factor(),
        )
        yield GaugeMetricFamily(
            "streamser_ready", "1 while the models are loaded.", float(self._device.is_ready)
        )
        yield from self._collect_workers()
        lost = CounterMetricFamily(
            "streamser_device_restarts",
            "Workers replaced, their models loaded anew: died, or stuck (over the deadline)",
            labels=["cause"],
        )
        lost.add_metric(["died"], stats.died)
        lost.add_metric(["stuck"], stats.stuck)
        yield lost
        for name, about, value in (
            ("not_loaded", "Attempts to load models that failed.", stats.not_loaded),
            ("retries", "Jobs tried again after a worker was lost.", stats.retries),
            ("faults", "Jobs that failed.", stats.faults),
        ):
            yield CounterMetricFamily(f"streamser_{name}", about, value)

    def _collect_workers(self) -> Iterator[Metric]:
        memory = GaugeMetricFamily(
            "streamser_worker_memory_bytes", "Resident memory of a worker.", labels=["worker"]
        )
        sessions = GaugeMetricFamily(
            "streamser_worker_sessions", "Sessions that a worker hosts.", labels=["worker"]
        )
        cpu = CounterMetricFamily(
            "streamser_worker_cpu_seconds",
            "Processor time of a worker since it began.",
            labels=["worker"],
        )
        for load in self._device.workers():
            name = [str(load.pid)]
            sessions.add_metric(name, load.sessions)
            cpu.add_metric(name, load.cpu_s)
            if load.memory is not None:
                memory.add_metric(name, load.memory)
        yield from (memory, sessions, cpu)
        yield GaugeMetricFamily(
            "streamser_kept_sound_bytes",
            "Sound kept for streams that go on elsewhere should their worker be lost.",
            self._device.kept_bytes,
        )
