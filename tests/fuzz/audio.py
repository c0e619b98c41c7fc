"""Sound files of every kind that is read, spoilt, and raw sound from a pipe."""

from __future__ import annotations

import io
from pathlib import Path
from random import Random
from typing import Literal

import numpy as np

from streamser.audio.file import FileSource
from streamser.audio.raw import RawSource
from streamser.audio.reader import Resampler
from streamser.audio.source import AudioSource, Gap
from streamser.errors import StreamserError
from tests.audio.sounds import encode, tone, write
from tests.fuzz.mutation import spoil_bytes
from tests.fuzz.target import BrokenError, Target, forbidding, require

__all__ = ["TARGET"]

_NAMES = (
    "a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a", "a.webm", "a.aiff", "a.mp4", "a.mkv", "a.raw",
    "a.bin", "a.opus", "a.au", "a.w64", "a.caf", "a.aac",
)  # fmt: skip
_RAW = len(_NAMES)
_MOST_FRAMES = 20_000_000
_GOOD: list[bytes] = []


def _seeds(folder: Path) -> list[bytes]:
    """Make a little sound in each format."""
    _GOOD.clear()
    mono, stereo = tone(0.12, 8000), tone(0.06, 16_000, channels=2)
    made = [
        *(write(folder / f"{kind}.wav", mono, 8000, kind)
          for kind in ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM")),
        write(folder / "c.wav", tone(0.002, 192_000, channels=64), 192_000),
        write(folder / "a.flac", stereo, 16_000),
        write(folder / "a.ogg", mono, 8000, "VORBIS"),
        write(folder / "b.ogg", mono, 8000, "OPUS"),
        write(folder / "a.aiff", stereo, 16_000),
        write(folder / "a.au", mono, 8000),
        write(folder / "a.w64", mono, 8000),
        write(folder / "a.caf", mono, 8000),
        write(folder / "a.mp3", mono, 8000, "MPEG_LAYER_III"),
        encode(folder / "a.m4a", stereo, 16_000, "aac"),
        encode(folder / "a.mp4", mono, 16_000, "aac", video=True, fast=True),
        encode(folder / "a.webm", tone(0.1, 48_000), 48_000, "libopus"),
        encode(folder / "a.mkv", mono, 8000, "flac"),
        encode(folder / "a.aac", mono, 16_000, "aac"),
    ]  # fmt: skip
    for path in made:
        number = _NAMES.index(f"a{path.suffix}")
        _GOOD.append(bytes([number]) + path.read_bytes())
    raw = (tone(0.05, 8000) * 32767).astype("<i2").tobytes()
    _GOOD.extend(bytes([_RAW, form]) + raw for form in range(4))
    return list(_GOOD)


def _mutate(data: bytes, rng: Random) -> bytes:
    others = [case[1:] for case in _GOOD]
    name = data[0] % (_RAW + 1) if data else 0
    # Another name leads to another reader.
    if rng.random() < 0.15:
        name = rng.randrange(_RAW + 1)
    return bytes([name]) + spoil_bytes(data[1:], rng, others)


def _check(data: bytes, folder: Path) -> str:
    number = data[0] % (_RAW + 1) if data else _RAW
    with forbidding():
        if number == _RAW:
            return f"raw: {_hear_raw(data[1:])}"
        path = folder / _NAMES[number]
        path.write_bytes(data[1:])
        return f"{path.suffix}: {_hear_file(path)}"


def _hear_file(path: Path) -> str:
    try:
        source = FileSource(path)
    except StreamserError as error:
        return error.code
    try:
        require(source.rate >= 1 and source.channels >= 1, "a rate and channels")
        return _hear(source)
    finally:
        source._reader.close()


def _hear_raw(data: bytes) -> str:
    form = data[0] if data else 0
    encoding: Literal["s16le", "f32le"] = "f32le" if form & 1 else "s16le"
    channels = 1 + (form >> 1) % 5
    return _hear(RawSource(io.BytesIO(data[1:]), 8000, channels, encoding))


def _hear(source: AudioSource) -> str:
    """Hear a source to its end as the program does; the sound must be what was announced."""
    try:
        intake = Resampler(source.rate, source.channels)
        frames, samples = 0, 0
        for chunk in source.chunks():
            if isinstance(chunk, Gap):
                raise BrokenError("there are no gaps in files")
            require(chunk.dtype == np.float32, "float32")
            heard = intake.feed(chunk)
            require(bool(np.isfinite(heard).all()), "finite samples")
            frames += len(chunk)
            samples += len(heard)
            if frames > _MOST_FRAMES:
                source.stop()
                return "long"
        samples += len(intake.flush())
        require(abs(samples - frames * 16_000 / source.rate) <= 2, "as long as it was")
    except StreamserError as error:
        return error.code
    return "heard"


TARGET = Target(name="audio", seeds=_seeds, mutate=_mutate, check=_check, seconds=20.0)
