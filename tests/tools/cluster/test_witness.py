"""What is wrong with what somebody was told."""

from __future__ import annotations

from tools.cluster.witness import Span, faults_of, middles

TOLD = [Span(0, 1000), Span(1500, 2500), Span(3000, 4000)]


def test_everything_once_and_in_order_is_right() -> None:
    """However utterances are cut."""
    assert faults_of(TOLD, middles(TOLD), "Ann") == []
    assert faults_of([Span(0, 2500), Span(3000, 4000)], middles(TOLD), "Ann") == []


def test_what_is_lost_doubled_or_out_of_order_is_wrong() -> None:
    """Each is said, with its place."""
    (lost,) = faults_of(TOLD[:2], middles(TOLD), "Ann")
    assert lost == "Ann: the utterance at 3.5 s was told 0 times"
    (doubled,) = faults_of([*TOLD, TOLD[2]], middles(TOLD), "Ann")
    assert "3.5 s was told 2 times" in doubled
    assert faults_of(TOLD[::-1], middles(TOLD), "Ann") == ["Ann: out of order"]
