"""Which of several sound tracks is heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.audio.file import FileSource
from streamser.audio.source import Frames
from streamser.errors import AudioError
from tests.audio.sounds import heard, tone, tracks, write

RATE = 16_000
LOUD: Frames = tone(1.0, RATE)
QUIET: Frames = 0.2 * LOUD
SILENT: Frames = 0 * LOUD


@pytest.mark.parametrize(
    ("sounds", "marked", "wanted"),
    [
        ([QUIET, LOUD], (), 0),
        ([QUIET, LOUD], (0, 1), 0),
        ([QUIET, LOUD], (1,), 1),
        ([LOUD, QUIET], (1,), 1),
        ([SILENT, QUIET, LOUD], (), 2),
        ([LOUD, SILENT, QUIET], (1,), 0),
        ([SILENT, SILENT], (1,), 1),
    ],
    ids=[
        "the first of equals",
        "all are marked",
        "the marked one",
        "the marked one, though quiet",
        "the loudest for a silent first",
        "the loudest for a silent marked one",
        "nothing anywhere",
    ],
)
def test_the_track_that_is_meant_and_holds_sound_is_heard(
    tmp_path: Path, sounds: list[Frames], marked: tuple[int, ...], wanted: int
) -> None:
    """A mark counts more than the order, and sound more than a mark."""
    source = FileSource(tracks(tmp_path / "a.mkv", sounds, RATE, marked))
    assert (source.tracks, source.track) == (len(sounds), wanted)
    got = heard(list(source.chunks()))
    assert np.abs(got - sounds[wanted]).max() < 1e-3


def test_a_track_can_be_asked_for(tmp_path: Path) -> None:
    """Counted from 0, whatever is marked."""
    path = tracks(tmp_path / "a.mkv", [LOUD, QUIET], RATE, (0,))
    assert np.abs(heard(list(FileSource(path, track=1).chunks()))).max() < 0.11
    assert FileSource(tracks(tmp_path / "b.mkv", [SILENT, LOUD], RATE), track=0).track == 0


def test_a_track_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """The error names those that are."""
    film = tracks(tmp_path / "a.mkv", [LOUD, QUIET], RATE)
    with pytest.raises(AudioError, match="no sound track 2: there are 0 to 1"):
        FileSource(film, track=2)
    with pytest.raises(AudioError, match="no sound track 1: its only one is 0"):
        FileSource(write(tmp_path / "a.wav", LOUD, RATE), track=1)
    assert FileSource(write(tmp_path / "a.wav", LOUD, RATE), track=0).tracks == 1
