"""Ready-made log-mel frames on disk: of 64 bands, or of 128 kept as differences in time."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from streamser.errors import AudioError

__all__ = ["BANDS", "RANGE_DB", "Frames", "decibels", "read_archive"]

Frames: TypeAlias = npt.NDArray[np.uint8]

BANDS: Final = 64
RANGE_DB: Final = 80.0
"""What 0 to 255 stand for: -80 to 0 dB of the clip's peak."""

_FULL = 255


def read_archive(path: Path) -> Frames:
    """Read the frames of an archive (``.npz``), as uint8 [frames, 64], 0 to 255 for -80 to 0 dB.

    It holds ``mel``, just that; or ``mel_dt``, uint8 [frames, 128], the differences in time of
    frames with twice as many bands, modulo 256, and the ``offset`` and ``n_frames`` of its clips.
    Of those the power of two neighbours is added, and told against the new peak of the clip.

    Raises ``AudioError`` naming the file where it is missing, damaged or holds something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if "mel_dt" in arrays:
                return _of_128_bands(path, arrays)
            mel = arrays["mel"]
    except FileNotFoundError:
        raise AudioError(f"{path} does not exist.") from None
    except (OSError, KeyError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise AudioError(f"{path} is no archive of mel frames: {error}") from None
    return np.ascontiguousarray(_checked(path, "mel", mel, BANDS))


def decibels(frames: Frames) -> npt.NDArray[np.float32]:
    """Return what frames stand for, in dB of their clip's peak: float32 of the same shape."""
    return frames * np.float32(RANGE_DB / _FULL) - np.float32(RANGE_DB)


def _of_128_bands(path: Path, arrays: Mapping[str, npt.NDArray[np.uint8]]) -> Frames:
    wide = _checked(path, "mel_dt", arrays["mel_dt"], 2 * BANDS)
    wide = np.cumsum(wide, axis=0, dtype=np.uint8)
    mel = np.zeros((len(wide), BANDS), np.uint8)
    for offset, count in zip(arrays["offset"], arrays["n_frames"], strict=True):
        clip = wide[offset : offset + count]
        if offset < 0 or count < 1 or len(clip) != count:
            raise AudioError(
                f"{path} has {len(wide)} frames; its clips ask for {offset} to {offset + count}."
            )
        mel[offset : offset + count] = _in_pairs(clip)
    return mel


def _in_pairs(clip: Frames) -> Frames:
    powers = 10.0 ** ((np.arange(_FULL + 1) / _FULL * RANGE_DB - RANGE_DB) / 10.0)
    power = powers[clip]
    levels = 10.0 * np.log10(power[:, ::2] + power[:, 1::2])
    levels = np.maximum(levels - levels.max(), -RANGE_DB)
    frames: Frames = np.round((levels + RANGE_DB) / RANGE_DB * _FULL).astype(np.uint8)
    return frames


def _checked(path: Path, name: str, mel: npt.NDArray[np.uint8], bands: int) -> Frames:
    if mel.ndim != 2 or mel.shape[1] != bands or mel.dtype != np.uint8:
        raise AudioError(
            f"{path} must hold {name} as uint8 [frames, {bands}], "
            f"not {mel.dtype} {list(mel.shape)}."
        )
    return mel
