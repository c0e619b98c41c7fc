"""Made meetings: who speaks when is known, and who tunes never judges."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from streamser.errors import ConfigError
from tests.data import shared_data
from tools.speakers.meetings import Cell, Meeting, cells, make_meetings
from tools.speakers.voices import CORPORA, FRAME, loud, read_people, trimmed


def made(seed: int, cell: Cell) -> Meeting:
    """Make one meeting of the voices that judge."""
    (meeting,) = make_meetings(shared_data("emodb").parent, "judge", 1, seed, [cell])
    return meeting


def test_nobody_tunes_and_judges() -> None:
    """The sides share no voice, and of RAVDESS nobody tunes."""
    data = shared_data("emodb").parent
    for corpus in CORPORA:
        tune, judge = (
            {person.name for person in read_people(data, corpus, part)}
            for part in ("tune", "judge")
        )
        assert judge
        assert not tune & judge
    assert not read_people(data, "ravdess", "tune")
    assert all(cell.corpus != "ravdess" for cell in cells("tune"))


def test_a_meeting_is_what_it_says() -> None:
    """People speak when they are said to and nobody does in between, in turns of 1 to 8 s."""
    meeting = made(1, Cell("emodb", 3, emotions=True, noisy=False))
    assert meeting.people == 3
    spoken = np.zeros(len(meeting.samples), bool)
    for turn in meeting.said:
        spoken[turn.start : turn.end] = True
        assert 0.6 < (turn.end - turn.start) / 16_000 < 11
        assert loud(meeting.samples[turn.start : turn.end]).mean() > 0.3
    assert np.abs(meeting.samples[~spoken]).max() < 1e-3
    assert len({turn.emotion for turn in meeting.said}) > 2
    assert all(one.person != two.person for one, two in pairwise(meeting.said))


def test_a_meeting_depends_on_its_name_and_the_seed_alone() -> None:
    """So that a part of a measurement can be repeated."""
    cell = Cell("speech", 2, emotions=False, noisy=True)
    one, again, other = made(1, cell), made(1, cell), made(2, cell)
    assert np.array_equal(one.samples, again.samples)
    assert one.said == again.said
    assert one.said != other.said


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    """In one line that says which file is missing."""
    with pytest.raises(ConfigError, match=r"no emodb/labels\.csv"):
        read_people(tmp_path, "emodb", "judge")


def test_a_click_before_speech_is_no_speech() -> None:
    """Nor is one after it."""
    rng = np.random.default_rng(1)
    sound = np.zeros(FRAME * 100, np.float32)
    speech = slice(FRAME * 40, FRAME * 70)
    sound[speech] = rng.standard_normal(FRAME * 30) * 0.1
    clicked = sound.copy()
    clicked[FRAME * 5] = clicked[FRAME * 90] = 0.9
    assert np.array_equal(trimmed(clicked), sound[speech])
    assert len(trimmed(np.zeros(FRAME * 3, np.float32))) == 0
