"""Training words: it learns, the seed decides, and the entry point writes what it found."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from streamser.taxonomy import CATEGORIES
from streamser.training.corpora.reading import one_hot
from streamser.training.manifest import Item
from tests.tools.compact.test_word_texts import small_corpora
from tests.tools.compact.tiny_words import tiny_minilm, tiny_words
from tools.compact.train_words import WordReport, main, train_words
from tools.compact.word_batches import (
    WordBatches,
    WordSettings,
    corpus_priors,
    sound_alikes,
)
from tools.compact.word_encoder import load_words
from tools.compact.word_figures import bag_of_words, judge, judge_words, predicted
from tools.compact.word_texts import HeldOut, WordCorpora, WordText

_SAYINGS = {"neutral": "the train", "happy": "happy day", "sad": "so sad", "angry": "angry you"}
_FAST = WordSettings(
    epochs=3, batch=16, rate=3e-3, head_rate=1e-2, warmup=0.1, noise=0.0, written=0.5, prior=0.0
)


def _votes(category: str) -> tuple[float, ...]:
    return tuple(float(name == category) for name in CATEGORIES)


def _corpora(repeats: int = 40) -> WordCorpora:
    """Make texts whose words tell their category, and sentences whose words tell valence."""
    train = [
        WordText(
            f"{saying} {'abc'[i % 3]}", "goemotions", _votes(name), 1.0, (CATEGORIES.index(name),)
        )
        for name, saying in _SAYINGS.items()
        for i in range(repeats)
    ]
    train += [
        WordText(f"never {word} {'abc'[i % 3]}", "emobank", dimensions=(value, value, 1 - value))
        for word, value in (("happy", 0.8), ("sad", 0.2))
        for i in range(repeats)
    ]
    said = [
        Item(id=name, corpus="goemotions", speaker=name, text=f"{text} d", votes=one_hot(name))
        for name, text in _SAYINGS.items()
    ]
    rated = [
        Item(id=f"e{i}", corpus="emobank", speaker=f"e{i}", text=text, dimensions=(v, v, 1 - v))
        for i, (text, v) in enumerate((("never happy", 0.8), ("never sad", 0.2)))
    ]
    held = HeldOut(said, said, rated)
    return WordCorpora(train, held, held)


def test_training_learns_category_and_dimensions() -> None:
    """After a few epochs texts of known words are told apart, in every form."""
    corpora, words, lines = _corpora(), tiny_words(), list[str]()
    assert train_words(corpora, words, _FAST, lines.append) == 0.0
    figures = judge_words(words, corpora.test, "plain", sound_alikes([]))
    assert figures.goemotions.macro_f1 == 1.0
    assert figures.xed.uar == 1.0
    assert min(figures.pearson) > 0.9
    assert sum(line.startswith("epoch") for line in lines) == _FAST.epochs


def test_the_seed_decides() -> None:
    """The same seed gives the same weights, another one others."""
    found = []
    for seed in (1, 1, 2):
        words = tiny_words()
        settings = msgspec.structs.replace(_FAST, seed=seed, epochs=1, noise=0.2)
        train_words(_corpora(8), words, settings)
        found.append(words.model.encoder.piece.weight.detach())
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_an_epoch_has_every_text_as_often_as_told() -> None:
    """Rated sentences come twice, the others once, and an epoch has its count of batches."""
    corpora, settings = _corpora(10), WordSettings(batch=16, noise=0.0)
    batches = WordBatches(corpora.train, tiny_words().tokenizer, settings, sound_alikes([]))
    found = list(batches)
    assert len(found) == len(batches)
    rated = sum(int((~batch.labels.ratings.isnan().any(dim=1)).sum()) for batch in found)
    assert rated == 2 * 20
    assert sum(len(batch.ids) for batch in found) == 40 + rated
    assert all(batch.mask.any(dim=1).all() for batch in found)


def test_priors_are_those_of_each_corpus() -> None:
    """A rare category has a low prior in its own corpus only."""
    texts = [WordText("a", "xed", _votes("sad"), 1.0)] * 6
    texts += [WordText("a", "goemotions", _votes("happy"), 1.0)] * 6
    priors = corpus_priors(texts)
    assert priors["xed"].exp().tolist() == pytest.approx([0.1, 0.1, 0.7, 0.1])
    assert priors["goemotions"].exp().tolist() == pytest.approx([0.1, 0.7, 0.1, 0.1])


def test_the_kept_prior_moves_the_answers() -> None:
    """With a share of the priors, a frequent category is likelier than without."""
    frequent = [WordText("happy day", "goemotions", _votes("happy"), 1.0)] * 60
    corpora = _corpora(8)._replace(train=[*_corpora(8).train, *frequent])
    shares = []
    for prior in (0.0, 1.0):
        words = tiny_words()
        train_words(corpora, words, msgspec.structs.replace(_FAST, epochs=1, prior=prior))
        shares.append(predicted(words, ["b c"])[0][0, CATEGORIES.index("happy")])
    assert shares[1] > shares[0]


def test_answers_come_in_the_order_of_the_texts() -> None:
    """Sorting by length and batches do not show."""
    texts = ["sad " * 9, "happy", "the angry train", "a"]
    words = tiny_words()
    probabilities, dimensions = predicted(words, texts, batch=2)
    alone = [predicted(words, [text]) for text in texts]
    np.testing.assert_allclose(probabilities, np.concatenate([one for one, _ in alone]), 1e-4)
    np.testing.assert_allclose(dimensions, np.concatenate([two for _, two in alone]), 1e-4)


def test_the_floor_knows_words() -> None:
    """TF-IDF tells apart texts by words it has seen."""
    held = _corpora().test
    model = bag_of_words([*held.goemotions] * 2, [*held.emobank] * 2, 10.0, 0.1)
    figures = judge(model, held, "written", sound_alikes([]))
    assert figures.goemotions.macro_f1 == 1.0
    assert figures.ccc is None


def test_the_entry_point_writes_model_and_figures(tmp_path: Path) -> None:
    """What it writes can be loaded, and the report can be read."""
    minilm, data = tiny_minilm(tmp_path / "minilm"), tmp_path / "data"
    data.mkdir()
    small_corpora(data)
    out = tmp_path / "out"
    given = ["--data", str(data), "--minilm", str(minilm), "--out", str(out), "--seed", "3"]
    assert main([*given, "--set", "epochs=1", "pieces=70"]) == 0
    assert load_words(out).model.encoder.config.pieces == 70
    report = msgspec.json.decode((out / "words.json").read_bytes(), type=WordReport)
    assert (report.settings.seed, report.settings.epochs) == (3, 1)
    assert set(report.test) == set(report.bag_of_words) == {"written", "plain", "noisy"}
