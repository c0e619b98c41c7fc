"""What Whisper's lower layers are shown: audible speech, in blocks that stay as they are."""

from __future__ import annotations

import numpy as np

from streamser.emotion.compact.blocks import BANDS, BLOCK, FIRST, Frames, cut_beginning, cut_blocks

RNG = np.random.default_rng(0)


def speech(frames: int, level: float = 0.0) -> Frames:
    """Return noise of a level, in decades."""
    return (RNG.normal(scale=0.3, size=(frames, BANDS)) + level).astype(np.float32)


def quiet(frames: int) -> Frames:
    """Return what lies six decades below speech."""
    return speech(frames, -6.0)


def test_silence_around_speech_is_cut_away() -> None:
    """Whatever its length."""
    (block,) = cut_blocks(np.concatenate([quiet(70), speech(100), quiet(90)]))
    assert len(block.frames) == 100
    assert len(block.heard) == 50
    assert block.heard.all()
    assert block.progress.end == 170


def test_a_pause_stays_but_does_not_count() -> None:
    """It is heard, for rhythm is part of a voice."""
    (block,) = cut_blocks(np.concatenate([speech(40), quiet(40), speech(40)]))
    assert len(block.frames) == 120
    assert block.heard.tolist() == [True] * 20 + [False] * 20 + [True] * 20


def test_gain_changes_nothing() -> None:
    """Levels are told from the loudest."""
    levels = speech(140)
    (block,), (louder,) = cut_blocks(levels), cut_blocks(levels + np.float32(2.0))
    np.testing.assert_allclose(block.frames, louder.frames, atol=1e-5)


def test_a_full_block_is_not_changed_by_what_follows() -> None:
    """Not even by what is far louder."""
    begun = speech(BLOCK + 20)
    first = cut_blocks(begun)[0]
    for more in (speech(50), speech(400, 3.0), quiet(100)):
        again = cut_blocks(np.concatenate([begun, more]))[0]
        assert again.full
        np.testing.assert_array_equal(first.frames, again.frames)
        np.testing.assert_array_equal(first.heard, again.heard)


def test_a_rest_of_a_few_frames_is_left_out_and_of_silence_nothing_is_left() -> None:
    """Unless it is all there is."""
    assert len(cut_blocks(speech(BLOCK + 7))) == 1
    assert len(cut_blocks(speech(BLOCK + 8))) == 2
    assert len(cut_blocks(speech(3))) == 1
    assert cut_blocks(np.full((50, BANDS), -10.0, np.float32)) == []
    assert cut_blocks(np.zeros((0, BANDS), np.float32)) == []


def test_values_are_scaled_as_whisper_wants_them() -> None:
    """The loudest band is 1.375, eight decades below it are two less."""
    (block,) = cut_blocks(np.concatenate([speech(50), speech(50, -3.5), speech(50)]))
    assert block.frames.max() == np.float32(1.375)
    levels = speech(50)
    levels[:, 3] = -10.0
    (block,) = cut_blocks(levels)
    assert block.frames.min() == np.float32(-0.625)


def test_what_follows_is_cut_as_if_all_were_there() -> None:
    """Frames of full blocks need not be kept: how far and how loud is enough."""
    parts = (quiet(30), speech(BLOCK), speech(BLOCK + 50, 1.0), quiet(60), speech(BLOCK))
    levels = np.concatenate(parts)
    whole = cut_blocks(levels)
    assert [block.full for block in whole] == [True, True, True, False]
    for number in range(3):
        progress = whole[number].progress
        rest = cut_blocks(levels[progress.end :], progress)
        assert len(rest) == 3 - number
        for one, other in zip(whole[number + 1 :], rest, strict=True):
            np.testing.assert_array_equal(one.frames, other.frames)
            np.testing.assert_array_equal(one.heard, other.heard)
            assert one.progress == other.progress
    assert cut_blocks(quiet(50), whole[-1].progress) == []


def test_the_beginning_is_the_first_audible_second() -> None:
    """It stays as it is while a softer or a little louder sound follows."""
    begun = np.concatenate([quiet(20), speech(FIRST)])
    first = cut_beginning(begun)
    assert first is not None
    assert len(first.frames) == FIRST
    assert first.progress.end == 20 + FIRST
    for more in (speech(100), quiet(100), speech(400, 1.0)):
        again = cut_beginning(np.concatenate([begun, more]))
        assert again is not None
        np.testing.assert_array_equal(first.frames, again.frames)
    short = cut_beginning(begun[:60])
    assert short is not None
    assert len(short.frames) == 40
    assert cut_beginning(np.full((50, BANDS), -10.0, np.float32)) is None
