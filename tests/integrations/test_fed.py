from __future__ import annotations

import threading
from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest

from streamser.audio.source import Gap
from streamser.errors import AudioError
from streamser.integrations.fed import FedSource

RATE = 8_000


def second(value: float) -> npt.NDArray[np.float32]:
    """Make a second of sound that can be told from others."""
    return np.full((RATE, 1), value, np.float32)


def test_what_is_fed_is_heard_in_its_order_up_to_the_end() -> None:
    """Whoever reads waits for it; after the end nothing is taken."""
    source = FedSource(RATE)
    heard: list[object] = []
    reading = threading.Thread(target=lambda: heard.extend(source.chunks()))
    reading.start()
    for value in (0.1, 0.2):
        source.feed(second(value))
    source.finish()
    source.feed(second(0.3))
    reading.join(timeout=10)
    values = [float(piece[0, 0]) for piece in heard if isinstance(piece, np.ndarray)]
    assert values == pytest.approx([0.1, 0.2])


def test_who_feeds_never_waits_and_the_oldest_is_lost_in_its_place() -> None:
    """Where nobody reads; what was lost is counted in frames."""
    source = FedSource(RATE, keep_s=2.0)
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        source.feed(second(value))
    source.finish()
    gap, *pieces = source.chunks()
    assert gap == Gap(3 * RATE, "dropped")
    values = [float(piece[0, 0]) for piece in pieces if isinstance(piece, np.ndarray)]
    assert values == pytest.approx([0.4, 0.5])


def test_a_stop_lets_go_of_what_waits() -> None:
    """From any thread, twice."""
    source = FedSource(RATE)
    source.feed(second(0.1))
    source.feed(second(0.2))
    chunks = source.chunks()
    assert len(list(islice(chunks, 1))) == 1
    source.stop()
    source.stop()
    assert list(chunks) == []


def test_a_rate_that_cannot_be_used_is_refused() -> None:
    """When the source is made."""
    with pytest.raises(AudioError, match="rate"):
        FedSource(0)
