"""Measure what one listener that does not read costs the 49 others.

``python -m tests.server.measure_listeners [--seconds 60]`` serves a meeting in which the bundled
conversation is spoken at real time, with 49 listeners in a process of their own, and for half of
the time a 50th that never reads. It prints the delay from the server's publishing an event to a
listener's having received it, with and without the 50th, as Markdown. Both processes tell the
time by the one monotonic clock of the machine. Short stretches with and without take turns, so
that what else the machine does weighs on both alike.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import ClassVar, Final, TypeAlias
from unittest.mock import patch
from weakref import WeakSet

import msgspec
import numpy as np
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from streamser.events import Event, Overload
from streamser.server.app import EmotionServer
from streamser.server.meetings.hub import Hub
from streamser.server.outgoing import Backlog
from tests.server.serving import Narrow, address, demo, dial, encode, serving

READERS: Final = 49
STRETCH_S: Final = 7.5
CHUNK_MS: Final = 20
ROOM: Final = "meeting=assembly"
FLAGS: Final = {"partial.every_ms": 250, "server.speed": 8.0}

Receipts: TypeAlias = dict[int, list[float]]
"""When each event, by its cursor, was received by each listener."""


class Cursor(msgspec.Struct):
    """See which event it is, and nothing else."""

    cursor: int


def listen(url: str, count: int, pipe: Connection) -> None:
    """Be so many listeners until they are closed; give the receipts to whoever has started us."""

    async def one(receipts: Receipts, ready: asyncio.Semaphore) -> None:
        decode = msgspec.json.Decoder(Cursor).decode
        async with connect(url, proxy=None, max_queue=None, compression=None) as connection:
            await connection.recv()
            ready.release()
            try:
                while True:
                    text = await connection.recv(decode=False)
                    receipts.setdefault(decode(text).cursor, []).append(time.monotonic())
            except ConnectionClosed:
                return

    async def all_of_them() -> Receipts:
        receipts: Receipts = {}
        ready = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(one(receipts, ready)) for _ in range(count)]
        for _ in range(count):
            await ready.acquire()
        pipe.send("ready")
        await asyncio.gather(*tasks)
        return receipts

    pipe.send(asyncio.run(all_of_them()))


class Seen(Backlog):
    """Be found by whoever wants to know what waits."""

    every: ClassVar[WeakSet[Seen]] = WeakSet()

    def __init__(self, most: int, word: Callable[[Overload, bytes], tuple[bytes, ...]]) -> None:
        super().__init__(most, word)
        self.every.add(self)


@contextmanager
def watched() -> Iterator[dict[int, float]]:
    """Note when the hub is given each event, by its cursor, and see every backlog."""
    published: dict[int, float] = {}
    publish = Hub.publish

    def noting(hub: Hub, event: Event, now: float) -> None:
        before = hub._cursor
        began = time.monotonic()
        publish(hub, event, now)
        published.update(dict.fromkeys(range(before + 1, hub._cursor + 1), began))

    with patch.object(Hub, "publish", noting), patch("streamser.server.outgoing.Backlog", Seen):
        yield published


async def speak(server: EmotionServer, seconds: float, begin: float) -> None:
    """Say a stretch of the conversation at real time."""
    data = encode(demo(seconds, begin))
    size = 32 * CHUNK_MS
    async with dial(server, query=f"{ROOM}&rate=16000&speaker=Anna") as wire:
        began = time.monotonic()
        for n, offset in enumerate(range(0, len(data), size)):
            await asyncio.sleep(began + n * CHUNK_MS / 1000 - time.monotonic())
            await wire.sound(data[offset : offset + size])
        await wire.finish()


async def clog(server: EmotionServer) -> None:
    """Let events come until a listener that does not read has some waiting in the server.

    They are of the meeting, but nobody measures them.
    """
    async with dial(server, query=ROOM) as wire:
        for _ in range(150):
            await wire.update()
        await wire.finish()


async def measure(seconds: float) -> dict[bool, list[float]]:
    """Return the delays in ms, by whether there was a listener that does not read."""
    spans: list[tuple[float, float, bool]] = []
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with watched() as published:
        async with serving(FLAGS) as server:
            url = address(server, "/v1/events", ROOM)
            process = context.Process(target=listen, args=(url, READERS, theirs), daemon=True)
            process.start()
            await asyncio.to_thread(ours.recv)
            # The first stretch warms everything up and is not counted.
            stretches = 1 + 2 * math.ceil(seconds / 2 / STRETCH_S)
            for n in range(stretches):
                stuck = n % 2 == 0
                async with AsyncExitStack() as stack:
                    if stuck:
                        await stack.enter_async_context(
                            Narrow.dial(server, "/v1/events", query=ROOM)
                        )
                    await clog(server)
                    gc.collect()
                    began = time.monotonic()
                    # Neighbours in time speak the same stretch, one of them with the 50th.
                    await speak(server, STRETCH_S, (n + 1) // 2 * STRETCH_S % 80)
                    assert any(map(len, Seen.every)) == stuck, "nothing waited, or something did"
                    if n:
                        spans.append((began, time.monotonic(), stuck))
        receipts: Receipts = await asyncio.to_thread(ours.recv)
        await asyncio.to_thread(process.join)
    delays: dict[bool, list[float]] = {False: [], True: []}
    for cursor, times in receipts.items():
        for began, ended, stuck in spans:
            if began <= published[cursor] < ended:
                assert len(times) == READERS, "an event was not received by everybody"
                delays[stuck] += [1000 * (at - published[cursor]) for at in times]
    return delays


def report(delays: dict[bool, list[float]]) -> str:
    """Write the result as Markdown."""
    lines = [
        f"| {READERS} listeners | events received | p50 (ms) | p95 (ms) | max (ms) |",
        "|---|---|---|---|---|",
    ]
    centiles = {}
    for stuck, name in ((False, "alone"), (True, "and one that does not read")):
        values = np.array(delays[stuck])
        p50, p95 = centiles[stuck] = np.percentile(values, [50, 95])
        lines.append(f"| {name} | {len(values)} | {p50:.2f} | {p95:.2f} | {values.max():.2f} |")
    with_it, without = centiles[True], centiles[False]
    ratios = with_it / without
    lines.append(f"| ratio | | {ratios[0]:.3f} | **{ratios[1]:.3f}** (goal: at most 1.1) | |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of speech, both together")
    print(report(asyncio.run(measure(parser.parse_args().seconds))))


if __name__ == "__main__":
    main()
