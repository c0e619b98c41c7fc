"""How well a model of words does on held-out texts, and what a bag of words does there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline

from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.augment.augmenter import SoundAlikes, disturb_words, plain
from streamser.training.corpora.registry import read_emobank, read_goemotions
from streamser.training.evaluation.metrics import ccc, ece, macro_f1, uar
from streamser.training.folds import normalise
from streamser.training.manifest import Item
from tools.compact.word_encoder import Words, emobank_target, prepare_words
from tools.compact.word_texts import HeldOut, WordCorpora

__all__ = [
    "FORMS",
    "CategoryFigures",
    "Encode",
    "Form",
    "Judge",
    "WordFigures",
    "bag_of_words",
    "floors",
    "judge",
    "judge_words",
    "predicted",
    "rendered",
]

Form = Literal["written", "plain", "noisy"]
FORMS: tuple[Form, ...] = ("written", "plain", "noisy")
"""As the corpus has it; lower-case without punctuation; that with a tenth of the words lost
and a tenth taken for others that sound alike."""

Floats = npt.NDArray[np.float64]
Judge = Callable[[Sequence[str]], tuple[Floats, Floats]]
"""Turns texts into probabilities [N, 4] and dimensions [N, 3] (scale does not matter)."""

Encode = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Turns ids int64 [B, L] and mask bool [B, L] into float [B, L, width]."""

_NOISE = 0.1
_STRENGTHS = ((0.3, 0.3), (1.0, 1.0), (3.0, 3.0), (10.0, 10.0))
"""C of the logistic regression and alpha of the ridge; the best of each is taken."""


class CategoryFigures(msgspec.Struct, frozen=True):
    """Figures of four categories: all in [0, 1], ``ece`` is best at 0."""

    macro_f1: float
    uar: float
    ece: float


class WordFigures(msgspec.Struct, frozen=True):
    """Figures on one split in one form; ``pearson`` and ``ccc`` of valence, arousal, dominance.

    ``ccc`` is against the targets of ``emobank_target``, and ``None`` for a model of another
    scale.
    """

    goemotions: CategoryFigures
    xed: CategoryFigures
    pearson: tuple[float, float, float]
    ccc: tuple[float, float, float] | None = None


def judge(
    model: Judge, held: HeldOut, form: Form, alikes: SoundAlikes, targets: Floats | None = None
) -> WordFigures:
    """Measure a model on a split; noise is drawn anew from the same seed at each call.

    ``targets`` [N, 3] of EmoBank's items are what CCC is against; without them there is none.
    """
    goemotions, _ = model(rendered(held.goemotions, form, alikes))
    xed, _ = model(rendered(held.xed, form, alikes))
    _, dimensions = model(rendered(held.emobank, form, alikes))
    rated = np.array([item.dimensions for item in held.emobank])
    return WordFigures(
        _categories(held.goemotions, goemotions),
        _categories(held.xed, xed),
        _three(lambda i: _pearson(rated[:, i], dimensions[:, i])),
        None if targets is None else _three(lambda i: ccc(targets[:, i], dimensions[:, i])),
    )


def judge_words(
    words: Words, held: HeldOut, form: Form, alikes: SoundAlikes, encode: Encode | None = None
) -> WordFigures:
    """Measure a model on a split in a form; ``encode`` stands in for its own encoder."""
    targets = np.array([emobank_target(item.dimensions) for item in held.emobank])
    return judge(lambda texts: predicted(words, texts, encode), held, form, alikes, targets)


def predicted(
    words: Words, texts: Sequence[str], encode: Encode | None = None, batch: int = 64
) -> tuple[Floats, Floats]:
    """Return probabilities [N, 4] and dimensions [N, 3] of texts, in their order."""
    model = words.model.eval()
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    probabilities = np.zeros((len(texts), len(CATEGORIES)))
    dimensions = np.zeros((len(texts), len(DIMENSIONS)))
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        ids, mask = prepare_words(words.tokenizer, [texts[place] for place in places])
        with torch.inference_mode():
            hidden = (encode or model.encoder)(ids, mask)
            output = model.judge(model.pool(hidden, mask))
        probabilities[places] = output.logits.softmax(dim=-1).numpy()
        dimensions[places] = output.dimensions.numpy()
    return probabilities, dimensions


def floors(
    corpora: WordCorpora, data: Path, alikes: SoundAlikes, forms: Sequence[Form] = FORMS
) -> dict[Form, WordFigures]:
    """Return what TF-IDF reaches on test, the strengths of both chosen on dev as written.

    It learns what is usual: GoEmotions' comments of one category and EmoBank, as written.
    """
    held = {normalise(text) for part in (corpora.dev, corpora.test) for text in part.texts}
    comments, sentences = (
        [
            item
            for item in read(data)
            if item.split == "train" and normalise(item.text or "") not in held
        ]
        for read in (read_goemotions, read_emobank)
    )
    tried = {
        pair: judge(bag_of_words(comments, sentences, *pair), corpora.dev, "written", alikes)
        for pair in _STRENGTHS
    }
    strength, _ = max(tried, key=lambda pair: tried[pair].goemotions.macro_f1)
    _, ridge = max(tried, key=lambda pair: sum(tried[pair].pearson))
    best = bag_of_words(comments, sentences, strength, ridge)
    return {form: judge(best, corpora.test, form, alikes) for form in forms}


def bag_of_words(
    goemotions: Sequence[Item], emobank: Sequence[Item], strength: float, ridge: float
) -> Judge:
    """Fit the floor: TF-IDF of words and pairs, logistic regression (balanced) and ridge.

    ``strength`` is the regression's C, ``ridge`` the ridge's alpha. Items need a category, or
    dimensions.
    """
    categories = _pipeline(LogisticRegression(C=strength, class_weight="balanced", max_iter=1000))
    categories.fit([item.text or "" for item in goemotions], _truth(goemotions))
    ratings = _pipeline(Ridge(alpha=ridge))
    ratings.fit([item.text or "" for item in emobank], [item.dimensions for item in emobank])
    return lambda texts: (categories.predict_proba(texts), ratings.predict(texts))


def rendered(items: Sequence[Item], form: Form, alikes: SoundAlikes) -> list[str]:
    """Return the texts of items in a form."""
    texts = [item.text or "" for item in items]
    if form == "written":
        return texts
    bare = [plain(text) for text in texts]
    if form == "plain":
        return bare
    rng = np.random.default_rng(0)
    return [disturb_words(text, _NOISE, _NOISE, alikes, rng) for text in bare]


def _pipeline(model: Any) -> Pipeline:
    words = TfidfVectorizer(
        ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
    )
    return make_pipeline(words, model)


def _categories(items: Sequence[Item], probabilities: Floats) -> CategoryFigures:
    truth, guess = _truth(items), probabilities.argmax(axis=1)
    return CategoryFigures(
        macro_f1(truth, guess, len(CATEGORIES)),
        uar(truth, guess, len(CATEGORIES)),
        ece(truth, probabilities),
    )


def _truth(items: Sequence[Item]) -> npt.NDArray[np.int64]:
    return np.array([CATEGORIES.index(item.category or "") for item in items], dtype=np.int64)


def _three(figure: Callable[[int], float]) -> tuple[float, float, float]:
    return figure(0), figure(1), figure(2)


def _pearson(truth: Floats, guess: Floats) -> float:
    """Return the correlation; 0 where either is constant, for nothing then varies together."""
    if np.ptp(truth) == 0 or np.ptp(guess) == 0:
        return 0.0
    return float(np.corrcoef(truth, guess)[0, 1])
