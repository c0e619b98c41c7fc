"""What has ended is let go at once, without anybody looking for circles among objects."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.server.serving import demo, encode, patience, serving, whole

HEAVY = (
    "LiveStream",
    "LocalSession",
    "HostedSession",
    "Session",
    "SessionRunner",
    "Ring",
    "SileroVad",
    "TrackedUtterance",
    "ManagedSession",
)
"""What holds sound, or holds what does."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the garbage collector off; what was there before does not count."""
    gc.collect()
    gc.freeze()
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def alive() -> Counter[str]:
    """Count objects by the names of their types."""
    names = Counter(type(each).__name__ for each in gc.get_objects())
    return Counter({name: names[name] for name in HEAVY if names[name]})


@pytest.mark.usefixtures("no_collector")
def test_streams_that_have_ended_leave_nothing_that_holds_sound() -> None:
    """The last of them may still be saying goodbye; those before it are gone."""
    sound = encode(demo())

    async def scene() -> tuple[Counter[str], Counter[str]]:
        async with serving() as server:
            await whole(server, sound)
            await whole(server, sound)
            after_two = alive()
            for _ in range(3):
                await whole(server, sound)
            return after_two, alive()

    for left in asyncio.run(patience(scene())):
        assert all(count <= 1 for count in left.values()), left
