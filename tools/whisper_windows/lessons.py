"""The unlabelled speech that an encoder is taught short windows with.

CREMA-D's spectrograms and EmoDB's clips, joined and cut off to all lengths that utterances and
partials have, some in noise. Actors of the test sets are left out, and so is every recording that
windows are measured with.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import soundfile

from streamser.errors import ConfigError
from streamser.speech.whisper_encoder import LogMel

__all__ = ["read_clips", "utterance", "whisper_mel"]

_Array = npt.NDArray[np.float64]
_BANDS: Final = 80
_DECADES: Final = 8.0
"""Whisper cuts its spectrograms so far below the peak, and CREMA-D's are cut there too."""
_EMODB: Final = {"train": ("03", "08", "09", "10", "11", "12", "13"), "dev": ("14",)}
_LENGTHS_S: Final = (0.7, 14.0)
_PEAKS: Final = (0.9, 1.7)
_SNR_DB: Final = (5.0, 25.0)


def read_clips(data: Path, split: str) -> list[LogMel]:
    """Read the speakers of a split, ``"train"`` or ``"dev"``, as log10 mel power [80, frames].

    The peak of each clip is at 0, its floor at -8. Raises ``ConfigError`` where recordings are
    missing.
    """
    try:
        return [*_cremad(data / "cremad_mel", split), *_emodb(data / "emodb", split)]
    except (OSError, KeyError, zipfile.BadZipFile, soundfile.LibsndfileError) as error:
        raise ConfigError(f"cremad_mel and emodb are not both in {data}: {error}") from error


def utterance(clips: Sequence[LogMel], rng: np.random.Generator) -> LogMel:
    """Make an utterance of 0.7 to some 15 s of clips drawn at random, scaled as Whisper wants it.

    Half of them break off somewhere in a word, and two in five are in noise.
    """
    goal = round(100 * float(np.exp(rng.uniform(*np.log(_LENGTHS_S)))))
    parts: list[LogMel] = []
    while sum(part.shape[1] for part in parts) < goal:
        quieter = rng.uniform(0.0, 0.8)
        clip = clips[int(rng.integers(len(clips)))] - np.float32(quieter)
        pause = np.full((_BANDS, int(rng.integers(5, 60))), -_DECADES, np.float32)
        parts += [clip, pause]
    joined = np.concatenate(parts[:-1], axis=1)
    if rng.random() < 0.5:
        joined = joined[:, :goal]
    if rng.random() < 0.4:
        joined = _in_noise(joined, rng)
    joined = np.maximum(joined - joined.max(), -_DECADES)
    return np.asarray(joined / 4 + rng.uniform(*_PEAKS), np.float32)


def whisper_mel(frames: npt.NDArray[np.uint8]) -> LogMel:
    """Turn CREMA-D's 128 bands every 16 ms [n, 128] into Whisper's 80 every 10 ms, as log10 power.

    A byte u is 80 u / 255 - 80 dB; both kinds of bands are Slaney's, from 0 to 8 kHz.
    """
    power = 10 ** ((frames.astype(np.float64).T / 255 * 80 - 80) / 10)
    log = np.log10(np.maximum(_bands_of(128) @ power, 10**-_DECADES))
    at = np.arange(int((len(frames) - 1) * 1.6) + 1) / 1.6
    left = np.minimum(at.astype(int), len(frames) - 2)
    part = at - left
    found = log[:, left] * (1 - part) + log[:, left + 1] * part
    return np.asarray(np.maximum(found - found.max(), -_DECADES), np.float32)


def _cremad(folder: Path, split: str) -> list[LogMel]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        wanted = {row["name"] for row in csv.DictReader(file) if row["split"] == split}
    with np.load(folder / "cremad_logmel128_dt_u8.npz") as archive:
        # Kept as differences in time, modulo 256.
        frames = np.cumsum(archive["mel_dt"], axis=0, dtype=np.uint8)
        places = zip(archive["name"], archive["offset"], archive["n_frames"], strict=True)
        return [
            whisper_mel(frames[offset : offset + count])
            for name, offset, count in places
            if str(name) in wanted and count > 1
        ]


def _emodb(folder: Path, split: str) -> list[LogMel]:
    from faster_whisper.feature_extractor import FeatureExtractor

    extract: Any = FeatureExtractor(feature_size=_BANDS)
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        paths = [
            row["path"] for row in csv.DictReader(file) if row["speaker"] in _EMODB.get(split, ())
        ]
    clips = []
    for path in paths:
        samples, _ = soundfile.read(folder / path, dtype="float32")
        scaled = extract(samples, padding=0)
        clips.append(np.asarray(4 * (scaled - scaled.max()), np.float32))
    return clips


def _in_noise(log_power: LogMel, rng: np.random.Generator) -> LogMel:
    """Add a stationary noise whose spectrum wanders, 5 to 25 dB below the mean power."""
    spectrum = np.cumsum(rng.normal(0, 0.12, _BANDS)) + rng.uniform(-1.5, 0.5) * np.linspace(
        0, 1, _BANDS
    )
    noise = 10 ** spectrum[:, None] * rng.gamma(4.0, 0.25, log_power.shape)
    power = 10 ** log_power.astype(np.float64)
    ratio = 10 ** (rng.uniform(*_SNR_DB) / 10)
    noise *= power.mean() / ratio / noise.mean()
    return np.asarray(np.log10(power + noise), np.float32)


def _bands_of(narrow: int) -> _Array:
    """Return what each of Whisper's bands takes of ``narrow`` narrower ones [80, narrow]."""
    centres, edges = _places(narrow)[1:-1], _places(_BANDS)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (centres - low) / (middle - low), (high - centres) / (high - middle)
    shares = np.maximum(0, np.minimum(rising, falling))
    return np.asarray(shares / shares.sum(1, keepdims=True), np.float64)


def _places(bands: int) -> _Array:
    top = 15 + np.log(8.0) / (np.log(6.4) / 27)
    return np.linspace(0.0, top, bands + 2)
