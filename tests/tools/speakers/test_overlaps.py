"""Utterances in which two speak at once are nobody's, in measurements as in sessions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE
from streamser.pipeline.requests import UNCERTAIN
from tests.speech.voices import Talk
from tools.speakers.meetings import Cell, Meeting, Said
from tools.speakers.overlaps import Mixed, Overlaps, alone, mixed_of, spoken_at_once


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


def test_what_is_heard_at_once_is_compared_with_what_is_said() -> None:
    """Turns that meet for a second of three; in the next utterance nobody meets."""
    second = SAMPLE_RATE
    said = (
        Said(0, 2 * second, "ann", "neutral"),
        Said(second, 3 * second, "bob", "neutral"),
        Said(4 * second, 7 * second, "ann", "neutral"),
    )
    assert spoken_at_once(said, 0, 3 * second) == pytest.approx(1 / 3)
    talk = Talk()
    heard = [talk.says(0), talk.says(0)]
    cell = Cell("emodb", 2, emotions=False, noisy=False)
    meeting = Meeting("a", cell, np.zeros(7 * second, np.float32), said)
    assert mixed_of(meeting, heard, [0.5, 0.5]) == Mixed(heard=2, truly=1, missed=0)
    assert mixed_of(meeting, heard, [0.0, 0.5]) == Mixed(heard=1, truly=0, missed=1)
