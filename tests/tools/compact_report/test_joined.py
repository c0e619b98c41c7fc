from __future__ import annotations

import numpy as np

from streamser.audio.clip import SAMPLE_RATE
from streamser.audio.source import Gap
from streamser.events import Window
from tools.compact_report.joined import JoinedSource, join, match
from tools.compact_report.recognised import word_errors


def window(start: int, end: int) -> Window:
    """Return a span in ms."""
    return Window(start_ms=start, end_ms=end)


def test_clips_are_joined_with_pauses() -> None:
    """One before, one between, one after; the source gives all of it."""
    clip = np.ones(SAMPLE_RATE // 2, np.float32)
    joined = join([clip, clip])
    assert joined.spans == (window(1000, 1500), window(2500, 3000))
    given = np.concatenate(
        [each for each in JoinedSource(joined.samples).chunks() if not isinstance(each, Gap)]
    )
    assert given[:, 0].tolist() == joined.samples.tolist()


def test_utterances_are_matched_by_overlap() -> None:
    """One for one; a clip in two parts; two clips in one; none."""
    spans = [window(1000, 3000), window(4000, 6000), window(7000, 9000), window(20_000, 21_000)]
    found = match(spans, [window(900, 1500), window(1800, 3100), window(3900, 9000)])
    assert found.utterances == (1, 2, 2, None)
    assert found.split == (True, False, False, False)
    assert found.merged == (False, True, True, False)
    assert match(spans, []).utterances == (None,) * 4


def test_word_errors_are_counted() -> None:
    """Case and punctuation are no errors."""
    assert word_errors("Ten of clubs.", "ten clubs") == (1, 3)
    assert word_errors("go", "") == (1, 1)
    assert word_errors("a b c", "a x c d") == (2, 3)
