"""Build a 1 MB Whisper that hears a given sentence in any sound, without torch or downloads.

It is a real CTranslate2 model, loaded and run by the real faster-whisper. The decoder's layers
are zeroed, so that a step's output depends on its position alone, and the positional embedding
at each step points at the embedding of the token that belongs there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tools.bench.random_whisper import language_codes, make_vocabulary

__all__ = ["build_babbling_whisper", "build_scripted_whisper"]

_WIDTH = 64
_ENGLISH_PROMPT = 2  # <|startoftranscript|><|notimestamps|>
_MULTILINGUAL_PROMPT = 4  # … with <|language|><|transcribe|> between
_MULTILINGUAL_VOCABULARY = 51_866
_NOT_TEXT = 1609  # a hundred languages, eight others that are special, 1501 times


def build_scripted_whisper(
    directory: Path, text: str, *, language: str | None = None, no_speech: bool = False
) -> Path:
    """Write a CTranslate2 Whisper that answers ``text`` to any sound; return the directory.

    English-only, unless a ``language`` code makes it a multilingual model that always detects
    that one. ``no_speech`` makes it sure that nobody spoke (while it says the text all the
    same). Words are separated by single spaces; the alignment heads place the first in the
    first half second of the sound, the second in the second, and so on.
    """
    tokenizer, vocabulary = _vocabulary(text, multilingual=language is not None)
    identify = tokenizer.token_to_id
    end = identify("<|endoftext|>")
    answer = [*tokenizer.encode(" " + text.strip()).ids, end] if text.strip() else [end]
    rng = np.random.default_rng(0)
    embeddings = _unit_rows(len(vocabulary), rng)
    positions = np.repeat(10 * embeddings[[end]], 448, axis=0)
    prompt = _ENGLISH_PROMPT if language is None else _MULTILINGUAL_PROMPT
    for step, token in enumerate(answer):
        positions[prompt - 1 + step] = 10 * embeddings[token]
    # The first position is where Whisper reads the language and whether anybody speaks.
    if language is not None:
        positions[0] = 10 * embeddings[identify(f"<|{language}|>")]
    if no_speech:
        positions[0] = 10 * embeddings[identify("<|nospeech|>")]

    spec = _spec()
    _fill_encoder(spec.encoder, rng, hearing=0.0)
    _fill_decoder(spec.decoder, embeddings, positions)
    _point_heads(spec, [embeddings[token] for token in answer])
    return _save(spec, directory, tokenizer, vocabulary)


def build_babbling_whisper(directory: Path, seed: int = 0, quantization: str | None = None) -> Path:
    """Write an English CTranslate2 Whisper of random weights: what it says depends on the sound."""
    rng = np.random.default_rng(seed)
    tokenizer, vocabulary = _vocabulary("ba da ga bu du gu bi di gi be de ge", multilingual=False)
    embeddings = _unit_rows(len(vocabulary), rng)
    spec = _spec()
    _fill_encoder(spec.encoder, rng, hearing=0.3)
    _fill_decoder(spec.decoder, embeddings, _unit_rows(448, rng))
    for layer in spec.decoder.layer:
        for linear, rows, columns in _linears(layer):
            linear.weight = (0.3 * rng.standard_normal((rows, columns))).astype(np.float32)
    return _save(spec, directory, tokenizer, vocabulary, quantization)


def _spec() -> Any:
    from ctranslate2.specs.whisper_spec import WhisperSpec

    return WhisperSpec(2, 2, 2, 2)


def _save(
    spec: Any,
    directory: Path,
    tokenizer: Any,
    vocabulary: Sequence[str],
    quantization: str | None = None,
) -> Path:
    identify = tokenizer.token_to_id
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [identify("<|endoftext|>")]
    spec.config.alignment_heads = [[1, 0], [1, 1]]
    spec.config.lang_ids = [identify(f"<|{code}|>") for code in language_codes()]
    spec.register_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization=quantization)
    directory.mkdir(parents=True, exist_ok=True)
    spec.save(str(directory))
    tokenizer.save(str(directory / "tokenizer.json"))
    preprocessor = {"feature_size": 80, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return directory


def _unit_rows(rows: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    matrix = rng.standard_normal((rows, _WIDTH)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return matrix


def _vocabulary(text: str, *, multilingual: bool) -> tuple[Any, list[str]]:
    tokens = _MULTILINGUAL_VOCABULARY - _NOT_TEXT if multilingual else None
    return make_vocabulary(text.split(), language_codes(), tokens)


def _fill_encoder(encoder: Any, rng: np.random.Generator, hearing: float) -> None:
    """Fill in random weights of the given scale; 0 makes the encoder deaf."""

    def random(*shape: int) -> npt.NDArray[np.float32]:
        return (hearing * rng.standard_normal(shape)).astype(np.float32)

    encoder.conv1.weight, encoder.conv1.bias = random(_WIDTH, 80, 3), _flat(0)
    encoder.conv2.weight, encoder.conv2.bias = random(_WIDTH, _WIDTH, 3), _flat(0)
    encoder.position_encodings.encodings = _unit_rows(1500, rng)
    _fill_norm(encoder.layer_norm)
    for layer in encoder.layer:
        _fill_norm(layer.self_attention.layer_norm)
        _fill_norm(layer.ffn.layer_norm)
        for linear, rows, columns in _linears(layer):
            linear.weight, linear.bias = random(rows, columns), _flat(0, rows)


def _fill_decoder(decoder: Any, embeddings: Any, positions: Any) -> None:
    decoder.embeddings.weight = embeddings
    decoder.scale_embeddings = False
    decoder.position_encodings.encodings = positions
    decoder.projection.weight = embeddings
    _fill_norm(decoder.layer_norm, 3)
    for layer in decoder.layer:
        _fill_norm(layer.self_attention.layer_norm)
        _fill_norm(layer.attention.layer_norm)
        _fill_norm(layer.ffn.layer_norm)
        for linear, rows, columns in _linears(layer):
            linear.weight = np.zeros((rows, columns), np.float32)
            linear.bias = _flat(0, rows)


def _point_heads(spec: Any, answer: Sequence[npt.NDArray[np.float32]]) -> None:
    """Make the last layer's cross-attention of step k look at the k-th half second.

    The values stay zero, so that what is attended to changes nothing in the answer. Encoder
    positions of one half second share a key, towards which the step's query is turned.
    """
    half_second = 25  # encoder steps of 20 ms
    keys = np.eye(_WIDTH, dtype=np.float32)
    seconds = np.minimum(np.arange(1500) // half_second, len(answer) - 1) % (_WIDTH // 2)
    spec.encoder.position_encodings.encodings = keys[seconds]
    queries, keys_values, _ = spec.decoder.layer[-1].attention.linear
    for head in (0, _WIDTH // 2):
        for step, embedding in enumerate(answer[: _WIDTH // 2]):
            queries.weight[head + step] = 3 * embedding
            keys_values.weight[head + step, step] = 3


def _linears(layer: Any) -> Iterator[tuple[Any, int, int]]:
    """Yield the linear maps of a Transformer layer with their output and input widths."""
    queries_keys_values, out = layer.self_attention.linear
    yield queries_keys_values, 3 * _WIDTH, _WIDTH
    yield out, _WIDTH, _WIDTH
    if hasattr(layer, "attention"):
        queries, keys_values, out = layer.attention.linear
        yield queries, _WIDTH, _WIDTH
        yield keys_values, 2 * _WIDTH, _WIDTH
        yield out, _WIDTH, _WIDTH
    yield layer.ffn.linear_0, 2 * _WIDTH, _WIDTH
    yield layer.ffn.linear_1, _WIDTH, 2 * _WIDTH


def _fill_norm(norm: Any, gain: float = 1) -> None:
    norm.gamma, norm.beta = _flat(gain), _flat(0)


def _flat(value: float, size: int = _WIDTH) -> npt.NDArray[np.float32]:
    return np.full(size, value, np.float32)
