"""Models that are ten times too slow for a minute: readings are left out, finals only wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from streamser.audio.clip import Clip
from tests.faults.doubles import GIVE_UP_S, HandTime, Workshop
from tests.faults.staging import codes_of, comes, figure, running
from tests.server.serving import (
    EMOTION,
    Told,
    Wire,
    check_stream,
    demo,
    dial,
    encode,
    of_kind,
    patience,
)

STREAMS = 6
MINUTE_S = 60
FLAGS = {
    "worker.max_batch": 1,
    "worker.max_partials": 3,
    "worker.deadline_s": 0,
    # Of each stream two readings of words and two of the voice a second, and a final every four.
    "partial.every_ms": 500,
    # Time stands still between two jobs here: nobody could rest.
    "worker.partial_share": 1.0,
    # How late finals are goes by a clock that the test does not move.
    "server.late_s": 0.0,
}
SLOW_S, USUAL_S = 1.0, 0.1
"""How long a job takes while the models are slow, and else."""
_TURNS = 100
DROPS = 'streamser_drops_total{kind="partials"}'
OLDEST = "streamser_queue_oldest_seconds"


class Pace:
    """Hold up each batch until the test has let the time pass that it takes."""

    def __init__(self, time: HandTime) -> None:
        self._begun = threading.Semaphore(0)
        self._done = threading.Semaphore(0)
        self._time = time

    def __call__(self, clips: Sequence[Clip]) -> None:
        self._begun.release()
        assert self._done.acquire(timeout=GIVE_UP_S)

    async def do_one(self, seconds: float) -> None:
        """Wait for a job and let it take its time."""
        await comes(self._begun)
        self._time.move(seconds)
        self._done.release()

    def stop_waiting(self) -> None:
        """Let one who waits for a job go on: there is none."""
        self._begun.release()


async def speak(wire: Wire, turns: asyncio.Queue[int | None]) -> list[Told]:
    """Send a second of sound at each turn; where the server does not read, wait until it does."""
    hearing = asyncio.create_task(wire.rest())
    while (turn := await turns.get()) is not None:
        await wire.sound(encode(demo(1.0, turn % 15)), size=32_000)
    await wire.send("streamser.finish")
    return await hearing


def readings(events: list[Told]) -> int:
    """Count the readings that were due: told, or said at the end to have been dropped."""
    dropped: int = events[-1]["partials_dropped"]
    kinds = ("streamser.emotion.delta", "streamser.transcript.partial")
    return dropped + sum(len(of_kind(events, kind)) for kind in kinds)


async def undisturbed() -> int:
    """Return how many readings are due where nothing is too slow."""
    async with running(Workshop(), FLAGS) as server, dial(server, query="rate=16000") as wire:
        turns: asyncio.Queue[int | None] = asyncio.Queue()
        for turn in (*range(MINUTE_S), None):
            turns.put_nowait(turn)
        return readings(await speak(wire, turns))


def test_an_overload_costs_readings_and_time_but_no_final() -> None:
    """The queue grows old, and ten seconds after all is told and it is as young as ever."""

    async def scene() -> None:
        due = await undisturbed()
        time = HandTime()
        pace = Pace(time)
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(running(Workshop(pace), FLAGS, time=time))
            wires = [
                await stack.enter_async_context(dial(server, query="rate=16000"))
                for _ in range(STREAMS)
            ]
            turns: list[asyncio.Queue[int | None]] = [asyncio.Queue() for _ in wires]
            speaking = asyncio.gather(*(speak(*pair) for pair in zip(wires, turns, strict=True)))
            oldest = 0.0
            for second in range(MINUTE_S):
                for turn in turns:
                    turn.put_nowait(second)
                for _ in range(_TURNS):
                    # It takes in a few KiB of each connection in a turn of the loop.
                    await asyncio.sleep(0)
                if second < 2:
                    # Nobody has said enough yet for a reading.
                    continue
                await pace.do_one(SLOW_S)
                oldest = max(oldest, figure(server, OLDEST))
            assert oldest > 10

            for turn in turns:
                turn.put_nowait(None)
            jobs = 0
            while not speaking.done():
                job = asyncio.create_task(pace.do_one(USUAL_S))
                waiting: set[asyncio.Future[Any]] = {job, speaking}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if job.done():
                    jobs += 1
                else:
                    pace.stop_waiting()
                    await job
            assert jobs * USUAL_S <= 10
            assert figure(server, OLDEST) == 0
            assert figure(server, 'streamser_queue_jobs{kind="final"}') == 0
            streams = await speaking
            for events in streams:
                check_stream(events)
                assert codes_of(events) == []
                assert len(of_kind(events, EMOTION)) >= 15
            told = [event for events in streams for event in of_kind(events, "streamser.overload")]
            assert told
            assert figure(server, DROPS) == sum(event["dropped"] for event in told)
            dropped = sum(events[-1]["partials_dropped"] for events in streams)
            # Those that a newer one of the same stream has replaced are nobody's trouble.
            assert dropped > figure(server, DROPS)
            assert {readings(events) for events in streams} == {due}

    asyncio.run(patience(scene()))
