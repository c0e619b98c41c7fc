"""A clock that is set while the server runs: no event, lag or deadline depends on it."""

from __future__ import annotations

import asyncio
import time
from itertools import count

import pytest

from tests.faults.doubles import Workshop
from tests.faults.staging import figure, running
from tests.server.serving import (
    EMOTION,
    Told,
    check_stream,
    demo,
    dial,
    encode,
    finals_of,
    of_kind,
    patience,
)

DAY_S = 86_400


async def listen_in(jumps: bool, monkeypatch: pytest.MonkeyPatch) -> list[Told]:
    """Send the demonstration while the clock stands, or jumps at every look, to and fro."""
    async with running(Workshop()) as server, dial(server) as wire:
        if jumps:
            real, looks = time.time, count()
            monkeypatch.setattr(time, "time", lambda: real() + DAY_S * (-1) ** next(looks))
            assert abs(time.time() - time.time()) > DAY_S
        for begin in range(0, 16, 4):
            await wire.sound(encode(demo(4.0, begin)))
        events = await wire.finish()
        assert figure(server, "streamser_queue_oldest_seconds") == 0
        monkeypatch.undo()
        return events


def test_events_and_their_lags_know_no_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that jumps by two days at every look all is told as without."""
    still = asyncio.run(patience(listen_in(False, monkeypatch)))
    jumping = asyncio.run(patience(listen_in(True, monkeypatch)))
    check_stream(jumping)
    assert len(of_kind(jumping, EMOTION)) == 5
    assert finals_of(jumping) == finals_of(still)
    lags = [event["lag_ms"] for event in jumping if event.get("lag_ms") is not None]
    assert lags
    # Nothing here takes a day: a lag that did would be one of the jumps.
    assert all(0 <= lag < DAY_S * 1000 / 2 for lag in lags)
