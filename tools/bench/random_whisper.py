"""A Whisper of real size with random weights: the speed is real, the words mean nothing.

    python -m tools.bench.random_whisper tiny /tmp/whisper
    streamser serve --asr whisper --asr-model /tmp/whisper

For measuring where no trained weights can be had. Layers, widths, heads, mel bands and the
51,865 tokens are those of OpenAI's multilingual models (github.com/openai/whisper, README and
``model.py``); every matrix is filled, by the seed, with normal values of variance 1 / inputs,
so that encoder and decoder do all the arithmetic of trained ones.

A decoder of nothing but random weights never says that it has ended, and would be timed at
448 tokens an utterance. So its positions speak louder than its layers: each holds the
embedding of a word, and less and less of it, for that of the end of text comes in and overtakes
it after ``WORDS`` words, 3 tokens a second of 5 s. Every utterance is answered alike, therefore,
give or take a word, whatever is heard and however long it is: layers run, but decide nothing.
The language is always English, and silence always speech.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.errors import ConfigError

__all__ = [
    "SIZES",
    "TIMES",
    "WORDS",
    "WhisperSize",
    "language_codes",
    "make_vocabulary",
    "write_random_whisper",
]

WORDS: Final = 15
TIMES: Final = 1501
"""Tokens for times, one for each 20 ms of 30 s."""

_MELS, _FRAMES, _STEPS = 80, 1500, 448
_TEXT_TOKENS = 50_257
_LANGUAGES = 99
_PROMPT = 4  # <|startoftranscript|><|en|><|transcribe|><|notimestamps|>
_LOUDNESS = 40.0
"""How far positions outweigh what the layers add, whose words differ by about 1 each."""
_SHARPNESS = 3.0
_VOICES: Final = (
    *("the", "and", "you", "that", "was", "for", "are", "with", "this", "have", "from", "they"),
    *("will", "what", "there", "when", "which", "their", "said", "each", "about", "how", "out"),
    *("them", "then", "many", "some", "these", "would", "other", "into", "more", "her", "two"),
)

_Matrix = npt.NDArray[np.float32]


class WhisperSize(msgspec.Struct, frozen=True):
    """Hold the width, the layers of encoder and decoder each, and the heads of a Whisper."""

    width: int
    layers: int
    heads: int


SIZES: Final[Mapping[str, WhisperSize]] = {
    "tiny": WhisperSize(384, 4, 6),
    "base": WhisperSize(512, 6, 8),
    "small": WhisperSize(768, 12, 12),
    "medium": WhisperSize(1024, 24, 16),
}


def write_random_whisper(size: str | WhisperSize, directory: Path, *, seed: int = 1) -> int:
    """Write a CTranslate2 Whisper in float16, as published ones are; return its parameters.

    Raises ``ConfigError`` for a size that is not in ``SIZES``, or a disk that refuses.
    """
    sizes = SIZES.get(size) if isinstance(size, str) else size
    if sizes is None:
        raise ConfigError(f"there is no Whisper {size!r} here: choose {', '.join(SIZES)}.")
    from ctranslate2.specs.whisper_spec import WhisperSpec

    # The hundredth language, Cantonese, came with large-v3.
    codes = language_codes()[:_LANGUAGES]
    tokenizer, vocabulary = make_vocabulary(_VOICES, codes, _TEXT_TOKENS)
    identify = tokenizer.token_to_id
    filler = _Filler(sizes.width, np.random.default_rng(seed))
    spec = WhisperSpec(sizes.layers, sizes.heads, sizes.layers, sizes.heads)
    embeddings = filler.unit_rows(len(vocabulary))
    filler.fill_encoder(spec.encoder)
    filler.fill_decoder(spec.decoder, embeddings, _positions(embeddings, identify))
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [identify("<|endoftext|>")]
    last = sizes.layers - 1
    spec.config.alignment_heads = [[last, head] for head in range(sizes.heads)]
    spec.config.lang_ids = [identify(f"<|{code}|>") for code in codes]
    spec.register_vocabulary(vocabulary)
    spec.validate()
    weights = {name: weight.numpy().size for name, weight in spec.variables().items()}
    del weights["decoder/projection/weight"]  # the embeddings again
    spec.optimize(quantization="float16")
    preprocessor = {"feature_size": _MELS, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        spec.save(str(directory))
        tokenizer.save(str(directory / "tokenizer.json"))
        (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    except OSError as error:
        raise ConfigError(f"{directory} cannot be written: {error.strerror}.") from None
    return int(sum(weights.values()))


class _Filler:
    """Fill a Transformer's matrices so that each layer keeps the scale of what it is given."""

    def __init__(self, width: int, rng: np.random.Generator) -> None:
        self._width = width
        self._rng = rng

    def unit_rows(self, rows: int) -> _Matrix:
        matrix = self._rng.standard_normal((rows, self._width), dtype=np.float32)
        return np.asarray(matrix / np.linalg.norm(matrix, axis=1, keepdims=True), np.float32)

    def fill_encoder(self, encoder: Any) -> None:
        width = self._width
        encoder.conv1.weight, encoder.conv1.bias = self._normal(width, _MELS, 3), _flat(0, width)
        encoder.conv2.weight, encoder.conv2.bias = self._normal(width, width, 3), _flat(0, width)
        encoder.position_encodings.encodings = _sinusoids(_FRAMES, width)
        self._fill_norm(encoder.layer_norm)
        for layer in encoder.layer:
            self._fill_layer(layer)

    def fill_decoder(self, decoder: Any, embeddings: _Matrix, positions: _Matrix) -> None:
        decoder.embeddings.weight = embeddings
        decoder.scale_embeddings = False
        decoder.position_encodings.encodings = positions
        decoder.projection.weight = embeddings
        self._fill_norm(decoder.layer_norm, _SHARPNESS)
        for layer in decoder.layer:
            self._fill_layer(layer)
            self._fill_norm(layer.attention.layer_norm)

    def _fill_layer(self, layer: Any) -> None:
        self._fill_norm(layer.self_attention.layer_norm)
        self._fill_norm(layer.ffn.layer_norm)
        for linear, rows, columns in self._linears(layer):
            linear.weight, linear.bias = self._normal(rows, columns), _flat(0, rows)

    def _linears(self, layer: Any) -> Iterator[tuple[Any, int, int]]:
        """Yield the linear maps of a layer with their output and input widths."""
        width = self._width
        queries_keys_values, out = layer.self_attention.linear
        yield queries_keys_values, 3 * width, width
        yield out, width, width
        if hasattr(layer, "attention"):
            queries, keys_values, out = layer.attention.linear
            yield queries, width, width
            yield keys_values, 2 * width, width
            yield out, width, width
        yield layer.ffn.linear_0, 4 * width, width
        yield layer.ffn.linear_1, width, 4 * width

    def _normal(self, *shape: int) -> _Matrix:
        scale = np.float32(1 / math.sqrt(math.prod(shape[1:])))
        return self._rng.standard_normal(shape, dtype=np.float32) * scale

    def _fill_norm(self, norm: Any, gain: float = 1) -> None:
        norm.gamma, norm.beta = _flat(gain, self._width), _flat(0, self._width)


def _positions(embeddings: _Matrix, identify: Any) -> _Matrix:
    """Return what each step of the decoder is told by its position: a word, or to end."""
    end = embeddings[identify("<|endoftext|>")]
    positions = np.repeat(_LOUDNESS * end[None], _STEPS, axis=0)
    # The first position is where Whisper reads the language and whether anybody speaks.
    positions[0] = _LOUDNESS * embeddings[identify("<|en|>")]
    for step in range(2 * WORDS - 1):
        word = embeddings[identify("Ġ" + _VOICES[step % len(_VOICES)])]
        ending = step / (2 * WORDS - 1)
        positions[_PROMPT - 1 + step] = _LOUDNESS * ((1 - ending) * word + ending * end)
    return positions


def _sinusoids(length: int, width: int) -> _Matrix:
    """Return Whisper's positions: sines, then cosines, of wavelengths from 2π to 10,000 · 2π."""
    rates = np.exp(-math.log(10_000) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def _flat(value: float, size: int) -> _Matrix:
    return np.full(size, value, np.float32)


def language_codes() -> Sequence[str]:
    """Return the languages of large-v3, a hundred; earlier models lack the last."""
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    codes: Sequence[str] = _LANGUAGE_CODES
    return codes


def make_vocabulary(
    words: Sequence[str], codes: Sequence[str], text_tokens: int | None
) -> tuple[Any, list[str]]:
    """Return a byte-level BPE in which every word is one token, and its vocabulary by id.

    One token, because faster-whisper never lets a model say a bare space. Text is filled up with
    tokens that nobody says to ``text_tokens`` of them, as a multilingual model has; ``None``: not.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in [*words, "-", "'"]:
        for piece, _ in byte_level.pre_tokenize_str(" " + word):
            for end in range(2, len(piece) + 1):
                if piece[:end] not in tokens:
                    tokens.append(piece[:end])
                    merges.append((piece[: end - 1], piece[end - 1]))
    if text_tokens is not None:
        tokens += [f"unused{i}" for i in range(text_tokens - len(tokens))]
    bpe = models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in codes)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    special += ["<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    times = [f"<|{i * 0.02:.2f}|>" for i in range(TIMES)]
    tokenizer.add_tokens([AddedToken(time, normalized=False) for time in times])
    vocabulary = [*tokens, *special, *times]
    if text_tokens is not None:
        # CTranslate2 takes a model as multilingual by its 51,865 tokens or, lately, by the empty
        # token that only OpenAI's multilingual vocabulary has.
        vocabulary[vocabulary.index("unused0")] = ""
    return tokenizer, vocabulary


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.random_whisper")
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    parameters = write_random_whisper(asked.size, asked.directory, seed=asked.seed)
    print(f"{asked.directory}: {parameters / 1e6:.0f} million random parameters")


if __name__ == "__main__":
    _main()
