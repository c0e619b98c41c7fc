"""How much faster than real time one core hears: conversion, detector, segmenter, session."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Literal

import msgspec

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.reader import Resampler
from streamser.audio.source import Frames
from streamser.events import SessionClosed
from streamser.pipeline.build import build_vads
from streamser.pipeline.engine import Engine
from streamser.pipeline.requests import Outcome, Request
from streamser.settings import Settings, VadSettings
from streamser.speech.vad import Vad
from tools.bench.conversation import BLOCK_MS, Conversation
from tools.bench.core import NullModel, answer_nothing, make_session, run_core
from tools.bench.measure import pinned

__all__ = ["FrontHalf", "FrontSection", "PlainVad", "measure_front"]

RATES = (44_100, 48_000)
VADS: tuple[Literal["silero", "webrtc"], ...] = ("silero", "webrtc")


class FrontHalf(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how fast one stream of one rate goes through the front half.

    ``times_real`` is seconds of audio per second of wall time, ``times_real_cpu`` per second
    of CPU time of the process; both are medians over the passes, and the goal is held against
    the first. The shares come from a
    pass of their own, with a stopwatch around each call, and sum to 1; ``rest`` is segmenter,
    ring, session core and events. ``over_plain`` is the CPU time of the front half divided by
    that of the detector alone in a plain loop.
    """

    vad: str
    rate: int
    times_real: float
    times_real_cpu: float
    resample_share: float
    vad_share: float
    rest_share: float
    over_plain: float
    utterances: int
    jobs: int


class PlainVad(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how fast a detector alone judges the same sound, window after window."""

    vad: str
    times_real: float
    times_real_cpu: float


class FrontSection(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the figures of the front half; ``core`` is where it was pinned, if it could be."""

    audio_s: float
    passes: int
    block_ms: int
    core: int | None
    halves: tuple[FrontHalf, ...]
    plain: tuple[PlainVad, ...]


class _Took(msgspec.Struct, frozen=True):
    """Seconds that something took."""

    wall: float
    cpu: float


class _Heard(msgspec.Struct, frozen=True):
    """What came out of the front half."""

    utterances: int
    jobs: int


class _Watch:
    """Add up the wall time spent inside calls."""

    def __init__(self) -> None:
        self.seconds = 0.0


class _WatchedVad:
    def __init__(self, vad: Vad, watch: _Watch) -> None:
        self.name = vad.name
        self.window = vad.window
        self._vad = vad
        self._watch = watch

    def probability(self, window: Samples) -> float:
        began = time.perf_counter()
        answer = self._vad.probability(window)
        self._watch.seconds += time.perf_counter() - began
        return answer

    def probabilities(self, windows: Samples) -> list[float]:
        began = time.perf_counter()
        answers = self._vad.probabilities(windows)
        self._watch.seconds += time.perf_counter() - began
        return answers

    def reset(self) -> None:
        self._vad.reset()

    def snapshot(self) -> bytes:
        return self._vad.snapshot()

    def restore(self, state: bytes) -> None:
        self._vad.restore(state)


class _WatchedIntake(Resampler):
    def __init__(self, rate: int, watch: _Watch) -> None:
        super().__init__(rate, 1)
        self._watch = watch

    def feed(self, frames: Frames) -> Samples:
        began = time.perf_counter()
        ready = super().feed(frames)
        self._watch.seconds += time.perf_counter() - began
        return ready


def measure_front(
    conversation: Conversation, seconds: float, passes: int, tell: Callable[[str], None]
) -> FrontSection:
    """Measure the front half for each rate and detector, and each detector alone.

    The sound is in memory, in blocks of 20 ms; no recogniser and no emotion model runs, jobs
    are answered at once with nothing. The calling thread is pinned to one core.
    """
    halves: list[FrontHalf] = []
    plain: list[PlainVad] = []
    with pinned() as core:
        for engine in VADS:
            tell(f"front half with {engine}: {passes} passes over {seconds:.0f} s of sound")
            trial = _Trial(engine, build_vads(Settings(vad=VadSettings(engine=engine))), seconds)
            alone, through = trial.run(conversation, passes)
            plain.append(alone)
            halves.extend(through)
    return FrontSection(
        audio_s=seconds,
        passes=passes,
        block_ms=BLOCK_MS,
        core=core,
        halves=tuple(halves),
        plain=tuple(plain),
    )


class _Trial:
    """Try one detector, with the front half around it and without."""

    def __init__(self, engine: str, make_vad: Callable[[], Vad], seconds: float) -> None:
        self._engine = engine
        self._make_vad = make_vad
        self._seconds = seconds

    def run(
        self, conversation: Conversation, passes: int
    ) -> tuple[PlainVad, tuple[FrontHalf, ...]]:
        windows = self._windows(conversation)
        sound = {rate: self._blocks(conversation, rate) for rate in RATES}
        alone: list[_Took] = []
        through: dict[int, list[_Took]] = {rate: [] for rate in RATES}
        for _ in range(passes):
            # All take turns, so that what disturbs the machine disturbs them alike.
            alone.append(_timed(partial(_plain_loop, self._make_vad(), windows)))
            for rate, blocks in sound.items():
                listen = partial(_listen, self._make_vad(), Resampler(rate, 1), blocks)
                through[rate].append(_timed(listen))
        plain = PlainVad(
            vad=self._engine,
            times_real=round(self._seconds / _wall(alone), 1),
            times_real_cpu=round(self._seconds / _cpu(alone), 1),
        )
        halves = [
            self._half(rate, blocks, through[rate], _cpu(alone)) for rate, blocks in sound.items()
        ]
        return plain, tuple(halves)

    def _half(self, rate: int, blocks: list[Frames], took: list[_Took], alone: float) -> FrontHalf:
        resampling, judging = _Watch(), _Watch()
        vad = _WatchedVad(self._make_vad(), judging)
        began = time.perf_counter()
        heard = _listen(vad, _WatchedIntake(rate, resampling), blocks)
        whole = time.perf_counter() - began
        return FrontHalf(
            vad=self._engine,
            rate=rate,
            times_real=round(self._seconds / _wall(took), 1),
            times_real_cpu=round(self._seconds / _cpu(took), 1),
            resample_share=round(resampling.seconds / whole, 3),
            vad_share=round(judging.seconds / whole, 3),
            rest_share=round(1 - (resampling.seconds + judging.seconds) / whole, 3),
            over_plain=round(_cpu(took) / alone, 3),
            utterances=heard.utterances,
            jobs=heard.jobs,
        )

    def _blocks(self, conversation: Conversation, rate: int) -> list[Frames]:
        at_rate = conversation.at_rate(rate)
        blocks = at_rate.blocks(rate * BLOCK_MS // 1000, total=round(self._seconds * rate))
        return [block[:, None] for block in blocks]

    def _windows(self, conversation: Conversation) -> list[Samples]:
        window = self._make_vad().window
        total = round(self._seconds * SAMPLE_RATE) // window * window
        return list(conversation.blocks(window, total=total))


def _plain_loop(vad: Vad, windows: list[Samples]) -> None:
    for window in windows:
        vad.probability(window)


def _listen(vad: Vad, intake: Resampler, blocks: list[Frames]) -> _Heard:
    jobs = 0

    def answer(job: Request) -> Outcome:
        nonlocal jobs
        jobs += 1
        return answer_nothing(job)

    session = make_session(Settings(), vad, Engine(None, NullModel()))
    last = run_core(session, intake, blocks, answer)[-1]
    assert isinstance(last, SessionClosed)
    return _Heard(last.utterances, jobs)


def _timed(run: Callable[[], object]) -> _Took:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return _Took(time.perf_counter() - wall, time.process_time() - cpu)


def _wall(took: list[_Took]) -> float:
    return statistics.median(each.wall for each in took)


def _cpu(took: list[_Took]) -> float:
    return statistics.median(each.cpu for each in took)
