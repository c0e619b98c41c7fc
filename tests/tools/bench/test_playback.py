from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from streamser.audio.source import Gap
from tools.bench.conversation import BLOCK_MS, Playback, load_demo


@pytest.mark.parametrize("paced", [True, False])
def test_a_playback_yields_the_conversation_in_order(paced: bool) -> None:
    """What is played is what the conversation holds, in blocks of 20 ms of one channel."""
    demo = load_demo()
    playback = Playback(demo, 0.35, paced=paced)
    assert (playback.live, playback.rate, playback.duration) == (paced, 16_000, 0.35)
    chunks = [chunk for chunk in playback.chunks() if not isinstance(chunk, Gap)]
    assert [chunk.shape for chunk in chunks] == [(320, 1)] * 17 + [(160, 1)]
    assert np.array_equal(np.concatenate(chunks)[:, 0], demo.turns[0].samples[:5600])


def test_a_paced_block_never_comes_before_it_is_due() -> None:
    """A block is handed over when its last sample would have been heard, or later."""
    playback = Playback(load_demo(), 0.2, paced=True)
    for number, _ in enumerate(playback.chunks(), start=1):
        due = playback.due(number * BLOCK_MS / 1000)
        assert time.monotonic() >= due
        # All of a block is due at once, and the next one a block later.
        assert playback.due((number - 1) * BLOCK_MS / 1000 + 0.001) == due
        assert playback.due((number * BLOCK_MS + 1) / 1000) == pytest.approx(due + BLOCK_MS / 1000)


def test_nothing_is_due_before_the_first_block() -> None:
    """Asking for due times before playing is an error, not a wrong number."""
    with pytest.raises(ValueError, match="nothing has been played"):
        Playback(load_demo(), 1, paced=True).due(0.5)


def test_stopping_ends_a_paced_playback_while_it_waits() -> None:
    """A minute of sound ends long before its time once somebody says stop."""
    playback = Playback(load_demo(), 60, paced=True)
    begun = threading.Event()
    blocks = 0

    def play() -> None:
        nonlocal blocks
        for _ in playback.chunks():
            blocks += 1
            begun.set()

    player = threading.Thread(target=play)
    player.start()
    assert begun.wait(60)
    playback.stop()
    playback.stop()
    player.join(60)
    assert not player.is_alive()
    assert 0 < blocks < 60 * 1000 // BLOCK_MS
