from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.emotion.frontend import BANDS, log_mel
from streamser.errors import ConfigError
from tests.emotion.voices import in_noise, speak
from tools.compact.channels import Channel, Studio, draw_channel, open_studio, through

FRAMES = log_mel(in_noise(speak(160), 30))
QUIET = Studio((), ())


class Whole(np.random.Generator):
    """Draw as a generator does, but never crop: the first draw of ``through`` is high."""

    def random(self, *arguments: object, **named: object) -> float:  # type: ignore[override]
        """Return what lets nothing happen."""
        return 0.99


def whole(seed: int = 0) -> np.random.Generator:
    """Return a generator under which utterances stay whole."""
    return Whole(np.random.PCG64(seed))


def test_a_folder_is_sorted_into_noises_and_rooms(tmp_path: Path) -> None:
    """By name; an empty one is refused."""
    for name in ("noise1", "office", "rir1"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(1600, 0.1, np.float32), 16000)
    studio = open_studio(tmp_path)
    assert [each.path.stem for each in studio.noises] == ["noise1", "office"]
    assert [each.path.stem for each in studio.rooms] == ["rir1"]
    with pytest.raises(ConfigError):
        open_studio(tmp_path / "absent")


def test_channels_differ_and_follow_from_their_seed() -> None:
    """The same draw is the same channel."""
    drawn = [draw_channel(QUIET, np.random.default_rng(seed)) for seed in range(30)]
    again = draw_channel(QUIET, np.random.default_rng(3))
    assert again.responses == drawn[3].responses
    assert again.snr_db == drawn[3].snr_db
    assert any(channel.room is not None for channel in drawn)
    assert any(channel.snr_db is None for channel in drawn)
    assert any(channel.dryness for channel in drawn)


def test_dryness_moves_fast_changes_and_not_the_mean() -> None:
    """A dry microphone hears steeper onsets of the same voice."""
    plain = through(FRAMES, Channel(), QUIET, whole())
    dry = through(FRAMES, Channel(dryness=0.5), QUIET, whole())
    steps = [np.abs(np.diff(each, axis=0)).mean() for each in (plain, dry)]
    assert steps[1] > 1.2 * steps[0]
    assert abs(dry.mean() - plain.mean()) < 1.0


def test_some_utterances_are_cropped_to_what_a_partial_hears() -> None:
    """A quarter of them, to two seconds at most; frames keep their bands."""
    long = np.tile(FRAMES, (4, 1))
    rng = np.random.default_rng(0)
    lengths = [len(through(long, Channel(), QUIET, rng)) for _ in range(60)]
    cropped = [length for length in lengths if length < 130]
    assert 5 <= len(cropped) <= 30
    assert through(long, Channel(), QUIET, rng).shape[1] == BANDS
