"""Streams that have their next utterance ready as soon as the last is answered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.bench.conversation import Conversation
from streamser.errors import StreamserError
from streamser.runtime.crew import Crew
from streamser.runtime.engine import Runner
from streamser.runtime.jobs import Fault, Job, Outcome, Skipped
from streamser.settings import WorkerSettings

__all__ = ["Pace", "cut_utterances", "run_batched", "run_threads"]

_LEAST_S, _MOST_S = 2.0, 8.0


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how utterances went: how many, in which wall and CPU time."""

    utterances: int
    wall_s: float
    cpu_s: float

    def figures(self) -> dict[str, float | None]:
        """Return what the tables show."""
        return {
            "utterances/s": round(self.utterances / self.wall_s, 3),
            "cores": round(self.cpu_s / self.wall_s, 2),
            "CPU ms an utterance": round(1000 * self.cpu_s / self.utterances, 1),
        }


def cut_utterances(conversation: Conversation, count: int, seed: int) -> list[Samples]:
    """Cut pieces of 2 to 8 s, evenly distributed, out of a conversation's stream."""
    chance = random.Random(seed)
    lengths = [round(chance.uniform(_LEAST_S, _MOST_S) * SAMPLE_RATE) for _ in range(count)]
    sound = conversation.at_rate(SAMPLE_RATE)
    whole = np.concatenate(list(sound.blocks(SAMPLE_RATE, total=sum(lengths))))
    return np.split(whole, np.cumsum(lengths[:-1]))


def run_threads(
    answer: Callable[[Samples], object], utterances: Sequence[Samples], streams: int
) -> Pace:
    """Let so many threads call ``answer``, each for its own utterances, one after another."""
    shares = [utterances[number::streams] for number in range(streams)]

    def work(share: Sequence[Samples]) -> None:
        for samples in share:
            answer(samples)

    with ThreadPoolExecutor(streams) as pool:
        watch = _Watch()
        # ``list`` raises what a thread raised.
        list(pool.map(work, shares))
        return watch.stop(len(utterances))


def run_batched(
    build: Callable[[], Runner],
    settings: WorkerSettings,
    utterances: Sequence[Samples],
    streams: int,
    ask: Callable[[int, Clip], Job],
) -> Pace:
    """Let so many sessions ask our workers, each for its utterances, one after another.

    ``ask`` makes a job, with its number, of a clip.

    Raises ``StreamserError`` where the models cannot be had, or a job fails.
    """
    crew = Crew(build, settings)
    try:
        crew.engine()
        sessions = [_Session(crew, n, utterances[n::streams], ask) for n in range(streams)]
        watch = _Watch()
        for session in sessions:
            session.ask()
        for session in sessions:
            session.over.wait()
        pace = watch.stop(len(utterances))
        for session in sessions:
            if session.fault is not None:
                raise StreamserError(session.fault, code="bench_failed")
        return pace
    finally:
        crew.close()


class _Session:
    """Ask for one utterance after another."""

    def __init__(
        self,
        crew: Crew,
        number: int,
        utterances: Sequence[Samples],
        ask: Callable[[int, Clip], Job],
    ) -> None:
        self.over = threading.Event()
        self.fault: str | None = None
        self._crew = crew
        self._name = f"bench-{number}"
        self._left = list(utterances)
        self._job = ask
        self._asked = 0
        crew.enter(self._name)

    def ask(self) -> None:
        """Ask for the next; done when there is none."""
        if not self._left:
            self.over.set()
            return
        samples = self._left.pop(0)
        self._asked += 1
        clip = Clip(self._name, self._asked, 0, samples, final=True)
        self._crew.submit(self._job(self._asked, clip), self._take)

    def _take(self, job: Job, outcome: Outcome) -> None:
        match outcome:
            case Fault(message=why) | Skipped(reason=why):
                self.fault = f"an utterance was not answered: {why}"
                self.over.set()
            case _:
                self.ask()


class _Watch:
    """Take wall and CPU time of this process from now on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self, utterances: int) -> Pace:
        wall, cpu = time.perf_counter(), time.process_time()
        return Pace(
            utterances=utterances,
            wall_s=round(wall - self._wall, 3),
            cpu_s=round(cpu - self._cpu, 3),
        )
