from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamser.audio.clip import Clip
from streamser.pipeline.requests import EmotionRequest


@given(st.integers(0, 10**9), st.integers(0, 20_000), st.integers(256, 30_000))
def test_what_is_heard_is_at_most_the_window_and_begins_on_the_grid(
    start: int, length: int, window: int
) -> None:
    """Steps of 256 samples from the clip's first: less than a step of the window is left out."""
    sound = np.arange(length, dtype=np.float32)
    request = EmotionRequest(1, Clip("a", 1, start, sound, final=False), window, droppable=True)
    assert (request.heard_from - start) % 256 == 0
    assert min(length, window) - 256 < len(request.heard) <= window
    np.testing.assert_array_equal(request.heard, sound[request.heard_from - start :])
    if window >= length:
        assert request.heard_from == start
