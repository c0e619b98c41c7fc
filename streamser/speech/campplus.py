"""CAM++, the embedder of voices that comes with the program, and what it hears.

H. Wang et al., *CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking* (2023, arXiv 2303.00332), weights of 3D-Speaker (Apache-2.0). docs/speakers.md says how
well it tells voices apart. Its front end is Kaldi's filter bank, here in numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples, to_ms
from streamser.errors import AudioError
from streamser.graphs import open_part

Frames = npt.NDArray[np.float32]
"""Float32 [frames, 80]: logarithm of the power in each band, less its mean over the frames."""
Voice = npt.NDArray[np.float32]

DIRECTORY: Final = Path(__file__).parents[1] / "assets" / "speakers"
GRAPH: Final = "voice.onnx"
BANDS: Final = 80
HOP: Final = 160
WINDOW: Final = 400
SHORTEST: Final = SAMPLE_RATE // 10
"""Samples (0.1 s) below which nothing is said of a voice."""

_FFT: Final = 512
_LOWEST_HERTZ: Final = 20.0
_PREEMPHASIS: Final = 0.97
_FLOOR: Final = float(np.finfo(np.float32).eps)
_SILENT: Final = 1e-6  # of samples in [-1, 1]: below what 16 bits can hold


class CampPlus:
    """Describe voices by 192 numbers; a ``SpeakerEmbedder``, for one thread.

    ``graph`` takes ``frames`` float32 [1, time, 80], and gives ``voice`` float32 [1, 192].
    """

    name = "campplus"

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def embed(self, batch: Sequence[Samples]) -> list[Voice]:
        """Describe sounds at 16 kHz, each float32 [n] in [-1, 1], by unit vectors [192].

        Raises ``AudioError`` where one is shorter than 0.1 s, silent, or not finite; then
        nothing is computed.
        """
        for sound in batch:
            _check(sound)
        return [self._describe(sound) for sound in batch]

    def _describe(self, sound: Samples) -> Voice:
        (found,) = self._graph.run(["voice"], {"frames": kaldi_frames(sound)[None]})
        voice: Voice = found[0] / np.linalg.norm(found[0])
        return voice


def load_campplus(directory: Path = DIRECTORY) -> CampPlus:
    """Load the bundled embedder; raises ``ModelError`` where it is missing or damaged."""
    return CampPlus(open_part(directory, GRAPH, inputs=("frames",)))


def kaldi_frames(samples: Samples) -> Frames:
    """Return what CAM++ reads of a sound of n >= 400 samples, [1 + (n - 400) // 160, 80].

    Kaldi's ``compute-fbank-feats`` without dither: windows of 25 ms, 10 ms apart, mean taken
    out, pre-emphasis of .97, Povey's window, power spectrum of 512, triangles on the mel scale
    1127 ln(1 + f / 700) from 20 Hz to 8 kHz, natural logarithm. Then less the mean of each band.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP].astype(np.float64)
    frames -= frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = np.fft.rfft((frames - _PREEMPHASIS * before) * _povey(), _FFT)
    power = spectrum.real**2 + spectrum.imag**2
    levels = np.log(np.maximum(power @ _triangles(), _FLOOR))
    found: Frames = (levels - levels.mean(axis=0)).astype(np.float32)
    return found


def _check(sound: Samples) -> None:
    if len(sound) < SHORTEST:
        raise AudioError(
            f"{to_ms(len(sound))} ms say nothing of a voice: {to_ms(SHORTEST)} ms are the least"
        )
    loudest = float(np.abs(sound).max())
    if not np.isfinite(loudest):
        raise AudioError("a sound with samples that are no numbers says nothing of a voice")
    if loudest < _SILENT:
        raise AudioError("silence says nothing of a voice")


@cache
def _povey() -> npt.NDArray[np.float64]:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))
    window: npt.NDArray[np.float64] = hann**0.85
    return window


@cache
def _triangles() -> npt.NDArray[np.float64]:
    """Return Kaldi's filters, of height 1, straight on the mel scale, [257, 80]."""
    mel = _mel(np.arange(_FFT // 2 + 1) * (SAMPLE_RATE / _FFT))[:, None]
    edges = np.linspace(_mel(_LOWEST_HERTZ), _mel(SAMPLE_RATE / 2), BANDS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (mel - low) / (centre - low), (high - mel) / (high - centre)
    filters: npt.NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    return filters


def _mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    mel: npt.NDArray[np.float64] = 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)
    return mel
