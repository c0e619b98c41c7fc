"""The encoder of words, its heads, EmoBank's scale, and what is written of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from streamser.errors import ModelError
from tests.tools.compact.tiny_words import PIECES, TEXTS, tiny_words
from tools.compact.minilm import word_tokenizer
from tools.compact.word_encoder import (
    EMOBANK_MEAN,
    EMOBANK_SD,
    emobank_target,
    load_words,
    prepare_words,
    save_words,
)


def test_texts_become_padded_pieces() -> None:
    """[CLS] comes first, [SEP] last, then padding; capitals do not matter."""
    tokenizer = tiny_words().tokenizer
    ids, mask = prepare_words(tokenizer, ["HAPPY", "the sad"])
    assert [PIECES[place] for place in ids[0]] == ["[CLS]", "happy", "[SEP]", "[PAD]"]
    assert [PIECES[place] for place in ids[1]] == ["[CLS]", "the", "sad", "[SEP]"]
    assert mask.tolist() == [[True, True, True, False], [True] * 4]
    assert prepare_words(tokenizer, [])[0].shape == (0, 1)


def test_long_texts_keep_their_end_sign() -> None:
    """A text of too many pieces is cut in front of [SEP]."""
    ids, mask = prepare_words(tiny_words().tokenizer, ["sad " * 100])
    assert ids.shape == (1, 24)
    assert mask.all()
    assert PIECES[ids[0, -1]] == "[SEP]"


@pytest.mark.parametrize("text", ["", " \n", "\ud83d", "愛している", "[PAD] [SEP]", "a" * 5000])
def test_strange_texts_are_judged(text: str) -> None:
    """Whatever the text, the answer is finite and dimensions lie in (0, 1)."""
    words = tiny_words()
    output = words.model(*prepare_words(words.tokenizer, [text]))
    assert output.logits.shape == (1, 4)
    assert output.logits.isfinite().all()
    assert ((output.dimensions > 0) & (output.dimensions < 1)).all()


def test_padding_changes_nothing() -> None:
    """A text gets the same vectors alone and beside a longer one, zeros behind its end."""
    words = tiny_words()
    with torch.no_grad():
        ids, mask = prepare_words(words.tokenizer, TEXTS)
        together = words.model.encoder(ids, mask)
        alone = words.model.encoder(*prepare_words(words.tokenizer, [TEXTS[1]]))[0]
    torch.testing.assert_close(together[1, : len(alone)], alone, rtol=1e-5, atol=1e-6)
    assert not together[~mask].any()


def test_dropout_needs_training() -> None:
    """Two runs differ in training and agree in use."""
    model = tiny_words().model
    given = prepare_words(tiny_words().tokenizer, TEXTS)
    assert torch.equal(model(*given).logits, model(*given).logits)
    model.train()
    assert not torch.equal(model(*given).logits, model(*given).logits)


def test_emobank_is_spread_over_the_scale() -> None:
    """Its mean is the middle, 2.5 deviations an edge, and more is cut."""
    assert emobank_target(EMOBANK_MEAN) == pytest.approx((0.5,) * 3)
    pairs = [*zip(EMOBANK_MEAN, EMOBANK_SD, strict=True)]
    assert emobank_target([mean + 2.5 * sd for mean, sd in pairs]) == pytest.approx((1.0,) * 3)
    assert emobank_target([mean - sd for mean, sd in pairs]) == pytest.approx((0.3,) * 3)
    assert emobank_target((0.0, 1.0, 1.0)) == (0.0, 1.0, 1.0)


def test_saved_words_come_back(tmp_path: Path) -> None:
    """What is read back gives the same answers to the same texts."""
    words = tiny_words()
    save_words(words, tmp_path)
    again = load_words(tmp_path)
    assert again.model.encoder.config == words.model.encoder.config
    for one, other in zip(
        words.model(*prepare_words(words.tokenizer, TEXTS)),
        again.model(*prepare_words(again.tokenizer, TEXTS)),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_damaged_folders_are_refused(tmp_path: Path) -> None:
    """A missing file, a damaged one and another model's tokenizer are errors that say so."""
    with pytest.raises(ModelError, match="holds no model"):
        load_words(tmp_path)
    save_words(tiny_words(), tmp_path)
    word_tokenizer([*PIECES, "more"]).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ModelError, match="does not belong"):
        load_words(tmp_path)
    (tmp_path / "words.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="holds no model"):
        load_words(tmp_path)
