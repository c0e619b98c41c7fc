"""The words' half of the bundled model: word pieces, and an encoder that onnxruntime runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from streamser.errors import ModelError
from streamser.graphs import open_graph

WORDS: Final = "words.onnx"
TOKENIZER: Final = "tokenizer.json"
MOST_TOKENS: Final = 64
"""Longer texts are cut: an utterance of 20 seconds rarely has more."""

Vectors = npt.NDArray[np.float32]


class Words:
    """Encode texts on one CPU thread; what a text gives does not depend on its neighbours."""

    def __init__(self, tokenizer: Any, session: Any) -> None:
        self._tokenizer = tokenizer
        self._session = session

    def encode(self, texts: Sequence[str]) -> list[Vectors]:
        """Return a vector for each word piece of each text, float32 [L, width], L >= 1."""
        if not texts:
            return []
        # Half surrogate pairs are refused by the tokenizers library.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        found = [encoding.ids[:MOST_TOKENS] for encoding in self._tokenizer.encode_batch(clean)]
        longest = max(len(ids) for ids in found)
        ids = np.zeros((len(found), longest), np.int64)
        mask = np.zeros((len(found), longest), np.int64)
        for row, pieces in enumerate(found):
            ids[row, : len(pieces)] = pieces
            mask[row, : len(pieces)] = 1
        hidden = self._session.run(["hidden"], {"ids": ids, "mask": mask})[0]
        return [hidden[row, : len(pieces)].copy() for row, pieces in enumerate(found)]


def load_words(directory: Path) -> Words:
    """Load tokenizer and encoder of a bundle; raises ``ModelError`` where they cannot be used."""
    from tokenizers import Tokenizer

    path = directory / TOKENIZER
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise ModelError(f"{path} cannot be used: {error}; install streamser again") from None
    return Words(tokenizer, open_graph(directory / WORDS, inputs=("ids", "mask")))
