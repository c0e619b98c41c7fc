"""Responses of rooms, which begin at the direct sound: what is heard is never late."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.training.augment.bands import MEL, Grid, band_gain
from streamser.training.augment.recordings import Recording, list_recordings, read_recording

__all__ = ["band_decay", "draw_room", "list_rooms"]

_LONGEST = 2 * SAMPLE_RATE
# An office to a hall, spoken to from near to a few metres; first echo after 0.7 to 2.7 m more.
_REVERBERATION_S = (0.15, 1.0)
_DIRECT_TO_REVERBERANT_DB = (-3.0, 12.0)
_FIRST_ECHO_S = (0.002, 0.008)


def list_rooms(folder: Path | None) -> tuple[Recording, ...]:
    """List a folder's responses; none means synthetic ones. Raises ``ConfigError``."""
    return () if folder is None else list_recordings(folder, "room responses")


def draw_room(rooms: tuple[Recording, ...], rng: np.random.Generator) -> Samples:
    """Draw a response of 2 s at most whose first sample, the direct sound, is 1.

    The direct sound of a recorded response is its largest sample; what comes before is left
    out. Synthetic ones are an exponentially decaying noise (reverberation time 0.15 to 1 s)
    behind the direct sound. Raises ``AudioError`` where a file has become unreadable.
    """
    if rooms:
        return _from_direct(read_recording(rooms[rng.integers(len(rooms))], 0, 2 * _LONGEST))
    seconds = float(np.exp(rng.uniform(*np.log(_REVERBERATION_S))))
    ratio_db = rng.uniform(*_DIRECT_TO_REVERBERANT_DB)
    silent = round(rng.uniform(*_FIRST_ECHO_S) * SAMPLE_RATE)
    length = round(seconds * SAMPLE_RATE)
    time = np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE)
    tail = rng.standard_normal(length, dtype=np.float32)
    # 60 dB of power in the reverberation time is a factor of 1000 in amplitude.
    tail *= np.exp(time * np.float32(-np.log(1000) / seconds))
    tail[:silent] = 0
    tail *= np.float32(10 ** (-ratio_db / 20)) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail


def _from_direct(response: Samples) -> Samples:
    # A recorder's offset, summed over seconds of response, would outweigh the room.
    level = response - response.mean() if len(response) > SAMPLE_RATE // 10 else response
    if not level.any():
        return np.ones(1, dtype=np.float32)
    direct = int(np.abs(level).argmax())
    cut: Samples = level[direct : direct + _LONGEST] / level[direct]
    return cut


def band_decay(response: Samples, grid: Grid = MEL) -> npt.NDArray[np.float64]:
    """Return what comes 0, 1, 2 … frames late in each band, as power gains [K, bands].

    What comes between two frames is shared by both: windows of two frames whose squares sum to
    1. A response of one sample gives ones.
    """
    from scipy import fft

    hop = grid.hop
    length = hop * (2 + len(response) // hop)
    padded = np.pad(response, (hop, length - len(response)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * hop)[::hop]
    sine = np.sin(np.pi * np.arange(2 * hop) / (2 * hop)).astype(np.float32)
    spectrum = fft.rfft(windows * sine, grid.window, axis=1)
    return band_gain(np.square(spectrum.real) + np.square(spectrum.imag), grid)
