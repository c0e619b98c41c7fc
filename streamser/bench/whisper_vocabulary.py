"""The vocabulary of a Whisper that is made up here: a few words, and all that is special."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

__all__ = ["TIMES", "language_codes", "make_vocabulary"]

TIMES: Final = 1501
"""Tokens for times, one for each 20 ms of 30 s."""


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
