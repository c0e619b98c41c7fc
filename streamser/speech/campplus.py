"""CAM++, the embedder of voices that comes with the program, and what it hears.

H. Wang et al., *CAM++: A Fast and Efficient Network for Speaker Verification Using Context-Aware
Masking* (2023, arXiv 2303.00332), weights of 3D-Speaker (Apache-2.0). docs/speakers.md says how
well it tells voices apart. Its front end is Kaldi's filter bank, here in numpy.

The network masks what it hears by what it heard in the mean, and ends with another mean over time.
Over what is given to the graph, as matrices: so a sound is heard once, however many windows of it
are described.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples, to_ms
from streamser.errors import AudioError
from streamser.graphs import open_part

Frames = npt.NDArray[np.float32]
"""Float32 [frames, 80]: logarithm of the power in each band, less its mean over the frames."""
Voice = npt.NDArray[np.float32]
Window = tuple[int, int]
"""A stretch of a sound: its first sample, and the one after its last."""
Weights = npt.NDArray[np.float32]

DIRECTORY: Final = Path(__file__).parents[1] / "assets" / "speakers"
GRAPH: Final = "voice.onnx"
BANDS: Final = 80
HOP: Final = 160
WINDOW: Final = 400
SHORTEST: Final = SAMPLE_RATE // 10
"""Samples (0.1 s) below which nothing is said of a voice."""
LONGEST: Final = 6 * SAMPLE_RATE
"""Samples that are heard in one pass: memory grows with them."""

_PLACE: Final = 2 * HOP
"""Samples from place to place: past its head the network hears every other frame."""
_SEGMENT: Final = 100
"""Places that share a mask where a sound is heard as a whole, as the network was taught."""
_HELD: Final = 37.5
"""Places (.75 s) that share a mask where windows are described, .."""
_HEARD: Final = 75
""".. and places (1.5 s) around them that it is made from."""
_FFT: Final = 512
_LOWEST_HERTZ: Final = 20.0
_PREEMPHASIS: Final = np.float32(0.97)
_FLOOR: Final = np.finfo(np.float32).eps
_SILENT: Final = 1e-6  # of samples in [-1, 1]: below what 16 bits can hold


class CampPlus:
    """Describe voices by 192 numbers; a ``WindowEmbedder``, for one thread.

    ``graph`` takes ``frames`` float32 [1, time, 80] and the three of ``TimeMeans``, and gives
    ``voices`` float32 [windows, 192].
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
        return [self._describe(sound, whole_means(_places(len(sound))))[0] for sound in batch]

    def embed_windows(self, sound: Samples, windows: Sequence[Window]) -> list[Voice]:
        """Describe windows of one sound, in order of their beginnings, as ``embed`` does.

        What windows share is heard once, 6 s in a pass. What is said of one differs a little from
        what ``embed`` says of it alone, as its neighbours are heard. Raises as ``embed`` does.
        """
        for first, last in windows:
            _check(sound[first:last])
        return [voice for some in _passes(windows) for voice in self._pass(sound, some)]

    def _pass(self, sound: Samples, windows: Sequence[Window]) -> list[Voice]:
        start, end = windows[0][0], max(last for _, last in windows)
        heard = sound[start:end]
        if len(windows) == 1:
            return self.embed([heard])
        return self._describe(
            heard, window_means(len(heard), [(a - start, b - start) for a, b in windows])
        )

    def _describe(self, sound: Samples, means: TimeMeans) -> list[Voice]:
        given = {"frames": kaldi_frames(sound)[None], **means._asdict()}
        (found,) = self._graph.run(["voices"], given)
        voices: Weights = found / np.linalg.norm(found, axis=1, keepdims=True)
        return list(voices)


class TimeMeans(NamedTuple):
    """Say over what the network takes means; there is a place each 20 ms.

    ``contexts`` float32 [places, masks]: the weight of each place in what a mask is made from, 2
    in sum. ``held`` [masks, places]: 1 where a mask holds. ``pooled`` [places, windows]: the weight
    of each place in what is said of a window, 1 in sum.
    """

    contexts: Weights
    held: Weights
    pooled: Weights


def whole_means(places: int) -> TimeMeans:
    """Return the means of the published network, for one window that is the whole sound.

    A mask is made from the whole and from a segment of 100 places, and holds in it.
    """
    segments = np.arange(places) // _SEGMENT
    held = (segments == np.arange(segments[-1] + 1)[:, None]).astype(np.float32)
    contexts = held.T / held.sum(axis=1) + np.float32(1 / places)
    return TimeMeans(contexts, held, np.full((places, 1), 1 / places, np.float32))


def window_means(length: int, windows: Sequence[Window]) -> TimeMeans:
    """Return the means for windows of a sound of so many samples, .1 s long or longer each.

    A mask is made from the 1.5 s around a stretch of .75 s, and holds in it: about what the network
    would have made it from in the windows that the stretch is part of.
    """
    places = _places(length)
    pooled = np.zeros((places, len(windows)), np.float32)
    for number, (start, end) in enumerate(windows):
        chosen = slice(-(-start // _PLACE), (end - WINDOW) // _PLACE + 1)
        pooled[chosen, number] = 1 / len(range(places)[chosen])
    edges = np.linspace(0, places, max(1, round(places / _HELD)) + 1).round().astype(int)
    contexts = np.zeros((places, len(edges) - 1), np.float32)
    held = np.zeros((len(edges) - 1, places), np.float32)
    around = min(places, _HEARD)
    for number, (first, last) in enumerate(pairwise(edges)):
        start = min(max(0, (first + last - around) // 2), places - around)
        contexts[start : start + around, number] = 2 / around
        held[number, first:last] = 1
    return TimeMeans(contexts, held, pooled)


def load_campplus(directory: Path = DIRECTORY) -> CampPlus:
    """Load the bundled embedder; raises ``ModelError`` where it is missing or damaged."""
    return CampPlus(open_part(directory, GRAPH, inputs=("frames", *TimeMeans._fields)))


def kaldi_frames(samples: Samples) -> Frames:
    """Return what CAM++ reads of a sound of n >= 400 samples, [1 + (n - 400) // 160, 80].

    Kaldi's ``compute-fbank-feats`` without dither: windows of 25 ms, 10 ms apart, mean taken
    out, pre-emphasis of .97, Povey's window, power spectrum of 512, triangles on the mel scale
    1127 ln(1 + f / 700) from 20 Hz to 8 kHz, natural logarithm. Then less the mean of each band.
    """
    # In float32, as Kaldi does: it takes half the time.
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    frames = frames - frames.mean(axis=1, keepdims=True)
    before = np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    spectrum = np.fft.rfft((frames - _PREEMPHASIS * before) * _povey(), _FFT)
    power = spectrum.real**2 + spectrum.imag**2
    levels = np.log(np.maximum(power @ _triangles(), _FLOOR))
    found: Frames = (levels - levels.mean(axis=0)).astype(np.float32, copy=False)
    return found


def _places(length: int) -> int:
    return (length - WINDOW) // _PLACE + 1


def _passes(windows: Sequence[Window]) -> Iterator[Sequence[Window]]:
    """Yield neighbours that are heard in one pass, as many as there is room for."""
    first = 0
    for number, (_, end) in enumerate(windows):
        if number > first and end - windows[first][0] > LONGEST:
            yield windows[first:number]
            first = number
    if windows:
        yield windows[first:]


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
def _povey() -> npt.NDArray[np.float32]:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))
    window: npt.NDArray[np.float32] = (hann**0.85).astype(np.float32)
    return window


@cache
def _triangles() -> npt.NDArray[np.float32]:
    """Return Kaldi's filters, of height 1, straight on the mel scale, [257, 80]."""
    mel = _mel(np.arange(_FFT // 2 + 1) * (SAMPLE_RATE / _FFT))[:, None]
    edges = np.linspace(_mel(_LOWEST_HERTZ), _mel(SAMPLE_RATE / 2), BANDS + 2)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (mel - low) / (centre - low), (high - mel) / (high - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    return filters.astype(np.float32)


def _mel(hertz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    mel: npt.NDArray[np.float64] = 1127.0 * np.log1p(np.asarray(hertz, np.float64) / 700.0)
    return mel
