"""Ready-made log-mel frames on disk: of 64 bands, or of 128 kept as differences in time.

Those of 128 bands are fine enough to tell what Whisper's front end would have made of the sound.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streamser.emotion.compact import whisper_mel
from streamser.emotion.frontend import mel_edges
from streamser.errors import AudioError
from streamser.training.augment.bands import hertz_to_mel

__all__ = ["BANDS", "RANGE_DB", "Archive", "Frames", "decibels", "read_archive", "whisper_levels"]

Frames: TypeAlias = npt.NDArray[np.uint8]

BANDS: Final = 64
RANGE_DB: Final = 80.0
"""What 0 to 255 stand for: -80 to 0 dB of the clip's peak."""

_FULL = 255
_WHISPER_RATE: Final = 1.6  # of its frames, 10 ms, to those of 16 ms
_LEAST_POWER: Final = 1e-9


class Archive(NamedTuple):
    """Hold the frames of all clips, 0 to 255 for -80 to 0 dB of a clip's peak.

    ``mel`` is uint8 [frames, 64]; ``wide`` uint8 [frames, 128], or ``None`` where the archive
    has 64 bands only.
    """

    mel: Frames
    wide: Frames | None


def read_archive(path: Path) -> Archive:
    """Read the frames of an archive (``.npz``).

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
    return Archive(np.ascontiguousarray(_checked(path, "mel", mel, BANDS)), None)


def decibels(frames: Frames) -> npt.NDArray[np.float32]:
    """Return what frames stand for, in dB of their clip's peak: float32 of the same shape."""
    return frames * np.float32(RANGE_DB / _FULL) - np.float32(RANGE_DB)


def whisper_levels(clip: Frames) -> npt.NDArray[np.float32]:
    """Tell what Whisper's front end would hear: uint8 [T, 128] to log10 powers [T', 80].

    Each of its filters is an average of the finer ones that lie in it, each frame lies between
    two of 16 ms.
    """
    levels = np.log10(np.maximum(_powers()[clip] @ _whisper_weights().T, _LEAST_POWER))
    last = len(clip) - 1
    at = np.arange(int(last * _WHISPER_RATE) + 1) / _WHISPER_RATE
    left = np.minimum(at.astype(np.int64), max(last - 1, 0))
    right = np.minimum(left + 1, last)
    share = (at - left)[:, None]
    between = levels[left] * (1 - share) + levels[right] * share
    found: npt.NDArray[np.float32] = between.astype(np.float32)
    return found


def _of_128_bands(path: Path, arrays: Mapping[str, npt.NDArray[np.uint8]]) -> Archive:
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
    return Archive(mel, wide)


@cache
def _powers() -> npt.NDArray[np.float64]:
    """Return what power each value stands for."""
    powers: npt.NDArray[np.float64] = 10.0 ** (
        (np.arange(_FULL + 1) / _FULL * RANGE_DB - RANGE_DB) / 10.0
    )
    return powers


@cache
def _whisper_weights() -> npt.NDArray[np.float64]:
    """Return how much of each of 128 bands lies in each of Whisper's, [80, 128]; rows sum to 1."""
    fine, wanted = (hertz_to_mel(mel_edges(count)) for count in (2 * BANDS, whisper_mel.BANDS))
    low, middle, high = wanted[:-2, None], wanted[1:-1, None], wanted[2:, None]
    rising, falling = (fine[1:-1] - low) / (middle - low), (high - fine[1:-1]) / (high - middle)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    weights: npt.NDArray[np.float64] = triangles / triangles.sum(axis=1, keepdims=True)
    return weights


def _in_pairs(clip: Frames) -> Frames:
    power = _powers()[clip]
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
