"""What libsndfile reads: WAV, FLAC, OGG, AIFF and more."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from streamser.audio.source import Frames

__all__ = ["SndFile", "shortfall"]

# libsndfile trusts the size of the file more than the header, and says so only in its log.
_SHORTENED = re.compile(r"(?:data|SSND) : (\d+) \(should be (\d+)\)")
# Writers into a pipe cannot know the length and put one of the largest numbers there.
_UNKNOWN_LENGTH = 0x7FFF_0000


class SndFile:
    """Decode by libsndfile; raises ``soundfile.SoundFileError`` for what it does not know."""

    def __init__(self, file: Path | BinaryIO) -> None:
        import soundfile

        self._fault: type[Exception] = soundfile.SoundFileError
        # Elsewhere than on Windows, a name may be bytes that no encoding knows.
        named = os.fsencode(file) if isinstance(file, Path) and os.name != "nt" else file
        self._raw = None if isinstance(file, Path) else file
        try:
            self._file = soundfile.SoundFile(named)
        except BaseException:
            self._close_raw()
            raise
        # Else it seeks to where it stands after every block: FLAC then decodes at less than
        # half its speed in small blocks, and the last whole block before damage fails.
        self._file.seekable = lambda: False
        self.rate = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.announced = self._announced()
        self.duration = None if self.announced is None else self.announced / self.rate

    @property
    def guessed(self) -> bool:
        """Whether the length is no count: libsndfile estimates that of MPEG sound in WAV."""
        return self._file.format == "WAV" and str(self._file.subtype).startswith("MPEG")

    def _announced(self) -> int | None:
        frames = int(self._file.frames)
        if frames >= 2**62:  # libsndfile's way to say that a FLAC header states no length
            return None
        if shortened := _SHORTENED.search(self._file.extra_info):
            stated, there = map(int, shortened.groups())
            if 0 < there < stated < _UNKNOWN_LENGTH:
                return frames * stated // there
        return frames

    def blocks(self, frames: int) -> Iterator[Frames]:
        """Yield blocks of so many frames, up to the end or the first damage."""
        while True:
            block: Frames = np.full((frames, self.channels), np.nan, dtype=np.float32)
            try:
                read = len(self._file.read(out=block))
            except self._fault:
                # read() raises although it has filled the block up to the damage.
                missing = np.isnan(block[:, 0])
                if filled := int(missing.argmax()) if missing.any() else frames:
                    yield block[:filled]
                return
            if read == 0:
                return
            yield block[:read]

    def missing(self, frames: int) -> str | None:
        """Say what is missing where only so many frames came."""
        if self.announced is None or frames >= self.announced:
            return None
        return shortfall(frames, self.announced, self.rate)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._close_raw()

    def _close_raw(self) -> None:
        if self._raw is not None:
            self._raw.close()


def shortfall(frames: int, announced: int, rate: int) -> str:
    """Say how much could be read of what a file announces, both in frames."""
    return f"{frames / rate:.2f} s of the {announced / rate:.2f} s it announces could be read"
