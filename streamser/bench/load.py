"""More and more live streams to one server, until it no longer holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from streamser.bench.conversation import load_demo, load_recordings
from streamser.bench.load_figures import DEFINITIONS, Hangover, figures_of
from streamser.bench.load_log import BLOCK_MS, StreamLog
from streamser.bench.load_report import LATE_MS, LoadReport, Step, judge, largest_held
from streamser.bench.load_server import Meter, OwnServer, use_between
from streamser.bench.load_sound import Lap, make_lap, plans
from streamser.bench.load_streams import Played, Span, Target, play
from streamser.bench.machine import describe_machine
from streamser.bench.spread import METHOD
from streamser.client.wire import REALTIME, endpoint, redacted
from streamser.cores import usable_cores
from streamser.errors import StreamserError

__all__ = ["LoadBench", "run_load"]

_WARM_S = 5.0


class LoadBench(msgspec.Struct, frozen=True, kw_only=True):
    """Say what to measure.

    ``server`` is the address of one that runs already; ``None``: one is started, by
    ``arguments``, and kept to ``cores``. ``settings`` are those that are not the default, for
    the report, and ``tail_ms`` the server's, where known. ``wordless`` asks for no transcripts.
    """

    streams: tuple[int, ...]
    seconds: float
    bound_ms: float
    seed: int
    command: str
    recordings: Path | None = None
    server: str | None = None
    token: str | None = None
    wordless: bool = False
    arguments: tuple[str, ...] = ()
    settings: Mapping[str, str] = {}
    tail_ms: int | None = None
    cores: frozenset[int] | None = None

    @property
    def warm_s(self) -> float:
        """Return how long each step is warmed up, in seconds."""
        return min(_WARM_S, self.seconds / 2)


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
    found = load_demo() if bench.recordings is None else load_recordings(bench.recordings)
    lap = make_lap(found)
    tell(
        f"Sound: {lap.name}, {lap.seconds:.0f} s a lap, {100 * lap.speech_share:.0f} % speech."
        f" Each step: {bench.warm_s:g} s of warm-up, {bench.seconds:g} s measured."
    )
    with _served(bench, tell) as (url, own):
        steps, known, stopped = _climb(bench, lap, url, own, tell)
        generator = _affinity() if bench.cores is not None else None
    return LoadReport(
        label=_label(known, bench),
        command=bench.command,
        seed=bench.seed,
        machine=describe_machine(),
        server="started for this" if bench.server is None else redacted(bench.server),
        models={"vad": known.vad, "asr": known.asr, "emotion": known.emotion},
        settings=dict(bench.settings),
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


@contextmanager
def _served(
    bench: LoadBench, tell: Callable[[str], None]
) -> Iterator[tuple[str, OwnServer | None]]:
    if bench.server is not None:
        yield bench.server, None
        return
    tell("Starting the server …")
    with OwnServer(bench.arguments, bench.cores) as own:
        yield own.url, own


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
        step = _step(bench, played, meter, known, steps)
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
    return asyncio.run(play(target, lap, plans(bench.seed, streams, lap), span, meter.note))


def _step(
    bench: LoadBench, played: Played, meter: Meter, known: _Known, before: list[Step]
) -> Step:
    hangover = Hangover.of(known.vad, known.silence_ms, bench.tail_ms)
    figures = figures_of(played.logs, hangover, played.begin, played.end)
    use = use_between(*meter.readings)
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
            return _Known(models.vad, models.asr, models.emotion, sessions[-1].silence_ms)
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
