"""What a container says about time: where sound begins, where it stops, whether all came."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.audio.file import FileSource
from streamser.audio.source import Frames
from tests.audio.sounds import encode, heard, moved, tone
from tests.audio.test_file import read_until_error


def silent_spans(sound: Frames, rate: int) -> list[tuple[float, float]]:
    """Return where there is no sound for 0.2 s or more, in seconds."""
    loud = np.flatnonzero(np.abs(sound[:, 0]) > 0.05)
    edges = np.concatenate([[0], loud, [len(sound)]])
    return [
        (float(edges[at]) / rate, float(edges[at + 1]) / rate)
        for at in np.flatnonzero(np.diff(edges) > rate // 5)
    ]


def source_of(tmp_path: Path, kind: str) -> tuple[Path, int]:
    """Write four seconds of sound in the way that suits a container."""
    if kind in ("webm", "mkv"):
        return encode(tmp_path / "whole.webm", tone(4.0, 48_000), 48_000, "libopus"), 48_000
    return encode(tmp_path / "whole.m4a", tone(4.0, 44_100), 44_100, "aac"), 44_100


@pytest.mark.parametrize("kind", ["webm", "mkv", "mp4", "ts"])
def test_a_hole_in_the_packets_is_silence(tmp_path: Path, kind: str) -> None:
    """A paused recorder's file keeps its times, and is not called damaged."""
    path, rate = source_of(tmp_path, kind)
    gap = moved(path, tmp_path / f"gap.{kind}", 10.0, after=2.0)
    source = FileSource(gap)
    sound = heard(list(source.chunks()))
    assert source.duration == pytest.approx(14.0, abs=0.1)
    assert len(sound) / rate == pytest.approx(14.0, abs=0.1)
    assert silent_spans(sound, rate) == [pytest.approx((2.0, 12.0), abs=0.05)]


@pytest.mark.parametrize("kind", ["mkv", "mp4", "mov", "ts"])
def test_sound_that_begins_after_the_picture_begins_late(tmp_path: Path, kind: str) -> None:
    """Subtitles made of it stand under the right picture."""
    path, _ = source_of(tmp_path, "mp4")
    sound = heard(list(FileSource(moved(path, tmp_path / f"a.{kind}", 4.0, video=True)).chunks()))
    assert silent_spans(sound, 44_100) == [pytest.approx((0.0, 4.0), abs=0.05)]


@pytest.mark.parametrize("kind", ["webm", "m4a"])
def test_a_whole_file_that_begins_late_is_whole(tmp_path: Path, kind: str) -> None:
    """Its head counts from zero, and so do the packets: nothing is missing."""
    path, rate = source_of(tmp_path, kind)
    sound = heard(list(FileSource(moved(path, tmp_path / f"late.{kind}", 4.0)).chunks()))
    assert silent_spans(sound, rate) == [pytest.approx((0.0, 4.0), abs=0.05)]


@pytest.mark.parametrize("kind", ["webm", "m4a"])
def test_a_piece_cut_from_something_long_begins_at_its_own_first_sound(
    tmp_path: Path, kind: str
) -> None:
    """Nobody waits through an hour of silence that only the clock has seen."""
    path, rate = source_of(tmp_path, kind)
    sound = heard(list(FileSource(moved(path, tmp_path / f"far.{kind}", 3600.0)).chunks()))
    assert len(sound) / rate == pytest.approx(4.0, abs=0.1)


def test_small_steps_between_time_stamps_are_no_holes(tmp_path: Path) -> None:
    """WebM counts in milliseconds: its stamps are never quite where the frames are."""
    path, rate = source_of(tmp_path, "webm")
    sound = heard(list(FileSource(moved(path, tmp_path / "a.webm", 0.05, after=2.0)).chunks()))
    assert len(sound) == len(heard(list(FileSource(path).chunks())))
    assert len(sound) / rate == pytest.approx(4.0, abs=0.02)


def test_a_clock_that_begins_anew_is_followed(tmp_path: Path) -> None:
    """A recording appended to another comes after it, holes and all."""
    path, rate = source_of(tmp_path, "webm")
    gap = moved(path, tmp_path / "gap.webm", 1.0, after=2.0)
    both = tmp_path / "both.webm"
    both.write_bytes(gap.read_bytes() + gap.read_bytes())
    sound = heard(list(FileSource(both).chunks()))
    assert len(sound) / rate == pytest.approx(10.0, abs=0.1)
    first, second = silent_spans(sound, rate)
    assert first == pytest.approx((2.0, 3.0), abs=0.05)
    assert second == pytest.approx((7.0, 8.0), abs=0.05)


def test_a_file_with_a_hole_may_be_cut_short_too(tmp_path: Path) -> None:
    """What counts is how far the packets reach."""
    path, rate = source_of(tmp_path, "webm")
    gap = moved(path, tmp_path / "gap.webm", 10.0, after=1.0)
    whole = gap.read_bytes()
    gap.write_bytes(whole[: len(whole) * 3 // 5])
    sound, error = read_until_error(FileSource(gap))
    assert error.code == "truncated_audio"
    assert 12.0 < len(sound) / rate < 13.5
    assert f"{len(sound) / rate:.2f} s of the 14.0" in str(error)


def test_packets_that_cannot_be_decoded_are_missed(tmp_path: Path) -> None:
    """Silence stands in their place, and the file is called damaged."""
    path, _ = source_of(tmp_path, "mp4")
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    third = (len(data) - begin) // 4
    data[begin + third : begin + 2 * third] = b"\xff" * third
    path.write_bytes(data)
    sound, error = read_until_error(FileSource(path))
    assert error.code == "truncated_audio"
    assert len(sound) / 44_100 == pytest.approx(4.0, abs=0.1)
