"""Synthesise voices whose pitch, loudness and effort are known exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples

__all__ = ["glide", "in_noise", "sing", "speak"]

Floats = npt.NDArray[np.float64]

_FORMANTS = ((600.0, 90.0), (1400.0, 120.0), (2600.0, 180.0))
_HIGHEST_HZ = 5000.0


def glide(start_hz: float, end_hz: float, seconds: float) -> Floats:
    """Return an F0 contour [n] that moves evenly in octaves."""
    return np.asarray(np.geomspace(start_hz, end_hz, round(seconds * SAMPLE_RATE)), np.float64)


def sing(f0: Floats, *, level_db: float = -20.0, tilt_db: float = -12.0) -> Samples:
    """Voice an F0 contour [n] in Hz: harmonics under three formants, RMS in dB re full scale.

    ``tilt_db`` per octave is the slope of the source: -6 shouts, -18 is soft.
    """
    phase = 2.0 * np.pi * np.cumsum(f0) / SAMPLE_RATE
    sound = np.zeros_like(f0)
    for number in range(1, int(_HIGHEST_HZ / f0.min()) + 1):
        hz = number * f0
        gain = 10.0 ** (tilt_db * np.log2(number) / 20.0)
        envelope = sum(1.0 / (1.0 + ((hz - f) / bw) ** 2) for f, bw in _FORMANTS) + 0.02
        sound += gain * envelope * (hz < _HIGHEST_HZ) * np.sin(number * phase)
    sound *= 10.0 ** (level_db / 20.0) / np.sqrt(np.mean(sound**2))
    return sound.astype(np.float32)


def speak(hz: float, *, level_db: float = -20.0, tilt_db: float = -12.0) -> Samples:
    """Return 1.5 s of five syllables that fall around a pitch, with pauses between them."""
    pause = np.zeros(round(0.06 * SAMPLE_RATE), np.float32)
    syllables = []
    for step in (1.0, 1.06, 1.0, 0.97, 0.93):
        contour = glide(hz * step * 1.03, hz * step * 0.97, 0.24)
        syllables += [sing(contour, level_db=level_db, tilt_db=tilt_db), pause]
    return np.concatenate(syllables)


def in_noise(samples: Samples, snr_db: float, seed: int = 0) -> Samples:
    """Add white noise at a signal-to-noise ratio."""
    noise = np.random.default_rng(seed).standard_normal(len(samples))
    power = float(np.mean(samples.astype(np.float64) ** 2))
    noise *= np.sqrt(power / 10.0 ** (snr_db / 10.0))
    return (samples + noise).astype(np.float32)
