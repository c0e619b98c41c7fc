"""Bars and gauges of text."""

from __future__ import annotations

import pytest

from streamser.cli.live.live_view import category_text, gauge, level_meter, number, probability_bar


@pytest.mark.parametrize(
    ("probability", "bar"), [(0.0, "────"), (0.5, "██──"), (0.625, "██▌─"), (1.0, "████")]
)
def test_a_probability_fills_its_share_of_the_bar(probability: float, bar: str) -> None:
    """Eighths of a cell are drawn, and the width never changes."""
    assert probability_bar(probability, 4, "red").plain == bar


@pytest.mark.parametrize(
    ("value", "drawn"),
    [
        (-1.0, "V ███│···"),
        (-0.5, "V ·▐█│···"),
        (0.0, "V ···│···"),
        (0.5, "V ···│█▌·"),
        (1.0, "V ···│███"),
        (7.0, "V ···│███"),
        (None, "V    –   "),
    ],
)
def test_a_gauge_grows_from_the_middle(value: float | None, drawn: str) -> None:
    """Negative values go left, positive right; what was not measured is a dash, not a zero."""
    assert gauge("V", value).plain == drawn


@pytest.mark.parametrize(
    ("value", "drawn"),
    [
        (-0.94, "V -0.9"),
        (0.55, "V +0.6"),
        (-0.04, "V +0.0"),
        (7.0, "V +1.0"),
        (None, "V  –  "),
    ],
)
def test_a_number_takes_the_place_of_a_gauge(value: float | None, drawn: str) -> None:
    """It has a sign and one digit, and is a dash of the same width where nothing was measured."""
    assert number("V", value).plain == drawn


@pytest.mark.parametrize(
    ("rms_db", "peak_db", "drawn"),
    [
        (-60.0, -60.0, "··········"),
        (-30.0, -12.0, "■■■■■··│··"),
        (-30.0, -30.0, "■■■■■·····"),
        (0.0, 0.0, "■■■■■■■■■■"),
        (float("-inf"), float("-inf"), "··········"),
    ],
)
def test_the_level_meter_shows_level_and_peak(rms_db: float, peak_db: float, drawn: str) -> None:
    """Sixty decibels are spread over the width; the peak has a mark of its own."""
    assert level_meter(rms_db, peak_db, 10).plain == drawn


def test_the_top_of_the_level_meter_is_red() -> None:
    """What is about to clip is seen at a glance."""
    meter = level_meter(0.0, 0.0, 10)
    assert [str(span.style) for span in meter.spans] == ["green", "yellow", "red"]


def test_a_category_of_another_model_is_drawn_as_well() -> None:
    """Colours are known for our own categories; others get one too."""
    assert category_text("surprised").plain == "surprised"
