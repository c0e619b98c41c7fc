"""Scores of who was said to speak: by time, by count, and by whose an emotion was taken for."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE
from tools.speakers.meetings import Cell, Meeting, Said
from tools.speakers.scoring import Told, judge, total

pytest.importorskip("pyannote.metrics", reason="the extra dev brings pyannote.metrics")

SECOND = SAMPLE_RATE


def meeting() -> Meeting:
    """Return ten seconds of Ann, and after a second ten of Bob."""
    said = (
        Said(SECOND, 11 * SECOND, "ann", "angry"),
        Said(12 * SECOND, 22 * SECOND, "bob", "neutral"),
    )
    cell = Cell("emodb", 2, emotions=True, noisy=False)
    return Meeting("", cell, np.zeros(23 * SECOND, np.float32), said)


def test_the_truth_has_no_errors() -> None:
    """Whatever the labels are called."""
    found = judge(meeting(), [Told(SECOND, 11 * SECOND, "x"), Told(12 * SECOND, 22 * SECOND, "y")])
    assert [times.der for times in found.times] == [0, 0]
    assert (found.attribution_error, found.counted, found.labels) == (0, 1, 2)


def test_what_is_taken_for_anothers_is_confused_and_credited_wrongly() -> None:
    """A fifth of Bob's words for Ann's: a tenth of all."""
    told = [
        Told(SECOND, 11 * SECOND, "x"),
        Told(12 * SECOND, 20 * SECOND, "y"),
        Told(20 * SECOND, 22 * SECOND, "x"),
    ]
    found = judge(meeting(), told)
    assert found.times[0].confused == pytest.approx(2)
    assert found.times[0].der == pytest.approx(0.1)
    assert found.attribution_error == pytest.approx(0.1)


def test_what_has_no_label_is_nobodys() -> None:
    """The speech is missed, its emotion wrongly credited, and there is no speaker more."""
    told = [Told(SECOND, 11 * SECOND, "x"), Told(12 * SECOND, 22 * SECOND, None)]
    found = judge(meeting(), told)
    assert (found.labels, found.counted) == (1, 0)
    assert found.times[0].missed == pytest.approx(10)
    assert found.attribution_error == pytest.approx(0.5)


def test_a_collar_forgives_boundaries_on_either_side() -> None:
    """A quarter of a second each way, as NIST does."""
    told = [
        Told(SECOND * 3 // 4, 11 * SECOND + SECOND // 4, "x"),
        Told(12 * SECOND, 22 * SECOND, "y"),
    ]
    exact, forgiving = judge(meeting(), told).times
    assert exact.invented == pytest.approx(0.5)
    assert forgiving.der == pytest.approx(0)


def test_the_rates_of_several_are_over_all_their_time() -> None:
    """Not the mean of their rates."""
    good = judge(meeting(), [Told(SECOND, 11 * SECOND, "x"), Told(12 * SECOND, 22 * SECOND, "y")])
    none = judge(meeting(), [])
    both = total([good, none])
    assert both.times[0].der == pytest.approx(0.5)
    assert (both.meetings, both.counted) == (2, 1)
