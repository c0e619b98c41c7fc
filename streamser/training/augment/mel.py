"""The variations of log-mel frames, for corpora whose recordings cannot be had.

Each follows what ``sound`` does to a recording as far as powers in mel bands can tell; phases
are unknown, so powers of independent sounds add. ``grid`` says which bands and frames these are.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.frontend import RANGE_DB, Mel
from streamser.training.augment import bands
from streamser.training.augment.sound import (
    SoundFile,
    Variation,
    band_decay,
    noise_piece,
    noise_scale,
)

Array = npt.NDArray[np.float64]


def vary_mel(
    decibels: npt.NDArray[np.float32],
    variation: Variation,
    noises: tuple[SoundFile, ...],
    rng: np.random.Generator,
    grid: bands.MelGrid = bands.MEL,
) -> npt.NDArray[np.float32]:
    """Apply a variation to frames [T, bands] in dB; the very same array where it changes nothing.

    A gain changes nothing by definition: only differences mean something in these features.
    The result spans 80 dB below its largest value at most, as the ready-made features do.
    """
    speed, room, snr_db, responses, _ = variation
    if (speed == 1 and room is None and snr_db is None and not responses) or not len(decibels):
        return decibels
    varied: Array = decibels.astype(np.float64)
    if speed != 1:
        varied = change_speed(varied, speed, grid)
    power = 10 ** (varied / 10)
    if room is not None:
        power = reverberate(power, room, grid)
    if snr_db is not None:
        noise = noise_piece(noises, grid.hop * (len(power) - 1) + grid.window, rng)
        power = add_noise(power, noise, snr_db, grid)
    for response in responses:
        power = filter_bands(power, response, grid)
    levels: Array = 10 * np.log10(np.maximum(power, power.max() * 10 ** (-RANGE_DB / 10)))
    return levels.astype(np.float32)


def vary_both(
    mel: Mel, variation: Variation, noises: tuple[SoundFile, ...], rng: np.random.Generator
) -> Mel:
    """Apply a variation to ready-made features, on both grids: the very same where none changes."""
    # The same draws for both: it is one sound, with one noise.
    again = copy.deepcopy(rng)
    varied = vary_mel(mel.decibels, variation, noises, rng)
    if varied is mel.decibels or mel.whisper is None:
        return mel if varied is mel.decibels else Mel(varied)
    fine = vary_mel(10 * mel.whisper, variation, noises, again, bands.WHISPER)
    return Mel(varied, fine / np.float32(10))


def change_speed(decibels: Array, factor: float, grid: bands.MelGrid = bands.MEL) -> Array:
    """Play ``factor`` times as fast: frames / factor, every frequency × factor.

    Linear interpolation of dB along both axes. What comes from above 8 kHz is nothing.
    """
    frames = max(1, round(len(decibels) / factor))
    time = np.minimum(np.arange(frames) * factor, len(decibels) - 1)
    before = np.minimum(time.astype(np.int64), max(len(decibels) - 2, 0))
    after = np.minimum(before + 1, len(decibels) - 1)
    share = (time - before)[:, None]
    stretched = decibels[before] * (1 - share) + decibels[after] * share
    centres = bands.band_centres(grid)
    source_hz = centres / factor
    place = np.interp(
        bands.hertz_to_mel(source_hz), bands.hertz_to_mel(centres), np.arange(grid.bands)
    )
    below = np.minimum(place.astype(np.int64), grid.bands - 2)
    share = place - below
    shifted: Array = stretched[:, below] * (1 - share) + stretched[:, below + 1] * share
    shifted[:, source_hz > SAMPLE_RATE / 2] = decibels.max() - RANGE_DB
    return shifted


def reverberate(power: Array, response: Samples, grid: bands.MelGrid = bands.MEL) -> Array:
    """Smear powers in time as a room of this response does; their weighted sum stays."""
    wet, widths = np.zeros_like(power), bands.band_widths(grid)
    for late, gains in enumerate(band_decay(response, grid)[: len(power)]):
        wet[late:] += gains * power[: len(power) - late]
    scale = (power @ widths).sum() / (wet @ widths).sum()
    scaled: Array = wet * scale
    return scaled


def add_noise(
    power: Array, noise: Samples, snr_db: float, grid: bands.MelGrid = bands.MEL
) -> Array:
    """Add the powers of a noise of hop (T - 1) + window samples at a ratio held during speech.

    A frame's power is the sum of its bands, weighted by their widths (see ``noise_scale``).
    """
    beside = bands.band_power(noise, len(power), grid).astype(np.float64)
    widths = bands.band_widths(grid)
    noisy: Array = power + beside * noise_scale(power @ widths, beside @ widths, snr_db)
    return noisy


def filter_bands(power: Array, response: bands.Response, grid: bands.MelGrid = bands.MEL) -> Array:
    """Weight each band by the mean of a response over it."""
    return power * bands.band_gain(response.power_gain(bands.bin_hertz(grid)), grid)


_TIME_MASKS = 2
_BAND_MASKS = 2


def mask_features(
    values: npt.NDArray[np.float32],
    time_share: float,
    band_share: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Hide up to two stretches of time and two of bands of one clip's features [T, F].

    Together they hide at most these shares of the frames and of the bands. What is hidden
    becomes the mean of all the clip's values: a single number, since a mean of each band
    would still tell the spectrum. The very same array where nothing is hidden.
    """
    if not values.size or not (time_share or band_share):
        return values
    hidden = np.zeros(values.shape, dtype=bool)
    for at, width in _stretches(values.shape[0], time_share, _TIME_MASKS, rng):
        hidden[at : at + width] = True
    for at, width in _stretches(values.shape[1], band_share, _BAND_MASKS, rng):
        hidden[:, at : at + width] = True
    if not hidden.any():
        return values
    return np.where(hidden, values.mean(dtype=np.float64).astype(values.dtype), values)


def _stretches(
    length: int, share: float, count: int, rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Draw starts and widths; the widths are uniform and sum to ``share * length`` at most."""
    widest = int(share * length / count + 1e-9)
    if not widest:
        count, widest = 1, int(share * length + 1e-9)
    widths = rng.integers(0, widest, size=count, endpoint=True)
    return [(int(rng.integers(0, length - width, endpoint=True)), int(width)) for width in widths]
