"""What a microphone or a line does to each frequency: random equalisers and the telephone band."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.training.augment.bands import bin_hertz, hertz_to_mel

__all__ = ["Equaliser", "Response", "Telephone", "draw_equaliser", "filter_sound"]

Array = npt.NDArray[np.float64]

_KNOTS = 7
_EQUALISER_DB = 10.0
_TELEPHONE_HZ = (300.0, 3400.0)
_TELEPHONE_ORDERS = (4, 20)


class Response(Protocol):
    """Give the gain of each frequency; no response shifts anything in time."""

    def power_gain(self, hertz: Array) -> Array:
        """Return the factor of the power at each frequency, 0 and more."""
        ...


class Equaliser(NamedTuple):
    """Hold gains in dB at knots that are evenly spaced in mel from 0 to 8 kHz."""

    decibels: tuple[float, ...]

    def power_gain(self, hertz: Array) -> Array:
        """Return the gains: half cosines from knot to knot, never outside of their range."""
        top = float(hertz_to_mel(SAMPLE_RATE / 2))
        place = np.clip(hertz_to_mel(hertz) / top, 0, 1) * (len(self.decibels) - 1)
        before = np.floor(place)
        eased = before + (1 - np.cos(np.pi * (place - before))) / 2
        curve = np.interp(eased, np.arange(len(self.decibels)), self.decibels)
        gain: Array = 10 ** (curve / 10)
        return gain


class Telephone(NamedTuple):
    """Pass 300 to 3400 Hz, 3 dB less at both ends and steeply less outside.

    ``narrow`` leaves nothing above 4 kHz, as a line of 8000 samples a second does.
    """

    narrow: bool

    def power_gain(self, hertz: Array) -> Array:
        """Return the gains of a Butterworth high-pass and low-pass of orders 4 and 20."""
        low, high = _TELEPHONE_HZ
        rising, falling = _TELEPHONE_ORDERS
        gain: Array = 1 / (1 + (low / np.maximum(hertz, 1)) ** (2 * rising))
        gain /= 1 + (hertz / high) ** (2 * falling)
        return np.where(hertz > 4000, 0.0, gain) if self.narrow else gain


def draw_equaliser(rng: np.random.Generator) -> Equaliser:
    """Draw a smooth curve within ±10 dB."""
    return Equaliser(tuple(rng.uniform(-_EQUALISER_DB, _EQUALISER_DB, _KNOTS)))


def filter_sound(samples: Samples, response: Response) -> Samples:
    """Apply a response by a symmetric filter of 1023 taps: same length, no delay."""
    from scipy import signal

    amplitude = np.sqrt(response.power_gain(bin_hertz()))
    taps = np.fft.fftshift(np.fft.irfft(amplitude))[1:]
    windowed = (taps * signal.windows.hann(len(taps))).astype(np.float32)
    filtered: Samples = signal.fftconvolve(samples, windowed, mode="same")
    return filtered
