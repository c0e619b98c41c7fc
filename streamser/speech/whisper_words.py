"""Words with their times out of Whisper's tokens, and the texts of its pieces put together."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from streamser.audio.clip import SAMPLE_RATE
from streamser.speech.hypothesis import is_unspaced, units
from streamser.speech.transcriber import Word

_FEWEST_FRAMES = 16
"""The alignment has nothing to align in less (its median filter is 7 encoder steps wide)."""
_SPOKEN_MARKS = frozenset("%&@#")
"""Punctuation by Unicode, but read out loud."""


class Span(msgspec.Struct, frozen=True):
    """Say where a piece of sound lies: its first sample, absolute, and how many it has."""

    start: int
    length: int


class Group(msgspec.Struct, frozen=True):
    """Hold some tokens' text, spaces included; ``start`` and ``end`` in seconds of the piece."""

    text: str
    start: float
    end: float
    probability: float


def place_words(
    model: Any,
    tokenizer_of: Callable[[str], Any],
    encoded: Any,
    spans: Sequence[Span],
    tokens: Sequence[Sequence[int]],
    languages: Sequence[str],
) -> list[tuple[Word, ...]]:
    """Place the words of pieces in time by the decoder's cross-attention.

    ``model`` is faster-whisper's, ``encoded`` its encoder's output for all pieces; one entry of
    ``spans``, ``tokens`` and ``languages`` for each.
    """
    hop = model.feature_extractor.hop_length
    frames = [max(_FEWEST_FRAMES, span.length // hop) for span in spans]
    placed: list[tuple[Word, ...]] = [()] * len(spans)
    for language in set(languages):
        # The whole batch is aligned for each language in it, since the encoder's output
        # cannot be taken apart; it is nearly always one language.
        tokenizer = tokenizer_of(language)
        text = [[token for token in row if token < tokenizer.eot] for row in tokens]
        alignments = model.find_alignment(tokenizer, text, encoded, frames)
        for i, alignment in enumerate(alignments):
            if languages[i] == language:
                placed[i] = tuple(group_words(map(_group, alignment), spans[i]))
    return placed


def group_words(groups: Iterator[Group] | Sequence[Group], span: Span) -> Iterator[Word]:
    """Join groups of tokens that are one word, and place it.

    A word ends where a group and a unit of the text (``hypothesis.units``) both end: "10" and
    "-year", "d" and "'avoir", "2" and ".5" are one word, in any script. Its times are those of
    its spoken parts, its confidence is the least of theirs: punctuation says neither when a
    word was spoken nor how sure it is.
    """
    groups = list(groups)
    text = "".join(group.text for group in groups)
    lead = len(text) - len(text.lstrip())
    ends = {lead + end for end in accumulate(map(len, units(text)))}
    at, parts = 0, list[Group]()
    for group in groups:
        at += len(group.text)
        parts.append(group)
        if len(text[:at].rstrip()) in ends and any(part.text.strip() for part in parts):
            yield _joined(parts, span)
            parts = []


def join_texts(texts: Sequence[str]) -> str:
    """Join the texts of pieces by spaces, or without where their scripts have none."""
    joined = ""
    for text in filter(None, texts):
        touching = is_unspaced(_last_letter(joined)) and is_unspaced(_last_letter(text[::-1]))
        joined += text if touching or not joined else f" {text}"
    return joined


def _joined(parts: Sequence[Group], span: Span) -> Word:
    spoken = [part for part in parts if any(map(_is_spoken, part.text))] or parts
    # Without audio to hold on to, the alignment begins one step before the first.
    first, last = (
        span.start + min(span.length, max(0, round(edge * SAMPLE_RATE)))
        for edge in (spoken[0].start, spoken[-1].end)
    )
    sure = min(part.probability for part in spoken)
    return Word("".join(part.text for part in parts).strip(), first, max(first, last), sure)


def _group(aligned: dict[str, Any]) -> Group:
    times = float(aligned["start"]), float(aligned["end"])
    return Group(aligned["word"], *times, float(aligned["probability"]))


def _is_spoken(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LNMS" or letter in _SPOKEN_MARKS


def _last_letter(text: str) -> str:
    return next((letter for letter in reversed(text) if _is_spoken(letter)), " ")
