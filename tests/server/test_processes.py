"""A server keeps its models out of the process that talks to clients."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from typing import Any

import pytest

from tests.server.serving import (
    Told,
    check_stream,
    demo,
    dial,
    encode,
    finals_of,
    patience,
    serving,
    whole,
)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signals")

ITS_OWN_CHOICE = {"worker.processes": 1}


def processes() -> list[int]:
    """List the processes that have been started and are still there."""
    return [child.pid for child in multiprocessing.active_children() if child.pid is not None]


def test_a_server_has_its_models_in_one_process_that_ends_with_it() -> None:
    """Unless settings say otherwise; what comes out is the same."""
    sound = encode(demo())

    async def scene(flags: dict[str, Any]) -> tuple[list[Told], int]:
        async with serving(flags) as server:
            beside = len(processes())
            return finals_of(await whole(server, sound)), beside

    here, none = asyncio.run(patience(scene({})))
    there, one = asyncio.run(patience(scene(ITS_OWN_CHOICE)))
    assert (none, one) == (0, 1)
    assert there == here
    assert len(there) == 4
    assert processes() == []


def test_there_are_as_many_processes_as_are_asked_for() -> None:
    """Each with models of its own."""

    async def scene(flags: dict[str, Any]) -> int:
        async with serving({"emotion.model": "rules", **flags}):
            return len(processes())

    assert asyncio.run(patience(scene({"worker.processes": 2}))) == 2


def test_no_final_is_missing_where_the_process_is_killed_mid_stream() -> None:
    """The kernel does that where memory runs out; another process takes over."""
    sound = encode(demo())
    half = len(sound) // 2 // 2 * 2

    async def scene(*, kill: bool) -> list[Told]:
        async with serving(ITS_OWN_CHOICE) as server, dial(server) as wire:
            await wire.sound(sound[:half])
            if kill:
                for pid in processes():
                    os.kill(pid, signal.SIGKILL)
            await wire.sound(sound[half:])
            events = await wire.finish()
            check_stream(events)
            return finals_of(events)

    calm = asyncio.run(patience(scene(kill=False)))
    assert len(calm) == 4
    assert asyncio.run(patience(scene(kill=True))) == calm
