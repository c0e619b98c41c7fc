"""Whisper's encoder in numpy, which attends to silence that it has heard before.

Whisper has learnt from windows of 30 s alone. Fed with less, its decoder repeats itself or ends too
late (OpenNMT/CTranslate2, issue 2100; ``audio_ctx`` of whisper.cpp); fed with 30 s, the encoder
spends most of its time on silence that is the same every time. So only the utterance and half a
second behind it are encoded, and what the encoder has made of silence once, at the same places of
the window, is put behind them. The decoder then sees 30 s, and the words are those of a full
window, see docs/windows.md. Whatever the lengths, all windows come out alike and can be decoded
together.

In a window of 30 s nearly all that an utterance's frames attend to is silence, and they are used
to it: encoded with little silence behind, they come out changed, and words with them. So the
silence is encoded once, and its keys and values are remembered in every layer. An utterance is then
encoded alone, but attends to them as in the full window. Every fourth of them counts for four: its
scores are raised by log 4.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from threadpoolctl import ThreadpoolController

from streamser.errors import ModelError

LogMel: TypeAlias = npt.NDArray[np.float32]
"""Log-mel spectrograms, scaled as Whisper wants them: [..., bands, frames of 10 ms]."""
Encoded: TypeAlias = npt.NDArray[np.float32]
"""What the encoder makes of them: [..., frames / 2, width]."""

MARGIN_S: Final = 0.5
"""Silence encoded behind what was said, where the two would else meet too abruptly."""

_SILENT_LEVEL: Final = -0.5
"""The floor of the scaled log-mel spectrogram of speech whose peak is at 1.5, as is usual."""
_RANGE: Final = 2.0
_GRAIN: Final = 8
_LOWEST: Final = -1.5


def frames_needed(content: int, most: int, margin_s: float = MARGIN_S) -> int:
    """Return how many frames to encode for ``content`` frames of sound, ``most`` at most.

    A multiple of 8, as the encoder wants them.
    """
    needed = content + round(100 * margin_s)
    return min(most, needed + -needed % _GRAIN)


def pad(features: LogMel, frames: int) -> LogMel:
    """Cut features [bands, n] to ``frames``, or fill them up with their own silence.

    As OpenAI's ``pad_or_trim`` before ``log_mel_spectrogram``, but without transforming the
    silence: its value is known, for the dynamic range is cut 8 decades (2.0 after scaling)
    below the peak and at 1e-10.
    """
    floor = max(_LOWEST, float(features.max()) - _RANGE)
    padded = np.full((features.shape[0], frames), floor, dtype=np.float32)
    content = features[:, :frames]
    padded[:, : content.shape[1]] = content
    return padded


def silence(bands: int, frames: int) -> LogMel:
    """Return the features of silence, at the level that it has behind speech."""
    return np.full((bands, frames), _SILENT_LEVEL, dtype=np.float32)


def complete(encoded: Encoded, silent: Encoded) -> Encoded:
    """Put remembered silence [steps, width] behind an encoded window [n, width], n <= steps."""
    return np.concatenate([encoded, silent[len(encoded) :]])


_Array = npt.NDArray[np.float32]
_KINDS: Final[dict[int, type[Any]]] = {
    0: np.float32,
    1: np.int8,
    2: np.int16,
    3: np.int32,
    4: np.float16,
}
"""CTranslate2's numbers for what a variable is made of."""
_EVERY: Final = 4
_EPSILON: Final = 1e-5


class RememberingEncoder:
    """Encode utterances as in a window of 30 s, at the cost of the utterance alone.

    ``weights``: the encoder's, by CTranslate2's names, see ``read_encoder``. ``silent``
    [steps, width] is what it makes of 30 s of silence. Raises ``ModelError`` where a weight is
    missing.
    """

    silent: Encoded

    def __init__(self, weights: dict[str, _Array]) -> None:
        try:
            self._heads = int(weights["num_heads"])
            self._positions = weights["position_encodings/encodings"]
            self._convolutions = [_Convolution(weights, f"conv{number}") for number in (1, 2)]
            self._layers = list(_layers(weights, self._heads))
            self._norm = _Norm(weights, "layer_norm")
        except KeyError as error:
            raise ModelError(f"the Whisper model has no {error.args[0]} in its encoder") from None
        bands = weights["conv1/weight"].shape[1]
        self._blas = ThreadpoolController().select(user_api="blas")
        self._memory: list[tuple[_Array, _Array] | None] = [None] * len(self._layers)
        self.silent, self._memory = self._encode(silence(bands, 2 * len(self._positions)))

    def encode(self, features: LogMel) -> Encoded:
        """Encode a window [bands, frames] that begins with sound; return [frames / 2, width].

        The number of frames is a multiple of 8. One core is used.
        """
        return self._encode(features)[0]

    def _encode(self, features: LogMel) -> tuple[Encoded, list[tuple[_Array, _Array] | None]]:
        first, second = self._convolutions
        kept: list[tuple[_Array, _Array] | None] = []
        # Threads of BLAS that wait for one another spin, and eat the cores of everybody else.
        with self._blas.limit(limits=1):
            hidden = second(first(features.T, 1), 2)
            hidden += self._positions[: len(hidden)]
            for layer, remembered in zip(self._layers, self._memory, strict=True):
                hidden, own = layer(hidden, remembered)
                kept.append((own[0][:, ::_EVERY].copy(), own[1][:, ::_EVERY].copy()))
            return self._norm(hidden), kept


class _Norm:
    def __init__(self, weights: dict[str, _Array], name: str) -> None:
        self._gain, self._shift = weights[f"{name}/gamma"], weights[f"{name}/beta"]

    def __call__(self, values: _Array) -> _Array:
        centred = values - values.mean(axis=-1, keepdims=True)
        deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + _EPSILON)
        found: _Array = centred / deviation * self._gain + self._shift
        return found


class _Linear:
    def __init__(self, weights: dict[str, _Array], name: str) -> None:
        self._weight = np.ascontiguousarray(weights[f"{name}/weight"].T)
        self._bias = weights[f"{name}/bias"]

    def __call__(self, values: _Array) -> _Array:
        found: _Array = values @ self._weight
        found += self._bias
        return found


class _Convolution:
    """A convolution over three frames, with GELU behind it."""

    def __init__(self, weights: dict[str, _Array], name: str) -> None:
        kernel = weights[f"{name}/weight"]
        self._kernel = np.ascontiguousarray(kernel.transpose(2, 1, 0).reshape(-1, len(kernel)))
        self._bias = weights[f"{name}/bias"]

    def __call__(self, frames: _Array, stride: int) -> _Array:
        padded = np.pad(frames, ((1, 1), (0, 0)))
        three = np.concatenate([padded[:-2], padded[1:-1], padded[2:]], axis=1)[::stride]
        return _gelu(three @ self._kernel + self._bias)


class _Layer:
    def __init__(self, weights: dict[str, _Array], name: str, heads: int) -> None:
        self._heads = heads
        self._before = _Norm(weights, f"{name}/self_attention/layer_norm")
        self._project = _Linear(weights, f"{name}/self_attention/linear_0")
        self._out = _Linear(weights, f"{name}/self_attention/linear_1")
        self._between = _Norm(weights, f"{name}/ffn/layer_norm")
        self._wide = _Linear(weights, f"{name}/ffn/linear_0")
        self._narrow = _Linear(weights, f"{name}/ffn/linear_1")

    def __call__(
        self, values: _Array, remembered: tuple[_Array, _Array] | None
    ) -> tuple[_Array, tuple[_Array, _Array]]:
        """Return what comes out [steps, width], and keys and values [heads, steps, width / heads].

        What is remembered from the steps behind is attended to as well.
        """
        steps, width = values.shape
        projected = self._project(self._before(values)).reshape(steps, 3, self._heads, -1)
        queries, keys, contents = projected.transpose(1, 2, 0, 3)
        queries = queries * np.float32(queries.shape[-1] ** -0.5)
        attended = np.empty((steps, self._heads, width // self._heads), np.float32)
        # Head by head: the scores of all at once would outgrow the caches.
        for head in range(self._heads):
            scores = queries[head] @ keys[head].T
            content = contents[head]
            if remembered is not None:
                behind = slice(steps // _EVERY, None)
                more = queries[head] @ remembered[0][head, behind].T + np.float32(math.log(_EVERY))
                scores = np.concatenate([scores, more], axis=1)
                content = np.concatenate([content, remembered[1][head, behind]])
            scores -= scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            attended[:, head] = (scores @ content) / scores.sum(axis=1, keepdims=True)
        values = values + self._out(attended.reshape(steps, width))
        values += self._narrow(_gelu(self._wide(self._between(values))))
        return values, (keys, contents)


def read_encoder(path: Path) -> dict[str, _Array]:
    """Read the encoder's weights from CTranslate2's ``model.bin``, as float32, by name.

    Raises ``ModelError`` where the file is of a kind that this does not read.
    """
    try:
        with path.open("rb") as file:
            found = {name[8:]: values for name, values in _variables(file)}
    except (OSError, struct.error, ValueError, KeyError, UnicodeDecodeError) as error:
        raise ModelError(f"the weights in {path} cannot be read ({error})") from error
    scales = {
        name[: -len("_scale")]: found.pop(name) for name in list(found) if name.endswith("_scale")
    }
    for name, scale in scales.items():
        found[name] = found[name] / scale.reshape(-1, *[1] * (found[name].ndim - 1))
    return found


def _variables(file: BinaryIO) -> Iterator[tuple[str, _Array]]:
    """Yield the name and the values of every variable of the encoder."""
    _take(file, "<I")
    _text(file)
    (_revision, count) = _take(file, "<II")
    places: dict[str, tuple[tuple[int, ...], int, int, int]] = {}
    for _ in range(count):
        name = _text(file)
        (rank,) = _take(file, "<B")
        shape = _take(file, f"<{rank}I")
        kind, size = _take(file, "<BI")
        places[name] = (shape, kind, size, file.tell())
        file.seek(size, 1)
    (count,) = _take(file, "<I")
    for _ in range(count):
        # What several variables have in common is written once.
        alias = _text(file)
        places[alias] = places[_text(file)]
    for name, (shape, kind, size, place) in places.items():
        if name.startswith("encoder/"):
            file.seek(place)
            values = np.frombuffer(file.read(size), _KINDS[kind])
            yield name, values.reshape(shape).astype(np.float32)


def _text(file: BinaryIO) -> str:
    (length,) = _take(file, "<H")
    return file.read(length)[:-1].decode()


def _take(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _layers(weights: dict[str, _Array], heads: int) -> Iterator[_Layer]:
    number = 0
    while any(name.startswith(f"layer_{number}/") for name in weights):
        yield _Layer(weights, f"layer_{number}", heads)
        number += 1


def _gelu(values: _Array) -> _Array:
    """Return x Φ(x), Φ by the logistic form of tanh's approximation (Hendrycks & Gimpel 2016)."""
    inner: _Array = np.square(values)
    inner *= np.float32(-2 * 0.7978845608 * 0.044715)
    inner += np.float32(-2 * 0.7978845608)
    inner *= values
    # Beyond this the exponential overflows, and Φ is 0.
    np.minimum(inner, np.float32(80), out=inner)
    np.exp(inner, out=inner)
    inner += np.float32(1)
    found: _Array = values / inner
    return found
