from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamser.emotion.compact.words import MOST_TOKENS, TOKENIZER, load_words
from streamser.errors import ModelError
from tests.emotion.compact.bundles import TEXTS, tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small bundle's folder."""
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny")


def test_a_text_alone_is_encoded_as_among_others(bundle: Path) -> None:
    """Neighbours and their lengths do not matter."""
    words = load_words(bundle)
    together = words.encode([*TEXTS, "happy"])
    for text, vectors in zip([*TEXTS, "happy"], together, strict=True):
        np.testing.assert_allclose(words.encode([text])[0], vectors, rtol=1e-5, atol=1e-6)


def test_long_and_odd_texts_are_encoded_too(bundle: Path) -> None:
    """Cut to 64 pieces; half of a surrogate pair is no reason to fail."""
    words = load_words(bundle)
    long, odd = words.encode(["so happy " * 200, "\ud83d sad ñ"])
    assert len(long) == MOST_TOKENS
    assert np.isfinite(odd).all()
    assert words.encode([]) == []


def test_a_damaged_tokenizer_is_told_in_one_line(tmp_path: Path) -> None:
    """With what to do."""
    where = tiny_bundle(tmp_path / "tiny")
    (where / TOKENIZER).write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be used.*install streamser"):
        load_words(where)
