"""Streams held without a server, in a process of its own: ours, or a lock around one model.

Started by ``streamser.bench.beside.locks``: reads a ``HoldTask`` as a line of JSON, loads the
models, says ``ready``, reads when the first stream may begin (``time.monotonic``), and writes
the streams' logs as JSON when all is over.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from streamser.audio.clip import Samples
from streamser.bench.conversation import load_demo, load_recordings
from streamser.bench.load_log import BLOCK_MS, Receipt, StreamLog, read_told
from streamser.bench.load_sound import Lap, Plan, make_lap, plans
from streamser.config import AsrSettings, Settings
from streamser.emotion.model import SpeakerModel
from streamser.events import Event
from streamser.pipeline.analyzer import Analyzer
from streamser.pipeline.build import build_engine, build_session, build_vads
from streamser.pipeline.engine import Abilities, Engine
from streamser.pipeline.pool import WorkerPools
from streamser.pipeline.requests import Cancel, EmotionRequest, Outcome, Request, WordsRequest
from streamser.pipeline.session import Output, Session
from streamser.pipeline.stream import SessionRunner
from streamser.speech.vad import Vad

__all__ = ["HoldTask", "hold", "settings_of"]

_PATIENCE_S = 15.0
"""A stream that is later than this is given up: whoever cannot keep up shall not go on for ever."""


class HoldTask(msgspec.Struct, frozen=True, kw_only=True):
    """Say which of so many streams run here, and how, for how long after they have begun.

    ``processes`` is where ours has its models (``worker.processes``).
    """

    design: Literal["ours", "lock"]
    model: str
    asr: Literal["none", "whisper"] = "none"
    recordings: str | None
    seed: int
    streams: int
    first: int
    last: int
    seconds: float
    processes: int = 0


def settings_of(
    model: str, asr: Literal["none", "whisper"] = "none", processes: int = 0
) -> Settings:
    """Return the settings of all designs: these, and everything else as it comes."""
    settings = Settings(asr=AsrSettings(engine=asr), offline=True)
    return msgspec.structs.replace(
        settings,
        emotion=msgspec.structs.replace(settings.emotion, model=model),
        worker=msgspec.structs.replace(settings.worker, processes=processes),
    )


def hold(task: HoldTask, ready: Callable[[], float]) -> list[StreamLog]:
    """Load the models, ask ``ready`` when the first stream may begin, play, return the logs."""
    sound = load_demo() if task.recordings is None else load_recordings(Path(task.recordings))
    lap = make_lap(sound)
    drawn = plans(task.seed, task.streams, lap)[task.first : task.last]
    if task.design == "ours":
        return _share(task, lap, drawn, ready)
    return _lock(task, lap, drawn, ready)


class _Script:
    """Say when a stream's blocks are due, and note what it is told.

    A block counts as sent when it is due: whoever takes it late is late.
    """

    def __init__(self, lap: Lap, plan: Plan, first: float, seconds: float) -> None:
        self._lap = lap
        self._plan = plan
        self._first = first + plan.delay_s
        self.count = int(1000 * seconds / BLOCK_MS)
        self.log = StreamLog()
        self._told: list[tuple[float, Event]] = []

    def due(self, number: int) -> float:
        """Return when a block, counted from 0, is complete."""
        return self._first + (number + 1) * BLOCK_MS / 1000

    def block(self, number: int) -> Samples:
        """Return a block that is taken now."""
        due = self.due(number)
        self.log.sent.append(due)
        self.log.late.append(time.monotonic() - due)
        raw = np.frombuffer(self._lap.block(self._plan.frame, number), "<i2")
        return raw.astype(np.float32) / np.float32(32768.0)

    def note(self, events: Iterable[Event]) -> None:
        """Note events that have just been told."""
        at = time.monotonic()
        self._told += [(at, event) for event in events]

    def close(self) -> StreamLog:
        """Return the log; only now, so that nothing is encoded while it counts."""
        self.log.receipts = [
            Receipt(at, read_told(msgspec.json.encode(event))) for at, event in self._told
        ]
        return self.log


def _name(number: int) -> str:
    return f"bench-{number}"


def _session(
    settings: Settings,
    number: int,
    vad: Vad,
    abilities: Abilities,
    new_speaker: Callable[[], SpeakerModel],
) -> Session:
    return build_session(
        settings,
        _name(number),
        vad,
        abilities,
        new_speaker,
        ordered=False,
        patient=False,
        source=None,
        speaker=None,
    )


# One model, and a lock around it


def _lock(
    task: HoldTask, lap: Lap, drawn: list[Plan], ready: Callable[[], float]
) -> list[StreamLog]:
    settings = settings_of(task.model, task.asr)
    engine = build_engine(settings, _silent)
    make_vad = build_vads(settings)
    equipment = (engine.abilities, engine.new_speaker)
    sessions = [_session(settings, n, make_vad(), *equipment) for n in range(len(drawn))]
    first = ready()
    scripts = [_Script(lap, plan, first, task.seconds) for plan in drawn]
    lock = threading.Lock()
    threads = [
        threading.Thread(target=_follow, args=(session, script, engine, lock), daemon=True)
        for session, script in zip(sessions, scripts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [script.close() for script in scripts]


def _follow(session: Session, script: _Script, engine: Engine, lock: threading.Lock) -> None:
    """Follow one stream on a thread of its own; models run here too, one job at a time."""

    def carry(output: list[Output]) -> None:
        tasks: deque[Request] = deque()
        while True:
            script.note(item for item in output if isinstance(item, Event))
            for item in output:
                if isinstance(item, Cancel):
                    tasks = deque(job for job in tasks if job.id != item.request_id)
                elif isinstance(item, WordsRequest | EmotionRequest):
                    tasks.append(item)
            if not tasks:
                return
            job = tasks.popleft()
            with lock:
                outcome = engine.run([job])[0]
            output = session.resolve(job.id, outcome)

    carry(session.begin())
    for number in range(script.count):
        left = script.due(number) - time.monotonic()
        if left > 0:
            time.sleep(left)
        elif left < -_PATIENCE_S:
            script.log.fault = f"more than {_PATIENCE_S:.0f} s late"
            return
        carry(session.push(script.block(number)))
    carry(session.flush())


# Ours, without the server around it


def _share(
    task: HoldTask, lap: Lap, drawn: list[Plan], ready: Callable[[], float]
) -> list[StreamLog]:
    settings = settings_of(task.model, task.asr, task.processes)
    with Analyzer(settings, tell=_silent) as analyzer:
        analyzer.models()
        return asyncio.run(_conduct(analyzer, task, lap, drawn, ready))


async def _conduct(
    analyzer: Analyzer, task: HoldTask, lap: Lap, drawn: list[Plan], ready: Callable[[], float]
) -> list[StreamLog]:
    make_vad, workers = analyzer.equipment()
    equipment = (workers.wait(), workers.new_speaker)
    loop = asyncio.get_running_loop()
    sessions = [_session(analyzer.settings, n, make_vad(), *equipment) for n in range(len(drawn))]
    for number in range(len(drawn)):
        workers.enter(_name(number))
    first = ready()
    scripts = [_Script(lap, plan, first, task.seconds) for plan in drawn]
    streams = [_Stream(loop, *pair, workers) for pair in zip(sessions, scripts, strict=True)]
    over = asyncio.gather(*(stream.over for stream in streams))
    last = first + max(plan.delay_s for plan in drawn) + task.seconds
    try:
        await asyncio.wait_for(over, max(0.0, last - time.monotonic()) + _PATIENCE_S)
    except TimeoutError:
        for stream in streams:
            stream.give_up()
    return [stream.script.close() for stream in streams]


class _Stream:
    """Push a stream's blocks into its conductor, by the loop's own timer."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        session: Session,
        script: _Script,
        workers: WorkerPools,
    ) -> None:
        self.script = script
        self.over: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._runner = SessionRunner(session, workers, self._post, time.monotonic)
        self._number = 0
        self._reached = 0
        script.note(self._runner.begin())
        self._wait()

    def give_up(self) -> None:
        """Note that it has not ended."""
        if not self.over.done():
            self.script.log.fault = f"more than {_PATIENCE_S:.0f} s late"

    def _wait(self) -> None:
        self._loop.call_at(self.script.due(self._number), self._tick)

    def _tick(self) -> None:
        due = self.script.due(self._number)
        samples = self.script.block(self._number)
        self._number += 1
        self._reached += len(samples)
        self.script.note(self._runner.push_audio(samples, due, self._reached))
        if self._number < self.script.count:
            self._wait()
        else:
            self.script.note(self._runner.flush())
            self._end_if_closed()

    def _post(self, job: Request, outcome: Outcome) -> None:
        # The loop may have been closed meanwhile, by a stream that was given up.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._take, job, outcome)

    def _take(self, job: Request, outcome: Outcome) -> None:
        self.script.note(self._runner.resolve(job, outcome))
        self._end_if_closed()

    def _end_if_closed(self) -> None:
        if self._runner.closed and not self.over.done():
            self.over.set_result(None)


def _silent(line: str) -> None:
    """Tell nothing."""


def _main() -> None:
    task = msgspec.json.decode(sys.stdin.readline(), type=HoldTask)

    def ready() -> float:
        gc.collect()
        gc.disable()
        print("ready", flush=True)
        return float(sys.stdin.readline())

    logs = hold(task, ready)
    sys.stdout.buffer.write(msgspec.json.encode(logs))
    sys.stdout.flush()


if __name__ == "__main__":
    _main()
