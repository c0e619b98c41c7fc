"""EmoBank: ten thousand sentences rated for valence, arousal and dominance."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from streamser.training.corpora.reading import Source, find, read_rows
from streamser.training.manifest import Item, Scale

SOURCE: Final = Source("EmoBank", "https://github.com/JULIELab/EmoBank")
_SCALE: Final = Scale(1.0, 5.0)


def read(root: Path) -> list[Item]:
    """Read EmoBank (Buechel & Hahn, EACL 2017): words only, dimensions only.

    ``emobank.csv`` (columns id, split, V, A, D, text) at the top or in ``corpus/``; V, A and D
    are means over readers and writers on 1 to 5; the splits are the corpus's. They vary little
    (standard deviations .35, .26, .21): most sentences are close to the middle. Of its 10,062
    rows one has no text and is left out. No sentence has a speaker: each is its own.

    Raises ``ConfigError`` for a missing file and a rating off the scale.
    """
    path = find(root, ("corpus/emobank.csv", "emobank.csv"), SOURCE)
    return [
        Item(
            id=f"emobank-{row['id']}",
            corpus="emobank",
            speaker=row["id"],
            split=row.split("split"),
            text=row["text"],
            dimensions=row.rated("V", "A", "D", scale=_SCALE),
        )
        for row in read_rows(path, ("id", "split", "V", "A", "D", "text"))
        if row["text"].strip()
    ]
