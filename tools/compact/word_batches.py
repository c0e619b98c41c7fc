"""Bring the texts that teach words into batches, each text as it may come in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from streamser.emotion.fused.compact_encoders import encodable
from streamser.taxonomy import DIMENSIONS
from streamser.training.augment.augmenter import SoundAlikes, disturb_words, plain, vocabulary_of
from tools.compact.word_encoder import prepare_words
from tools.compact.word_texts import FINE, WordText, fine_span

__all__ = [
    "WordBatch",
    "WordBatches",
    "WordLabels",
    "WordSettings",
    "corpus_priors",
    "sound_alikes",
]

_FEWEST: Final = 3
_MIXED: Final = 32


class WordSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a training is made of; the defaults are a first choice, looked at on dev only.

    ``rate`` is the highest learning rate of the last layer, ``decay`` what each layer below
    has of the one above it, ``head_rate`` that of the heads. ``repeats`` is how often EmoBank
    comes in an epoch, ``xed`` and ``fine`` are weights, ``written`` and ``noisy`` the shares of
    texts that come as written and with noise (the rest is plain), ``noise`` the largest share
    of words lost, and of words swapped. ``prior``: how much of GoEmotions' priors the category
    keeps (1 all, 0 none); ``None`` chooses it on dev by macro-F1.
    """

    seed: int = 1
    pieces: int = 12_000
    epochs: int = 3
    batch: int = 64
    rate: float = 1e-4
    head_rate: float = 1e-3
    decay: float = 0.9
    weight_decay: float = 0.01
    warmup: float = 0.06
    repeats: int = 2
    xed: float = 0.5
    fine: float = 0.3
    rating: float = 1.0
    written: float = 0.35
    noisy: float = 0.3
    noise: float = 0.2
    prior: float | None = None


class WordLabels(NamedTuple):
    """The labels of texts, a row each.

    ``votes``, ``priors`` [N, 4], ``weights`` [N]; ``fine`` and how much ``known`` [N, F];
    ``ratings`` [N, 3], nan where unrated.
    """

    votes: torch.Tensor
    weights: torch.Tensor
    priors: torch.Tensor
    fine: torch.Tensor
    known: torch.Tensor
    ratings: torch.Tensor


class WordBatch(NamedTuple):
    """Texts, ids and mask [B, L], and their labels."""

    ids: torch.Tensor
    mask: torch.Tensor
    labels: WordLabels


def corpus_priors(texts: Sequence[WordText]) -> dict[str, torch.Tensor]:
    """Return each corpus's log shares of the categories [4]."""
    priors = {}
    for corpus in {text.corpus for text in texts}:
        own = [text for text in texts if text.corpus == corpus]
        weights = torch.tensor([text.weight for text in own])
        # One of each more: a corpus without categories has all alike.
        mass = 1 + weights @ torch.tensor([text.votes for text in own])
        priors[corpus] = torch.log(mass / mass.sum())
    return priors


class WordBatches:
    """Yield the batches of an epoch: texts of about one length together, each as it may come in.

    Each epoch has another order and other noise; all of them follow from the seed.
    """

    def __init__(
        self,
        texts: Sequence[WordText],
        tokenizer: Tokenizer,
        settings: WordSettings,
        alikes: SoundAlikes,
    ) -> None:
        self._texts = texts
        self._tokenizer = tokenizer
        self._settings = settings
        self._alikes = alikes
        self._labels = _labels(texts, settings)
        self._rng = np.random.default_rng(settings.seed)
        often = [settings.repeats if text.dimensions else 1 for text in texts]
        self._rows = np.repeat(np.arange(len(texts)), often)

    def __len__(self) -> int:
        return -(-len(self._rows) // self._settings.batch)

    def __iter__(self) -> Iterator[WordBatch]:
        size = self._settings.batch
        order = self._rng.permutation(self._rows)
        said = [self._heard(self._texts[row].text) for row in order]
        lengths = np.array([len(code.ids) for code in self._tokenizer.encode_batch(said)])
        chunks: list[npt.NDArray[np.int64]] = []
        # A multiple of the batch, so that only the last one of an epoch is smaller.
        for start in range(0, len(order), size * _MIXED):
            places = np.arange(start, min(start + size * _MIXED, len(order)))
            places = places[np.argsort(lengths[places], kind="stable")]
            chunks += [places[at : at + size] for at in range(0, len(places), size)]
        for number in self._rng.permutation(len(chunks)):
            places = chunks[number]
            ids, mask = prepare_words(self._tokenizer, [said[place] for place in places])
            own = torch.from_numpy(order[places])
            yield WordBatch(ids, mask, WordLabels._make(column[own] for column in self._labels))

    def _heard(self, text: str) -> str:
        settings, form = self._settings, self._rng.random()
        if form < settings.written:
            return encodable(text)
        if form >= settings.written + settings.noisy:
            return encodable(plain(text))
        drop, swap = self._rng.random(2) * settings.noise
        return encodable(disturb_words(plain(text), drop, swap, self._alikes, self._rng))


def sound_alikes(texts: Iterable[str]) -> SoundAlikes:
    """Return what words may be taken for: those that stand in three texts or more."""
    counts = Counter(word for text in texts for word in vocabulary_of([text]))
    return SoundAlikes(sorted(word for word, count in counts.items() if count >= _FEWEST))


def _labels(texts: Sequence[WordText], settings: WordSettings) -> WordLabels:
    priors = corpus_priors(texts)
    shares = [settings.xed if text.corpus == "xed" else 1.0 for text in texts]
    fine, known = torch.zeros(len(texts), len(FINE)), torch.zeros(len(texts), len(FINE))
    for row, text in enumerate(texts):
        fine[row, list(text.fine)] = 1.0
        known[row, fine_span(text.corpus)] = shares[row]
    unrated = (math.nan,) * len(DIMENSIONS)
    return WordLabels(
        torch.tensor([text.votes for text in texts]),
        torch.tensor([text.weight * share for text, share in zip(texts, shares, strict=True)]),
        torch.stack([priors[text.corpus] for text in texts]),
        fine,
        known,
        torch.tensor([text.dimensions or unrated for text in texts]),
    )
