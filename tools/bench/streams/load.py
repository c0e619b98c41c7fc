"""More and more live streams to one server, until it no longer holds."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

import msgspec

from streamser.client.wire import REALTIME, endpoint, redacted
from streamser.errors import StreamserError
from streamser.machine import describe_machine, usable_cores
from tools.bench.measure import METHOD
from tools.bench.streams.client import (
    BLOCK_MS,
    FINISH,
    NO_WORDS,
    Lap,
    Plan,
    Speaker,
    Wire,
    dial,
    plans,
    read_told,
)
from tools.bench.streams.load_figures import (
    DEFINITIONS,
    Hangover,
    Receipt,
    StreamLog,
    figures_of,
)
from tools.bench.streams.load_report import LATE_MS, LoadReport, Step, judge, largest_held
from tools.bench.streams.server import Gauge, Meter, OwnServer, ServerBench, use_between

__all__ = ["LoadBench", "play_step", "run_load"]

_WARM_S = 5.0
_REST_S = 1.0
"""The load goes on for so long after the measurement, so that its last finals come under it."""
_DRAIN_S = 15.0
_AT_ONCE = 16
"""Handshakes at the same time: a server's queue of new connections is short."""


class LoadBench(ServerBench, frozen=True, kw_only=True):
    """Say what to measure; ``tail_ms`` is the server's, where known."""

    streams: tuple[int, ...]
    seconds: float
    bound_ms: float
    tail_ms: int | None = None

    @property
    def warm_s(self) -> float:
        """Return how long each step is warmed up, in seconds."""
        return min(_WARM_S, self.seconds / 2)


class Target(msgspec.Struct, frozen=True):
    """Say where streams go; ``wordless`` asks the server to leave the words out."""

    url: str
    token: str | None
    wordless: bool


class Span(msgspec.Struct, frozen=True):
    """Say how long to warm up, and to measure after that, in seconds."""

    warm_s: float
    seconds: float


class Played(msgspec.Struct, frozen=True):
    """Hold what the streams logged; ``begin`` and ``end`` bound what counts (monotonic, s).

    ``cores`` is what the generator itself used of the processor in between, ``gauges`` are the
    server's readings at both.
    """

    logs: list[StreamLog]
    begin: float
    end: float
    cores: float
    gauges: tuple[Gauge, Gauge]


class _Known(msgspec.Struct, frozen=True):
    """What a server says of itself to a stream."""

    vad: str
    asr: str | None
    emotion: str
    silence_ms: int


def run_load(bench: LoadBench, tell: Callable[[str], None]) -> LoadReport:
    """Measure step after step; stops at the first that is not held, or cannot be judged.

    Raises ``StreamserError`` where the server cannot be had, or ends.
    """
    lap = bench.lap
    tell(
        f"Sound: {lap.name}, {lap.seconds:.0f} s a lap, {100 * lap.speech_share:.0f} % speech."
        f" Each step: {bench.warm_s:g} s of warm-up, {bench.seconds:g} s measured."
    )
    with bench.served(tell) as (url, own):
        steps, known, stopped = _climb(bench, lap, url, own, tell)
        generator = _affinity() if bench.cores is not None else None
    return LoadReport(
        label=_label(known, bench),
        command=bench.command,
        seed=bench.seed,
        machine=describe_machine(),
        server="started for this" if bench.server is None else redacted(bench.server),
        models={"vad": known.vad, "asr": known.asr, "emotion": known.emotion},
        settings=bench.settings,
        cores=None if bench.cores is None else tuple(sorted(bench.cores)),
        generator_cores=generator,
        sound=lap.name,
        lap_s=round(lap.seconds, 1),
        speech_share=lap.speech_share,
        block_ms=BLOCK_MS,
        warm_s=bench.warm_s,
        seconds=bench.seconds,
        bound_ms=bench.bound_ms,
        late_limit_ms=LATE_MS,
        hangover=Hangover.of(known.vad, known.silence_ms, bench.tail_ms),
        definitions=DEFINITIONS,
        percentiles=METHOD,
        steps=tuple(steps),
        largest_held=largest_held(steps),
        relative_to=steps[0].streams if steps[0].relative_cost is not None else None,
        stopped=stopped,
    )


def _climb(
    bench: LoadBench,
    lap: Lap,
    url: str,
    own: OwnServer | None,
    tell: Callable[[str], None],
) -> tuple[list[Step], _Known, str]:
    steps: list[Step] = []
    known: _Known | None = None
    stopped = "that was the last step"
    for streams in bench.streams:
        tell(f"{_counted(streams)} …")
        meter = Meter(url, None if own is None else own.pid)
        try:
            played = _play(bench, lap, url, streams, meter)
        except StreamserError as refused:
            if own is not None:
                own.check()
            if known is None:
                raise
            stopped = f"{_counted(streams)}: not let in: {refused}"
            break
        if own is not None:
            own.check()
        known = known or _introduced(played.logs)
        step = _step(bench, played, known, steps)
        steps.append(step)
        tell(_brief(step))
        # Too little sound is no reason to stop: more streams bring more of it.
        silent = not step.figures.losses and step.figures.emotion_beyond is None
        if not step.verdict.held and not silent:
            stopped = f"{_counted(streams)}: {step.verdict.why}"
            break
    assert known is not None, "there is at least one step"
    return steps, known, stopped


def _play(bench: LoadBench, lap: Lap, url: str, streams: int, meter: Meter) -> Played:
    query = {"intent": "transcription", "rate": "16000", "encoding": "s16le"}
    target = Target(endpoint(url, REALTIME, query), bench.token, bench.wordless)
    span = Span(bench.warm_s, bench.seconds)
    return asyncio.run(play(target, lap, plans(bench.seed, streams, lap), span, meter))


def play_step(
    bench: LoadBench, lap: Lap, url: str, streams: int, meter: Meter, before: list[Step]
) -> Step:
    """Measure one step alone; raises ``StreamserError`` where a stream is not let in."""
    played = _play(bench, lap, url, streams, meter)
    return _step(bench, played, _introduced(played.logs), before)


def _step(bench: LoadBench, played: Played, known: _Known, before: list[Step]) -> Step:
    hangover = Hangover.of(known.vad, known.silence_ms, bench.tail_ms)
    figures = figures_of(played.logs, hangover, played.begin, played.end)
    use = use_between(*played.gauges)
    streams = len(played.logs)
    relative = None
    if use.cores is not None:
        first = before[0] if before else None
        alone = use.cores / streams if first is None else (first.use.cores or 0.0) / first.streams
        relative = round(use.cores / streams / alone, 3) if alone else None
    return Step(
        streams=streams,
        figures=figures,
        use=use,
        relative_cost=relative,
        generator_cores=played.cores,
        verdict=judge(figures, bench.bound_ms),
    )


def _introduced(logs: list[StreamLog]) -> _Known:
    for log in logs:
        # The last word counts: words may have been switched off after the first.
        sessions = [r.told.session for r in log.receipts if r.told.session is not None]
        if sessions:
            models = sessions[-1].models
            vad, emotion = (models.get(name) or "unknown" for name in ("vad", "emotion"))
            return _Known(vad, models.get("asr"), emotion, sessions[-1].silence_ms)
    faults = {log.fault for log in logs if log.fault}
    why = ", ".join(sorted(faults)) or "no session.created came"
    raise StreamserError(f"the server never introduced a stream: {why}.", code="bench_failed")


def _label(known: _Known, bench: LoadBench) -> str:
    named = ("asr.engine", "asr.model", "emotion.model", "offline")
    rest = [
        f"{key}={value}"
        for key, value in bench.settings.items()
        if key not in named and not key.startswith("server.")
    ]
    if bench.cores is not None:
        rest.append(f"cores {','.join(map(str, sorted(bench.cores)))}")
    return ", ".join([known.emotion, f"words: {known.asr or 'none'}", *rest])


def _brief(step: Step) -> str:
    beyond = step.figures.emotion_beyond
    p95 = "no utterances" if beyond is None else f"p95 {beyond.p95:.0f} ms beyond the hangover"
    cores = "" if step.use.cores is None else f", {step.use.cores:.2f} cores"
    return f"{_counted(step.streams)}: {p95}{cores}; {step.verdict.why}"


def _counted(streams: int) -> str:
    return "1 stream" if streams == 1 else f"{streams} streams"


def _affinity() -> tuple[int, ...] | None:
    return tuple(sorted(usable_cores())) or None


async def play(
    target: Target,
    lap: Lap,
    plans: Sequence[Plan],
    span: Span,
    meter: Meter,
) -> Played:
    """Play a lap to a server in as many streams as there are plans.

    ``meter`` is read, in a thread, at the beginning and at the end of what counts. Raises
    ``StreamserError`` where a stream is not let in.
    """
    streams = [_Stream(target, lap, plan) for plan in plans]
    loop = asyncio.get_running_loop()
    try:
        await _open(streams)
        with _undisturbed():
            first = loop.time() + 0.05
            begin = first + max(plan.delay_s for plan in plans) + span.warm_s
            end = begin + span.seconds
            for stream in streams:
                stream.begin(first, end + _REST_S)
            await _sleep_until(begin)
            used = time.process_time()
            before = await _aside(meter.read)
            await _sleep_until(end)
            used = time.process_time() - used
            gauges = (before, await _aside(meter.read))
            await asyncio.wait({stream.over for stream in streams}, timeout=_REST_S + _DRAIN_S)
    finally:
        for stream in streams:
            stream.leave()
    logs = [stream.log for stream in streams]
    return Played(logs, begin, end, round(used / span.seconds, 3), gauges)


class _Stream:
    """One stream: it stays from beginning to end, and logs what passes."""

    def __init__(self, target: Target, lap: Lap, plan: Plan) -> None:
        self.log = StreamLog()
        self._target = target
        self._lap = lap
        self._plan = plan
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wire: Wire | None = None
        self._finishing = self._told_goodbye = False

    async def open(self) -> None:
        """Connect."""
        self._wire = await dial(self._target.url, self._target.token, self._hear)
        self._wire.closed.add_done_callback(self._end)
        if self._target.wordless:
            self._wire.ask(NO_WORDS)

    def begin(self, first: float, last: float) -> None:
        """Speak from some moment on until another, and say goodbye."""
        assert self._wire is not None, "it has been opened"
        speaker = Speaker(self._wire, self._lap, self._plan.frame)
        first += self._plan.delay_s
        spoken = speaker.speak(first, lambda number, due: due <= last, self._note)
        spoken.add_done_callback(self._finish)

    def leave(self) -> None:
        """Break off what has not ended; that it had not is noted."""
        if not self.over.done():
            self.log.fault = f"the server did not end the stream within {_DRAIN_S:.0f} s"
            self.over.set_result(None)
        if self._wire is not None:
            self._wire.abort()

    def _note(self, sent: float, late: float) -> None:
        self.log.sent.append(sent)
        self.log.late.append(late)

    def _hear(self, at: float, message: bytes) -> None:
        told = read_told(message)
        self._told_goodbye = self._told_goodbye or told.type == "streamser.session.closed"
        self.log.receipts.append(Receipt(at, told))

    def _finish(self, spoken: asyncio.Future[int]) -> None:
        if self._wire is not None and not self._wire.closed.done():
            self._finishing = True
            self._wire.ask(FINISH)

    def _end(self, closed: asyncio.Future[str]) -> None:
        if self.over.done():
            return
        if not (self._finishing and self._told_goodbye):
            self.log.fault = closed.result()
        self.over.set_result(None)


async def _open(streams: Sequence[_Stream]) -> None:
    """Connect all; raises the first refusal."""
    for start in range(0, len(streams), _AT_ONCE):
        group = [stream.open() for stream in streams[start : start + _AT_ONCE]]
        for result in await asyncio.gather(*group, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result


async def _aside(work: Callable[[], Gauge]) -> Gauge:
    """Do something in a thread of its own, which keeps nobody from ending the program."""
    done: Future[Gauge] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except Exception as fault:
            done.set_exception(fault)

    threading.Thread(target=run, name="meter", daemon=True).start()
    return await asyncio.wrap_future(done)


async def _sleep_until(when: float) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(max(0.0, when - loop.time()))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Collect no garbage meanwhile: it would stop every stream at once, for milliseconds."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
