"""Noises and room responses from a user's folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.errors import AudioError, ConfigError
from streamser.training.augment import Augmenter, degrade_at_snr
from streamser.training.augment.sound import (
    draw_room,
    list_noises,
    list_recordings,
    list_rooms,
    noise_piece,
    read_recording,
)
from streamser.training.settings import AugmentSettings
from tests.data import shared_data
from tests.training.augment.clips import band_energy, real_clip, tone, write


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_noise_of_any_rate_is_heard_at_its_pitch(tmp_path: Path, rate: int, suffix: str) -> None:
    """A hum of 1 kHz is one of 1 kHz at 16 kHz, wherever the piece begins."""
    time = np.arange(rate) / rate
    write(tmp_path / f"hum.{suffix}", 0.5 * np.sin(2 * np.pi * 1000 * time), rate)
    for seed in range(3):
        piece = noise_piece(list_noises(tmp_path), 12_000, _rng(seed))
        assert len(piece) == 12_000
        assert band_energy(piece, 950, 1050) > 0.99


def test_short_noises_are_looped_and_long_ones_cut_anywhere(tmp_path: Path) -> None:
    """A tenth of a second fills three; of a long noise different places are heard."""
    short = write(tmp_path / "short" / "a.wav", _rng().standard_normal(1600) / 10)
    piece = noise_piece(list_noises(short.parent), 48_000, _rng())
    assert len(piece) == 48_000
    assert np.array_equal(piece[:1600], piece[1600:3200])
    long = write(tmp_path / "long" / "b.wav", _rng().standard_normal(160_000) / 10)
    pieces = [noise_piece(list_noises(long.parent), 8_000, _rng(seed)) for seed in range(20)]
    assert len({piece.tobytes() for piece in pieces}) == 20
    assert all(piece.shape == (8_000,) and piece.any() for piece in pieces)


def test_stereo_noise_becomes_the_mean_of_its_channels(tmp_path: Path) -> None:
    """Two channels of opposite sign and one louder leave the difference."""
    left = tone(500)
    write(tmp_path / "wide.wav", np.stack([left, -0.5 * left], axis=1))
    (recording,) = list_noises(tmp_path)
    assert read_recording(recording) == pytest.approx(0.25 * left, abs=1e-4)


def test_a_pause_of_a_noise_is_not_all_there_is(tmp_path: Path) -> None:
    """Where the drawn place is silent, the noise's loudest part is heard; never nothing."""
    knock = np.zeros(160_000)
    knock[80_000:80_100] = 0.5
    write(tmp_path / "knock.wav", knock)
    write(tmp_path / "silent" / "nothing.wav", np.zeros(16_000))
    for folder in (tmp_path, tmp_path / "silent"):
        for seed in range(10):
            assert noise_piece(list_noises(folder), 4_000, _rng(seed)).any()


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    """A text that is called WAV, an empty recording and other files do not count."""
    good = write(tmp_path / "below" / "good.WAV", tone(500))
    (tmp_path / "bad.wav").write_text("no sound")
    (tmp_path / "notes.txt").write_text("no sound")
    write(tmp_path / "empty.wav", np.zeros(0))
    assert [recording.path for recording in list_recordings(tmp_path, "noises")] == [good]


@pytest.mark.parametrize("kind", ["noise", "room"])
def test_a_bad_folder_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    """Missing, or without anything readable: refused when asked for, ignored when not."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.wav").write_bytes(b"RIFF")
    for name in ("missing", "empty", "broken"):
        folder = str(tmp_path / name)
        settings = {kind: 0.5, f"{kind}_folder": folder}
        with pytest.raises(ConfigError, match=name) as caught:
            Augmenter(AugmentSettings(**settings))  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        Augmenter(AugmentSettings(**settings | {kind: 0.0}))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="missing"):
        degrade_at_snr(tmp_path / "missing", 5.0)


@pytest.mark.parametrize("ratios", [(20.0, 5.0), (float("nan"), 5.0), (0.0, float("inf"))])
def test_ratios_must_be_a_range(ratios: tuple[float, float]) -> None:
    """The highest before the lowest, or no number, is refused where noise is asked for."""
    with pytest.raises(ConfigError, match="snr_db"):
        Augmenter(AugmentSettings(noise=0.5, snr_db=ratios))
    Augmenter(AugmentSettings(noise=0.0, snr_db=ratios))
    with pytest.raises(ConfigError, match="nan"):
        degrade_at_snr(None, float("nan"))


def test_a_noise_that_disappears_is_one_clear_line(tmp_path: Path) -> None:
    """A file that was there at the start and cannot be read later is named."""
    path = write(tmp_path / "hum.wav", tone(1000))
    noises = list_noises(tmp_path)
    path.unlink()
    with pytest.raises(AudioError, match=r"hum\.wav"):
        noise_piece(noises, 4_000, _rng())


def test_recorded_responses_begin_at_their_direct_sound(tmp_path: Path) -> None:
    """Delay, offset, sign and level of a recorded response are taken away; its echo is kept."""
    response = np.zeros(16_000)
    response[3_000], response[5_000] = -0.4, 0.2
    write(tmp_path / "hall.wav", response + 0.001)
    found = draw_room(list_rooms(tmp_path), _rng())
    assert found[0] == 1
    assert found[2_000] == pytest.approx(-0.5, abs=0.01)
    assert np.abs(np.delete(found, [0, 2_000])).max() < 0.001
    write(tmp_path / "flat" / "constant.wav", np.full(16_000, 0.25))
    assert draw_room(list_rooms(tmp_path / "flat"), _rng()).tolist() == [1]


def test_real_noises_and_responses_do_their_work() -> None:
    """Each recorded one changes a real clip, keeps its length and gives finite numbers."""
    folder = shared_data("noise_rir") / "audio"
    files = list_recordings(folder, "noises")
    assert len(files) == 10
    clip = real_clip()
    settings = AugmentSettings(
        noise=1.0, noise_folder=str(folder), room=1.0, room_folder=str(folder)
    )
    augmenter = Augmenter(settings)
    for seed in range(20):
        varied = augmenter.sound(clip, _rng(seed))
        assert isinstance(varied, np.ndarray)
        assert len(varied) == len(clip)
        assert np.isfinite(varied).all()
        assert np.abs(varied).max() <= 1
        assert not np.allclose(varied, clip, atol=1e-3)
