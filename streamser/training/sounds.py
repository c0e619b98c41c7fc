"""The sound of items, recordings or ready-made log-mel frames, read once and kept small.

Frames are of 64 bands, or of 128 kept as differences in time. Those of 128 bands are fine enough
to tell what Whisper's front end would have made of the sound.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.file import FileSource
from streamser.audio.reader import Resampler
from streamser.audio.source import Gap
from streamser.emotion.compact import encoders
from streamser.emotion.frontend import Mel, Sound, mel_edges
from streamser.errors import AudioError
from streamser.training.augment.bands import hertz_to_mel
from streamser.training.manifest import Item, MelSpan

Frames: TypeAlias = npt.NDArray[np.uint8]

FRAMES_PER_SECOND: Final = 62.5
"""Mel frames in a second: 256 samples of 16 kHz each."""

_LOUDEST = 32767.0


class Readable(msgspec.Struct, frozen=True):
    """Hold the items whose sound can be used, and how many were left out and why."""

    items: tuple[Item, ...]
    unreadable: int
    too_short: int


class Sounds:
    """Read the sound of items and keep it: 16-bit samples, 8-bit mel frames.

    What is read once is not read again, so that later epochs touch no file, as long as all
    recordings take less than ``most_bytes`` (32 kB for each second); those beyond are read
    anew each time. One archive of mel frames is shared by all items in it.
    """

    def __init__(self, most_bytes: int = 8 << 30) -> None:
        self._room = most_bytes
        self._clips: dict[Path, npt.NDArray[np.int16]] = {}
        self._lengths: dict[Path, int] = {}
        self._archives: dict[Path, Archive] = {}

    def load(self, item: Item) -> Sound | None:
        """Return an item's sound, or ``None`` where it has none.

        Raises ``AudioError`` naming the file where it cannot be read.
        """
        if item.mel is not None:
            mel, wide = self._frames(item.mel)
            whisper = None if wide is None else whisper_levels(wide)
            return Mel(decibels=decibels(mel), whisper=whisper)
        if item.audio is not None:
            return self._clip(item.audio).astype(np.float32) / np.float32(_LOUDEST)
        return None

    def seconds(self, item: Item) -> float:
        """Return how long an item's sound is; 0 where it has none. Raises like ``load``."""
        if item.mel is not None:
            return len(self._frames(item.mel).mel) / FRAMES_PER_SECOND
        if item.audio is not None:
            if item.audio not in self._lengths:
                self._clip(item.audio)
            return self._lengths[item.audio] / SAMPLE_RATE
        return 0.0

    def readable(
        self, items: Sequence[Item], *, min_seconds: float = 0.0, strict: bool = False
    ) -> Readable:
        """Read the sound of every item, and leave out what cannot be read or is too short.

        Items without sound are kept. ``strict`` raises the first ``AudioError`` instead.
        """
        kept, unreadable, too_short = [], 0, 0
        for item in items:
            try:
                short = item.has_sound and self.seconds(item) < min_seconds
            except AudioError:
                if strict:
                    raise
                unreadable += 1
                continue
            too_short += short
            if not short:
                kept.append(item)
        return Readable(tuple(kept), unreadable, too_short)

    def _clip(self, path: Path) -> npt.NDArray[np.int16]:
        clip = self._clips.get(path)
        if clip is None:
            clip = np.round(read_clip(path) * _LOUDEST).astype(np.int16)
            self._lengths[path] = len(clip)
            if clip.nbytes <= self._room:
                self._room -= clip.nbytes
                self._clips[path] = clip
        return clip

    def _frames(self, span: MelSpan) -> Archive:
        found = self._archives.get(span.archive)
        if found is None:
            found = self._archives[span.archive] = read_archive(span.archive)
        end = span.offset + span.frames
        if span.offset < 0 or span.frames < 0 or end > len(found.mel):
            raise AudioError(
                f"{span.archive} has {len(found.mel)} frames; an item asks for {span.offset}"
                f" to {end}."
            )
        rows = slice(span.offset, end)
        return Archive(found.mel[rows], None if found.wide is None else found.wide[rows])


def read_clip(path: Path) -> Samples:
    """Read a whole sound file as mono float32 at 16 kHz.

    Raises ``AudioError`` naming the file where it is missing, damaged or no sound.
    """
    try:
        source = FileSource(path, block_ms=10_000)
        intake = Resampler(source.rate, source.channels)
        parts = [
            intake.fill(chunk.frames) if isinstance(chunk, Gap) else intake.feed(chunk)
            for chunk in source.chunks()
        ]
    except AudioError as error:
        named = str(error) if str(path) in str(error) else f"{path}: {error}"
        raise AudioError(named) from None
    return np.concatenate([*parts, intake.flush()])


BANDS: Final = 64
RANGE_DB: Final = 80.0
"""What 0 to 255 stand for: -80 to 0 dB of the clip's peak."""

_LARGEST = 255
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
    return frames * np.float32(RANGE_DB / _LARGEST) - np.float32(RANGE_DB)


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
        (np.arange(_LARGEST + 1) / _LARGEST * RANGE_DB - RANGE_DB) / 10.0
    )
    return powers


@cache
def _whisper_weights() -> npt.NDArray[np.float64]:
    """Return how much of each of 128 bands lies in each of Whisper's, [80, 128]; rows sum to 1."""
    fine, wanted = (hertz_to_mel(mel_edges(count)) for count in (2 * BANDS, encoders.BANDS))
    low, middle, high = wanted[:-2, None], wanted[1:-1, None], wanted[2:, None]
    rising, falling = (fine[1:-1] - low) / (middle - low), (high - fine[1:-1]) / (high - middle)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    weights: npt.NDArray[np.float64] = triangles / triangles.sum(axis=1, keepdims=True)
    return weights


def _in_pairs(clip: Frames) -> Frames:
    power = _powers()[clip]
    levels = 10.0 * np.log10(power[:, ::2] + power[:, 1::2])
    levels = np.maximum(levels - levels.max(), -RANGE_DB)
    frames: Frames = np.round((levels + RANGE_DB) / RANGE_DB * _LARGEST).astype(np.uint8)
    return frames


def _checked(path: Path, name: str, mel: npt.NDArray[np.uint8], bands: int) -> Frames:
    if mel.ndim != 2 or mel.shape[1] != bands or mel.dtype != np.uint8:
        raise AudioError(
            f"{path} must hold {name} as uint8 [frames, {bands}], "
            f"not {mel.dtype} {list(mel.shape)}."
        )
    return mel
