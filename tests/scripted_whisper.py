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

__all__ = ["build_scripted_whisper"]

_WIDTH = 64
_ENGLISH_PROMPT = 2  # <|startoftranscript|><|notimestamps|>
_MULTILINGUAL_PROMPT = 4  # … with <|language|><|transcribe|> between
_MULTILINGUAL_VOCABULARY = 51_866


def build_scripted_whisper(
    directory: Path, text: str, *, language: str | None = None, no_speech: bool = False
) -> Path:
    """Write a CTranslate2 Whisper that answers ``text`` to any sound; return the directory.

    English-only, unless a ``language`` code makes it a multilingual model that always detects
    that one. ``no_speech`` makes it sure that nobody spoke (while it says the text all the
    same). Words are separated by single spaces.
    """
    from ctranslate2.specs.whisper_spec import WhisperSpec

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer, vocabulary = _tokenizer(text, multilingual=language is not None)
    if language is not None:
        # CTranslate2 takes a model as multilingual by its 51,865 tokens (before 4.7) or, later,
        # by the empty token that only OpenAI's multilingual vocabulary has.
        vocabulary[vocabulary.index("unused0")] = ""
    tokenizer.save(str(directory / "tokenizer.json"))
    preprocessor = {"feature_size": 80, "hop_length": 160, "chunk_length": 30, "n_fft": 400}
    (directory / "preprocessor_config.json").write_text(json.dumps(preprocessor))

    identify = tokenizer.token_to_id
    end = identify("<|endoftext|>")
    answer = [*tokenizer.encode(" " + text.strip()).ids, end] if text.strip() else [end]
    rng = np.random.default_rng(0)
    embeddings = rng.standard_normal((len(vocabulary), _WIDTH)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    positions = np.repeat(10 * embeddings[[end]], 448, axis=0)
    prompt = _ENGLISH_PROMPT if language is None else _MULTILINGUAL_PROMPT
    for step, token in enumerate(answer):
        positions[prompt - 1 + step] = 10 * embeddings[token]
    # The first position is where Whisper reads the language and whether anybody speaks.
    if language is not None:
        positions[0] = 10 * embeddings[identify(f"<|{language}|>")]
    if no_speech:
        positions[0] = 10 * embeddings[identify("<|nospeech|>")]

    spec = WhisperSpec(2, 2, 2, 2)
    _fill_encoder(spec.encoder, rng)
    _fill_decoder(spec.decoder, embeddings, positions)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [end]
    spec.config.alignment_heads = [[1, 0], [1, 1]]
    spec.config.lang_ids = [identify(f"<|{code}|>") for code in _languages()]
    spec.register_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization=None)
    spec.save(str(directory))
    return directory


def _languages() -> Sequence[str]:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    codes: Sequence[str] = _LANGUAGE_CODES
    return codes


def _tokenizer(text: str, *, multilingual: bool) -> tuple[Any, list[str]]:
    """Return a byte-level BPE in which every word is one token, and its vocabulary by id.

    One token, because faster-whisper never lets a model say a bare space.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in [*text.split(), "-", "'"]:
        for piece, _ in byte_level.pre_tokenize_str(" " + word):
            for end in range(2, len(piece) + 1):
                if piece[:end] not in tokens:
                    tokens.append(piece[:end])
                    merges.append((piece[: end - 1], piece[end - 1]))
    if multilingual:
        tokens += [f"unused{i}" for i in range(_MULTILINGUAL_VOCABULARY - len(tokens) - 1609)]
    bpe = models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    tokenizer = Tokenizer(bpe)
    tokenizer.pre_tokenizer = byte_level
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{c}|>" for c in _languages())]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    special += ["<|nospeech|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in special])
    times = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in times])
    return tokenizer, [*tokens, *special, *times]


def _fill_encoder(encoder: Any, rng: np.random.Generator) -> None:
    """Give the encoder small random weights: what it hears is real, only never listened to."""

    def random(*shape: int) -> npt.NDArray[np.float32]:
        return (0.05 * rng.standard_normal(shape)).astype(np.float32)

    encoder.conv1.weight, encoder.conv1.bias = random(_WIDTH, 80, 3), _flat(0)
    encoder.conv2.weight, encoder.conv2.bias = random(_WIDTH, _WIDTH, 3), _flat(0)
    encoder.position_encodings.encodings = random(1500, _WIDTH)
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
