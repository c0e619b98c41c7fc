"""Codes as people read them."""

from __future__ import annotations

import pytest

from streamser.text import why_distrusted


@pytest.mark.parametrize(
    "code", ["too_quiet", "no_speech", "low_logprob", "repetitive", "too_fast", "own_code"]
)
def test_why_words_are_distrusted_is_told_in_plain_words(code: str) -> None:
    """No code of the program, known or not."""
    words = why_distrusted(code)
    assert words
    assert "_" not in words
    assert "logprob" not in words
