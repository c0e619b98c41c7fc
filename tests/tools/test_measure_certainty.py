"""Recognised words by how sure the recogniser was, put into a table."""

from __future__ import annotations

from collections.abc import Mapping

from tools.measure_certainty import Answer, bins

EVEN = {"neutral": 0.5, "happy": 0.5}


def answer(said: str, heard: str, confidence: float | None) -> Answer:
    """Return what was heard of a sentence."""
    return Answer("whisper", "clean", "a.flac", said, heard, confidence)


def read(text: str) -> Mapping[str, float]:
    """Read joy from one word alone."""
    return {"neutral": 0.2, "happy": 0.8} if "joy" in text else {"neutral": 0.9, "happy": 0.1}


def test_a_bin_tells_what_share_of_its_words_is_right_and_what_is_read_from_them() -> None:
    """Of two sentences heard at the same certainty, one loses a word of four, and its joy."""
    found = [
        answer("What joy is THIS!", "what toy is this", 0.62),
        answer("five of clubs", "Five of clubs.", 0.68),
    ]
    overlap = (0.2 + 0.1 + 1.0) / 2
    assert bins(found, read, (0.6, 0.7)) == [
        f"| 0.6 to 0.7 | 2 | 7 | 0.65 | 0.86 | 0.50 | {overlap:.2f} | 0.75 |"
    ]


def test_empty_bins_and_withheld_words_are_left_out() -> None:
    """More words than were said count as errors, never as less than nothing right."""
    found = [answer("go", "go away now", 0.45), answer("stop", "", None)]
    assert [line.split(" | ")[4] for line in bins(found, lambda text: EVEN)] == ["0.00"]
