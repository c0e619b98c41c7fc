from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.errors import AudioError
from tools.bench.conversation import load_demo, load_recordings


def test_the_demo_speaks_where_its_script_says() -> None:
    """Each turn is far louder within its speech than around it."""
    demo = load_demo()
    assert len(demo.turns) >= 10
    for turn in demo.turns:
        assert turn.speech is not None
        start, end = (round(second * demo.rate) for second in turn.speech)
        outside = np.concatenate([turn.samples[:start], turn.samples[end:]])
        assert 0 < start < end < len(turn.samples)
        assert np.std(turn.samples[start:end]) > 10 * np.std(outside)


def test_turns_repeat_with_other_pauses_the_same_in_every_run() -> None:
    """The second lap holds the same turns as the first, and a second run the same pauses."""
    demo = load_demo()
    laps = demo.first(2 * len(demo.turns))
    first, second = laps[: len(demo.turns)], laps[len(demo.turns) :]
    assert [placed.turn for placed in first] == [placed.turn for placed in second]
    assert [placed.pause for placed in first] != [placed.pause for placed in second]
    assert [placed.start for placed in laps] == [p.start for p in demo.first(len(laps))]
    for before, after in pairwise(laps):
        assert after.start == before.start + len(before.turn.samples) + before.pause


@pytest.mark.parametrize("frames", [1, 320, 4097])
def test_the_stream_does_not_depend_on_the_length_of_blocks(frames: int) -> None:
    """Blocks of any length join to the placed turns, and only the last is shorter."""
    demo = load_demo()
    total = 12 * demo.rate + 5 if frames > 1 else 2000
    blocks = list(demo.blocks(frames, total=total))
    assert all(len(block) == frames for block in blocks[:-1])
    assert 0 < len(blocks[-1]) <= frames
    stream = np.concatenate(blocks)
    assert len(stream) == total
    for placed in demo.first(3):
        there = stream[placed.start : placed.start + len(placed.turn.samples)]
        assert np.array_equal(there, placed.turn.samples[: len(there)])


def test_after_the_given_turns_nobody_speaks() -> None:
    """A stream of two turns holds exactly these, then silence for as long as is asked."""
    demo = load_demo()
    last = demo.first(2)[-1]
    end = last.start + len(last.turn.samples)
    stream = np.concatenate(list(demo.blocks(320, total=end + 3 * demo.rate, turns=2)))
    assert np.array_equal(stream[last.start : end], last.turn.samples)
    assert len(stream) == end + 3 * demo.rate
    assert not stream[end:].any()


def test_another_rate_changes_neither_length_nor_truth() -> None:
    """At 48 kHz the turns last as long, and speak in the same seconds."""
    demo = load_demo()
    fine = demo.at_rate(48_000)
    assert fine.lap_s == pytest.approx(demo.lap_s, abs=0.01)
    for placed, finer in islice(zip(demo.placed(), fine.placed(), strict=False), 30):
        assert finer.start / fine.rate == pytest.approx(placed.start / demo.rate, abs=0.005)
        assert finer.turn.speech == placed.turn.speech


def test_recordings_of_any_rate_and_channels_are_strung_together(tmp_path: Path) -> None:
    """Each file becomes a turn at 16 kHz, in an order that is the same every time."""
    random = np.random.default_rng(3)
    lengths = {"a.wav": (16_000, 1, 0.5), "b.flac": (48_000, 2, 0.7), "deep/c.WAV": (8_000, 1, 0.9)}
    (tmp_path / "deep").mkdir()
    (tmp_path / "notes.txt").write_text("not sound")
    for name, (rate, channels, seconds) in lengths.items():
        sound = 0.1 * random.standard_normal((round(rate * seconds), channels))
        soundfile.write(tmp_path / name, sound, rate, format="FLAC" if "flac" in name else "WAV")
    found = load_recordings(tmp_path)
    assert found.rate == 16_000
    assert sorted(round(len(turn.samples) / 16_000, 2) for turn in found.turns) == [0.5, 0.7, 0.9]
    assert all(turn.speech is None for turn in found.turns)
    again = load_recordings(tmp_path)
    assert [len(turn.samples) for turn in again.turns] == [len(t.samples) for t in found.turns]
    assert all(placed.pause >= 0.8 * 16_000 for placed in found.first(6))


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    """An empty folder is told in one line."""
    with pytest.raises(AudioError, match=r"holds no \.wav or \.flac"):
        load_recordings(tmp_path)
