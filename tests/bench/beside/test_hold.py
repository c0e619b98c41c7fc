"""Streams that are held without a server."""

from __future__ import annotations

import time
from typing import Literal

import pytest

from streamser.bench.beside.hold import HoldTask, hold
from streamser.bench.load_figures import Hangover, figures_of

HANGOVER = Hangover(silence_ms=500, heard_ms=512, tail_ms=160)


@pytest.mark.parametrize("design", ["ours", "lock"])
def test_both_designs_read_the_same_utterances(design: Literal["ours", "lock"]) -> None:
    """Every stream is told the emotion of each, none is lost, and blocks count when due."""
    began = 0.0

    def ready() -> float:
        nonlocal began
        began = time.monotonic()
        return began

    task = HoldTask(
        design=design,
        model="compact",
        recordings=None,
        seed=1,
        streams=3,
        first=1,
        last=3,
        seconds=7.0,
    )
    logs = hold(task, ready)
    figures = figures_of(logs, HANGOVER, began, began + 7.0)
    assert len(logs) == 2
    assert [len(log.sent) for log in logs] == [70, 70]
    assert all(sent > began for log in logs for sent in log.sent)
    assert figures.losses == ()
    assert figures.utterances >= 2
    assert figures.emotion_beyond is not None
    assert figures.emotion_beyond.n == figures.utterances
