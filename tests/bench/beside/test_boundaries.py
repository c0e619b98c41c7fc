"""How detections are held against the truth."""

from __future__ import annotations

import pytest

from streamser.bench.beside.boundaries import Stretch, fit

TRUTHS = [Stretch(1.0, 2.0), Stretch(3.0, 4.0), Stretch(5.0, 6.0)]


def test_edges_are_compared_where_a_detection_is_one_for_one() -> None:
    """Early and late count alike, onsets and offsets apart."""
    found = [Stretch(0.9, 2.1), Stretch(3.1, 4.3), Stretch(5.1, 6.1)]
    result = fit(found, TRUTHS)
    assert result.faults == 0
    assert result.onset_p50 == pytest.approx(100.0)
    assert result.offset_p50 == pytest.approx(100.0)
    assert result.offset_p95 == pytest.approx(280.0)


def test_what_is_not_one_for_one_is_a_fault_and_gives_no_edges() -> None:
    """A truth missed, one invented, two joined, one split: each is counted once."""
    missed = fit([TRUTHS[0], TRUTHS[1]], TRUTHS)
    assert (missed.missed, missed.faults) == (1, 1)
    invented = fit([*TRUTHS, Stretch(7.0, 7.1)], TRUTHS)
    assert (invented.extra, invented.faults) == (1, 1)
    joined = fit([Stretch(1.0, 4.0), TRUTHS[2]], TRUTHS)
    assert (joined.joined, joined.faults) == (1, 1)
    assert joined.onset_p95 == 0.0
    split = fit([Stretch(1.0, 1.4), Stretch(1.6, 2.0), *TRUTHS[1:]], TRUTHS)
    assert (split.split, split.faults) == (1, 1)


def test_without_truths_nothing_is_known_of_edges() -> None:
    """And every detection is one too many."""
    result = fit(TRUTHS, [])
    assert (result.truths, result.extra, result.onset_p50) == (0, 3, None)
