"""Live streams held: our server, ours without it, a lock around one model, a process a stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from streamser.audio.clip import to_ms
from streamser.bench.beside.climb import climb
from streamser.bench.beside.hold import HoldTask, settings_of
from streamser.bench.beside.hold_process import FamilyGauge, HoldProcess
from streamser.bench.beside.report import Comparison, Contender, Ratio
from streamser.bench.beside.tasks import LocksTask
from streamser.bench.conversation import load_demo, load_recordings
from streamser.bench.load_figures import Figures, Hangover, figures_of
from streamser.bench.load_log import BLOCK_MS
from streamser.bench.load_report import judge
from streamser.bench.load_server import OwnServer
from streamser.bench.load_sound import Lap, make_lap, plans
from streamser.bench.load_streams import Span, Target, play
from streamser.bench.model import available_mib
from streamser.client.wire import REALTIME, endpoint
from streamser.errors import StreamserError
from streamser.runtime.assembly import segmenter_settings

__all__ = ["compare_locks"]

GOAL = 2.0
_SPREAD_S, _REST_S = 1.0, 1.0
_SOON_S = 0.3
_SPARED_MIB = 1024.0


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what so many streams gave; memory is shared out among those who share it (PSS)."""

    streams: int
    held: bool
    why: str
    figures: Figures | None = None
    cores: float | None = None
    memory_mib: float | None = None


def compare_locks(task: LocksTask, tell: Callable[[str], None]) -> Comparison:
    """Find how many streams each design holds, one design after another.

    Raises ``StreamserError`` where a process cannot be had.
    """
    bench = _Bench(task)
    designs: dict[str, Callable[[int], _Step]] = {
        "ours, streamser serve": bench.serve,
        "ours, no server": lambda n: bench.hold("ours", n, apart=False),
        "a lock, a thread a stream": lambda n: bench.hold("lock", n, apart=False),
        "a process a stream": lambda n: bench.hold("lock", n, apart=True),
    }
    contenders: list[Contender] = []
    largest: list[int | None] = []
    for name, measure in designs.items():
        steps: dict[int, _Step] = {}

        def held(
            streams: int,
            name: str = name,
            measure: Callable[[int], _Step] = measure,
            steps: dict[int, _Step] = steps,
        ) -> bool:
            step = steps[streams] = measure(streams)
            tell(f"locks: {name}: {streams} streams: {_brief(step)}")
            return step.held

        most = climb(held, first=task.first, most=task.most, fineness=task.fineness)
        largest.append(most)
        contenders.append(Contender(name, _figures(None if most is None else steps[most], steps)))
    served, ours, lock, apart = largest
    return Comparison(
        part=task.part,
        title="live streams held at once, "
        + ("emotion only" if task.asr == "none" else f"words by {task.asr}"),
        conditions=(
            f"held: p95 of the emotion at most {task.bound_ms:g} ms beyond the hangover, nothing"
            f" lost; {task.seconds:g} s after {task.warm_s:g} s of warm-up, doubling, then halving"
            f" to {100 * task.fineness:g} %",
            f"{bench.lap.name}, {100 * bench.lap.speech_share:.0f} % speech, in blocks of"
            f" {BLOCK_MS} ms, entered elsewhere by each stream; model {task.model}; the same"
            " detector, endpointing, partials and speculative finals in all; ours has its models in"
            f" {task.processes} process(es)",
            "with the server a sample is sent when the generator hands it to the socket, and the"
            " generator, which is not counted, works on the same cores; without, sound is there"
            " when it is due, and nothing else works on them",
            "cores and memory of all processes of a design; memory that several share is divided"
            " among them (PSS)",
        ),
        contenders=tuple(contenders),
        ratios=(
            _ratio("our server over a lock around one model", served, lock, GOAL),
            _ratio("ours without a server over a lock around one model", ours, lock),
            _ratio("our server over a process a stream", served, apart),
            _ratio("ours without a server over a process a stream", ours, apart),
        ),
    )


class _Bench:
    """Measure a design with so many streams."""

    def __init__(self, task: LocksTask) -> None:
        self._task = task
        folder = task.recordings
        self.lap: Lap = make_lap(load_demo() if folder is None else load_recordings(Path(folder)))
        endpointing = settings_of(task.model, task.asr).endpointing
        tail = to_ms(segmenter_settings(endpointing).tail)
        self._hangover = Hangover.of("silero", endpointing.silence_ms, tail)
        self._apart_mib = 0.0

    def serve(self, streams: int) -> _Step:
        """Measure our server, in a process of its own, with the generator of ``bench load``."""
        task = self._task
        told = {
            "server.port": 0,
            "server.max_sessions": 2 * streams,
            "server.late_s": 0,
            "asr.engine": task.asr,
            "emotion.model": task.model,
            "worker.processes": task.processes,
        }
        arguments = [part for key, value in told.items() for part in ("--set", f"{key}={value}")]
        with OwnServer(arguments, None) as own:
            gauge = FamilyGauge([own.pid])
            query = {"intent": "transcription", "rate": "16000", "encoding": "s16le"}
            target = Target(endpoint(own.url, REALTIME, query), None, wordless=False)
            drawn = plans(task.seed, streams, self.lap)
            span = Span(task.warm_s, task.seconds)
            try:
                played = asyncio.run(play(target, self.lap, drawn, span, gauge.note))
            except StreamserError as refused:
                own.check()
                return _Step(streams=streams, held=False, why=f"not let in: {refused}")
            own.check()
        figures = figures_of(played.logs, self._hangover, played.begin, played.end)
        verdict = judge(figures, task.bound_ms)
        return _Step(
            streams=streams,
            held=verdict.held is True,
            why=verdict.why,
            figures=figures,
            cores=gauge.cores(),
            memory_mib=gauge.memory_mib,
        )

    def hold(self, design: Any, streams: int, *, apart: bool) -> _Step:
        """Measure a design of ``hold``, in one process, or in as many as there are streams."""
        task = self._task
        room = available_mib()
        if apart and room is not None and streams * self._apart_mib > room - _SPARED_MIB:
            return _Step(streams=streams, held=False, why="the memory does not suffice")
        whole = HoldTask(
            design=design,
            model=task.model,
            asr=task.asr,
            recordings=task.recordings,
            seed=task.seed,
            streams=streams,
            first=0,
            last=streams,
            seconds=_SPREAD_S + task.warm_s + task.seconds + _REST_S,
            processes=task.processes,
        )
        tasks = [whole]
        if apart:
            tasks = [
                msgspec.structs.replace(whole, first=number, last=number + 1)
                for number in range(streams)
            ]
        with contextlib.ExitStack() as stack:
            children = [stack.enter_context(HoldProcess(each)) for each in tasks]
            for child in children:
                child.wait_ready()
            first = time.monotonic() + _SOON_S
            for child in children:
                child.begin(first)
            begin = first + _SPREAD_S + task.warm_s
            gauge = FamilyGauge([child.pid for child in children])
            for when in (begin, begin + task.seconds):
                time.sleep(max(0.0, when - time.monotonic()))
                gauge.note()
            logs = [log for child in children for log in child.logs()]
        if apart and gauge.memory_mib is not None:
            self._apart_mib = gauge.memory_mib / streams
        figures = figures_of(logs, self._hangover, begin, begin + task.seconds)
        held, why = _judged(figures, task.bound_ms)
        return _Step(
            streams=streams,
            held=held,
            why=why,
            figures=figures,
            cores=gauge.cores(),
            memory_mib=gauge.memory_mib,
        )


def _judged(figures: Figures, bound_ms: float) -> tuple[bool, str]:
    """Judge streams that need no generator: their lateness is their own."""
    beyond = figures.emotion_beyond
    if figures.losses:
        return False, ", ".join(figures.losses)
    if beyond is None:
        return False, "no utterance ended"
    held = beyond.p95 <= bound_ms
    return held, "held" if held else f"p95 {beyond.p95:.0f} ms > {bound_ms:g} ms"


def _ratio(name: str, ours: int | None, other: int | None, goal: float | None = None) -> Ratio:
    value = round(ours / other, 3) if ours and other else None
    return Ratio(name=f"streams held, {name}", value=value, goal=goal)


def _brief(step: _Step) -> str:
    beyond = None if step.figures is None else step.figures.emotion_beyond
    p95 = "" if beyond is None else f"p95 {beyond.p95:.0f} ms, "
    cores = "" if step.cores is None else f"{step.cores:.2f} cores, "
    memory = "" if step.memory_mib is None else f"{step.memory_mib:.0f} MiB; "
    return f"{p95}{cores}{memory}{step.why}"


def _figures(largest: _Step | None, steps: dict[int, _Step]) -> dict[str, float | None]:
    first_missed = min((step.streams for step in steps.values() if not step.held), default=None)
    if largest is None or largest.figures is None:
        return {"streams held": 0, "first not held": first_missed}
    beyond = largest.figures.emotion_beyond
    streams = largest.streams
    cores, memory = largest.cores, largest.memory_mib
    return {
        "streams held": streams,
        "first not held": first_missed,
        "p50 ms": None if beyond is None else beyond.p50,
        "p95 ms": None if beyond is None else beyond.p95,
        "utterances": largest.figures.utterances,
        "cores": cores,
        "CPU ms a stream-second": None if cores is None else round(1000 * cores / streams, 2),
        "MiB": memory,
        "MiB a stream": None if memory is None else round(memory / streams, 1),
    }
