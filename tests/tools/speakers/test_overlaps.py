"""Utterances in which two speak at once are nobody's, in measurements as in sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamser.pipeline.requests import UNCERTAIN
from tests.speech.voices import Talk
from tools.speakers.meetings import Cell, Meeting
from tools.speakers.overlaps import Overlaps, alone


def test_voices_that_are_mixed_are_left_out() -> None:
    """From a fifth of the time on."""
    talk = Talk()
    heard = [talk.says(0), talk.says(1)]
    kept, left = alone(heard, [UNCERTAIN - 0.01, UNCERTAIN])
    assert kept is heard[0]
    assert (left.windows, left.start) == ((), heard[1].start)


def test_what_was_heard_is_kept(tmp_path: Path) -> None:
    """In silence nobody speaks; another sound under the same name is not heard again."""
    heard = [Talk().says(0)]
    cell = Cell("emodb", 2, emotions=False, noisy=False)
    silence = np.zeros(heard[0].end, np.float32)
    overlaps = Overlaps(tmp_path)
    assert overlaps.of("a", Meeting("a", cell, silence, ()), heard) == [0.0]
    nothing = np.full_like(silence, np.nan)
    assert Overlaps(tmp_path).of("a", Meeting("a", cell, nothing, ()), heard) == [0.0]
