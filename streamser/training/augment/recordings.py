"""A folder of recordings, read piece by piece, so that it may be larger than the memory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import AudioError, ConfigError

__all__ = ["Recording", "list_recordings", "read_recording"]

_SUFFIXES = {".wav", ".flac"}


class Recording(NamedTuple):
    """Name one file: its rate in Hz and its length in frames at that rate."""

    path: Path
    rate: int
    frames: int

    @property
    def length(self) -> int:
        """Return its length in samples at 16 kHz."""
        return max(1, round(self.frames * SAMPLE_RATE / self.rate))


def list_recordings(folder: Path, what: str) -> tuple[Recording, ...]:
    """List the WAV and FLAC files below a folder by name, without those that cannot be opened.

    ``what`` names the folder's purpose in the message of the ``ConfigError`` that is raised
    where there is no such folder or nothing in it can be read.
    """
    import soundfile

    if not folder.is_dir():
        raise ConfigError(f"no folder of {what} at {folder}: give one that exists, or none")
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        try:
            info = soundfile.info(path)
        except (soundfile.LibsndfileError, OSError):
            continue
        if info.frames > 0 and info.samplerate > 0:
            found.append(Recording(path, info.samplerate, info.frames))
    if not found:
        raise ConfigError(f"no readable WAV or FLAC file below {folder}: put {what} there")
    return tuple(found)


def read_recording(recording: Recording, start: int = 0, length: int | None = None) -> Samples:
    """Read ``length`` samples from ``start`` on, both at 16 kHz; the mean of all channels.

    May give a few samples less or more, by rounding and at the end of the file. Raises
    ``AudioError`` where the file cannot be decoded any more.
    """
    import soundfile
    import soxr

    path, rate, frames = recording
    begin = min(start * rate // SAMPLE_RATE, frames - 1)
    count = -1 if length is None else -(-length * rate // SAMPLE_RATE) + 1
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(begin)
            read = file.read(count, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"cannot read {path} any more: {error}") from error
    mono = read.mean(axis=1, dtype=np.float32)
    samples: Samples = mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE)
    return np.nan_to_num(samples, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
