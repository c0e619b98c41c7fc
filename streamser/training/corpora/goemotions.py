"""GoEmotions: 54 thousand Reddit comments, 27 emotions and neutral."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from streamser.errors import ConfigError
from streamser.taxonomy import GOEMOTIONS
from streamser.training.corpora.reading import (
    Categories,
    Source,
    find,
    one_hot,
    read_rows,
    read_text,
    single_category,
)
from streamser.training.manifest import SPLITS, Item

SOURCE: Final = Source(
    "GoEmotions", "https://github.com/google-research/google-research/tree/master/goemotions"
)
EMOTIONS: Final = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion"),
    *("curiosity", "desire", "disappointment", "disapproval", "disgust", "embarrassment"),
    *("excitement", "fear", "gratitude", "grief", "joy", "love", "nervousness", "optimism"),
    *("pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral"),
)
"""The names of the labels 0 to 27, as in the corpus's ``emotions.txt``."""


class _Comment(NamedTuple):
    text: str
    labels: tuple[str, ...]
    id: str


def read(root: Path, *, categories: Categories = "four") -> list[Item]:
    """Read GoEmotions (Demszky et al., ACL 2020): words only, with the corpus's own splits.

    The official ``train.tsv``, ``dev.tsv`` and ``test.tsv`` (text, label numbers, id; no header),
    or ``goemotions_train.csv`` and so on with label names.

    27 emotions to four: *happy*: joy, amusement, excitement, love, gratitude, admiration,
    optimism, pride, relief (the corpus's own joy group less approval, caring and desire, which
    are attitudes and often said without joy); *sad*: sadness, grief, disappointment, remorse
    (its sadness group less embarrassment, which is shame); *angry*: anger, annoyance (its anger
    group less disapproval, an opinion that is as often calm); *neutral*: neutral. Fear,
    nervousness, disgust and the surprise group (surprise, realization, confusion, curiosity)
    are none of the four. A comment has a category only if all its labels map to that one;
    with ``categories="four"`` the others are left out.

    The author of a comment is not named: each is its own speaker.

    Raises ``ConfigError`` for missing files and unknown labels.
    """
    items = []
    for split in SPLITS:
        path = find(root, (f"{split}.tsv", f"data/{split}.tsv", f"goemotions_{split}.csv"), SOURCE)
        for comment in _comments(path):
            category = single_category(comment.labels, GOEMOTIONS)
            if comment.text and (category or categories == "all"):
                items.append(
                    Item(
                        id=f"goemotions-{comment.id}",
                        corpus="goemotions",
                        speaker=comment.id,
                        split=split,
                        text=comment.text,
                        votes=one_hot(category),
                    )
                )
    return items


def _comments(path: Path) -> Iterator[_Comment]:
    if path.suffix == ".csv":
        for row in read_rows(path, ("text", "labels", "id")):
            labels = tuple(row["labels"].split())
            if not labels or not set(labels) <= set(EMOTIONS):
                raise row.fault(f"unknown label in {row['labels']!r}")
            yield _Comment(row["text"].strip(), labels, row["id"])
        return
    # Quotes are plain characters in the official files.
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        cells = line.rstrip("\r").split("\t")
        try:
            text, indices, name = cells
            labels = tuple(EMOTIONS[int(index)] for index in indices.split(","))
        except (ValueError, IndexError):
            raise ConfigError(
                f"{path} line {number}: not text, label numbers 0 to 27 and id between tabs."
            ) from None
        yield _Comment(text.strip(), labels, name)
