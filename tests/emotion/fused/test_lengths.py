from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamser.emotion.fused.interfaces import AudioBatch, FusedInput
from streamser.emotion.fused.running import (
    CUDA,
    ONE_BY_ONE,
    PROCESSOR,
    Shapes,
    groups,
    power_of_two,
    rounded,
    widened,
)

LENGTHS = st.lists(st.floats(0, 20), max_size=12)


def cost(parts: list[list[int]], lengths: list[float], forward_s: float) -> float:
    """Count what passes cost: themselves, and every clip as long as the longest with it."""
    return sum(forward_s + len(part) * max(lengths[i] for i in part) for part in parts)


@given(LENGTHS, st.floats(0, 20))
def test_every_clip_is_in_one_pass_and_padding_pays(lengths: list[float], forward_s: float) -> None:
    """No clip is lost, and neither one batch nor one clip at a time would be cheaper."""
    parts = groups(lengths, Shapes(forward_s=forward_s))
    assert sorted(place for part in parts for place in part) == list(range(len(lengths)))
    found = cost(parts, lengths, forward_s)
    alone = [[place] for place in range(len(lengths))]
    assert found <= cost(alone, lengths, forward_s) + 1e-6
    if lengths:
        assert found <= cost([list(range(len(lengths)))], lengths, forward_s) + 1e-6


def test_long_clips_do_not_pad_short_ones() -> None:
    """Clips of like lengths go together, the shortest first."""
    assert groups([9.0, 0.5, 10.0, 0.6, 0.5], PROCESSOR) == [[1, 4, 3], [0, 2]]
    assert groups([], PROCESSOR) == []


def test_where_a_pass_is_dear_all_go_together() -> None:
    """On CUDA padding costs next to nothing; in int8 nobody goes with anybody."""
    lengths = [9.0, 0.5, 10.0, 0.6]
    assert groups(lengths, CUDA) == [[1, 3, 0, 2]]
    assert groups(lengths, ONE_BY_ONE) == [[1], [3], [0], [2]]


def test_lengths_are_rounded_to_few() -> None:
    """From half a second to 16 s there are ten of them, each at most half as long again."""
    numbers = range(8_000, 256_000, 7)
    steps = {rounded(number) for number in numbers}
    assert len(steps) == 11
    assert all(number <= rounded(number) <= 1.5 * number for number in numbers)
    assert [rounded(n) for n in (1, 2, 3, 4, 5, 7, 9)] == [1, 2, 3, 4, 6, 8, 12]
    assert [power_of_two(n) for n in (1, 2, 3, 5, 8)] == [1, 2, 4, 8, 8]


@pytest.mark.parametrize("shape", [(2, 5), (2, 5, 3)])
def test_a_batch_is_widened_with_silence(shape: tuple[int, ...]) -> None:
    """Waveforms and frames alike, along the axis of time; the lengths stay."""
    values = torch.ones(shape)
    there = torch.ones(2, dtype=torch.bool)
    batch = FusedInput(AudioBatch(values, torch.tensor([5, 4])), None, there, ~there)
    wide = widened(batch).audio
    assert wide is not None
    assert wide.values.shape == (2, 6, *shape[2:])
    np.testing.assert_array_equal(wide.values[:, :5], values)
    assert not wide.values[:, 5:].any()
    assert wide.lengths.tolist() == [5, 4]
    nothing = FusedInput(None, None, ~there, ~there)
    assert widened(nothing) is nothing
