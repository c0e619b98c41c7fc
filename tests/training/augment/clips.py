"""Real clips, synthesised speech and tones for the tests here, and how to measure them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

import streamser
from streamser.audio.clip import SAMPLE_RATE, Samples
from tests.data import shared_data

__all__ = [
    "active_power",
    "audible",
    "band_energy",
    "demo_clip",
    "real_clip",
    "real_clips",
    "tone",
    "write",
]


def real_clips(count: int = 3) -> list[Samples]:
    """Read some utterances of EmoDB, 3 s at most, or skip the test."""
    paths = sorted((shared_data("emodb") / "audio").glob("*.flac"))
    step = len(paths) // count
    return [soundfile.read(path, dtype="float32")[0][:48_000] for path in paths[::step][:count]]


def real_clip() -> Samples:
    """Read one of them."""
    return real_clips(1)[0]


def demo_clip() -> Samples:
    """Cut the first 3 s of speech out of the recording that every installation carries."""
    path = Path(streamser.__file__).parent / "assets" / "demo.flac"
    samples: Samples = soundfile.read(path, dtype="float32")[0][8_000:56_000]
    return samples


def tone(hertz: float, seconds: float = 1.0, level: float = 0.3) -> Samples:
    """Make a sine."""
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def write(path: Path, samples: npt.ArrayLike, rate: int = SAMPLE_RATE) -> Path:
    """Write a file by libsndfile and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(samples), rate, subtype="PCM_16")
    return path


def active_power(samples: Samples) -> tuple[float, npt.NDArray[np.bool_]]:
    """Find P.56's active level the long way: try every threshold, keep the one 15.9 dB below.

    Returns the mean power of the speech and which samples belong to it.
    """
    usable = samples[: len(samples) // 320 * 320].astype(np.float64)
    powers = (usable.reshape(-1, 320) ** 2).mean(axis=1)

    def miss(threshold: float) -> float:
        return float(abs(10 * np.log10(powers[powers >= threshold].mean() / threshold) - 15.9))

    best = min(np.unique(powers[powers > 0]), key=miss)
    return float(powers[powers >= best].mean()), np.repeat(powers >= best, 320)


def band_energy(samples: Samples, low: float, high: float) -> float:
    """Return the share of a clip's energy between two frequencies."""
    energy = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return float(energy[(hertz >= low) & (hertz < high)].sum() / energy.sum())


def audible(
    one: npt.NDArray[np.float32], other: npt.NDArray[np.float32], within: float = 60.0
) -> npt.NDArray[np.float64]:
    """Return how far two log-mel pictures differ in dB, apart from a gain.

    Only where the first is less than ``within`` dB below its own peak.
    """
    frames = min(len(one), len(other))
    heard = one[:frames] > one.max() - within
    apart = (one[:frames].astype(np.float64) - other[:frames])[heard]
    difference: npt.NDArray[np.float64] = np.abs(apart - np.median(apart))
    return difference
