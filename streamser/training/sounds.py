"""The sound of items, read once and kept small in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.file import FileSource
from streamser.audio.reader import Resampler
from streamser.audio.source import Gap
from streamser.emotion.frontend import Mel, Sound
from streamser.errors import AudioError
from streamser.training.items import Item, MelSpan
from streamser.training.mel_archive import Archive, decibels, read_archive, whisper_levels

__all__ = ["FRAMES_PER_SECOND", "Readable", "Sounds", "read_clip"]

FRAMES_PER_SECOND: Final = 62.5
"""Mel frames in a second: 256 samples of 16 kHz each."""

_FULL = 32767.0


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
            return self._clip(item.audio).astype(np.float32) / np.float32(_FULL)
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
            clip = np.round(read_clip(path) * _FULL).astype(np.int16)
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
