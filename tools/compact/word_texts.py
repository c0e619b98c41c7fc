"""The texts that teach the words of the bundled model, and those that judge them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec.structs

from streamser.taxonomy import CATEGORIES, GOEMOTIONS
from streamser.training.corpora.reading import find, read_rows
from streamser.training.corpora.registry import (
    GOEMOTIONS_EMOTIONS,
    GOEMOTIONS_SOURCE,
    XED_EMOTIONS,
    XED_MAPPING,
    XED_SOURCE,
    read_emobank,
    read_goemotions,
    read_xed,
)
from streamser.training.folds import normalise
from streamser.training.manifest import SPLITS, Item, Split
from tools.compact.word_encoder import emobank_target

__all__ = ["FINE", "HeldOut", "WordCorpora", "WordText", "fine_span", "read_words", "text_split"]

FINE: Final = (
    *(f"goemotions-{name}" for name in GOEMOTIONS_EMOTIONS),
    *(f"xed-{name}" for name in XED_EMOTIONS),
)
"""The corpora's own labels: learnt beside the four categories, then thrown away."""

_DEV_SHARE: Final = 0.1
_TEST_SHARE: Final = 0.1


class WordText(NamedTuple):
    """A text to learn from.

    ``votes`` gives shares to ``CATEGORIES`` and counts ``weight`` (0: no category); ``fine``
    are the places of its labels in ``FINE``; ``dimensions`` is as ``emobank_target`` has it.
    """

    text: str
    corpus: str
    votes: tuple[float, ...] = (0.0,) * len(CATEGORIES)
    weight: float = 0.0
    fine: tuple[int, ...] = ()
    dimensions: tuple[float, ...] | None = None


class HeldOut(NamedTuple):
    """What a split holds: items with one category each, and items with dimensions (EmoBank)."""

    goemotions: Sequence[Item]
    xed: Sequence[Item]
    emobank: Sequence[Item]

    @property
    def texts(self) -> Iterator[str]:
        """Yield all texts."""
        for items in self:
            yield from (item.text or "" for item in items)


class WordCorpora(NamedTuple):
    """Texts to learn from, and two held-out splits none of whose texts are among them."""

    train: Sequence[WordText]
    dev: HeldOut
    test: HeldOut


def read_words(root: Path) -> WordCorpora:
    """Read GoEmotions and XED (as tables with label names) and EmoBank from one folder.

    Comments and lines with several labels teach too: their votes are the shares of their
    labels within the four categories, their weight the share of labels that are of the four.
    A text that is held out anywhere, in any corpus, is not learnt from (GoEmotions itself has
    91 comments in both); texts are the same if they are after ``pairing.normalise``.

    Raises ``ConfigError`` for a missing file or an unknown label.
    """
    lines = [_split_by_text(item) for item in read_xed(root)]
    comments, sentences = read_goemotions(root), read_emobank(root)
    dev, test = (
        HeldOut(_of(comments, split), _of(lines, split), _of(sentences, split))
        for split in SPLITS[1:]
    )
    forbidden = {normalise(text) for held in (dev, test) for text in held.texts}
    texts = [*_labelled(root, "goemotions"), *_labelled(root, "xed")]
    texts += [
        WordText(item.text or "", "emobank", dimensions=emobank_target(item.dimensions))
        for item in sentences
        if item.split == "train"
    ]
    kept = [text for text in texts if text.text and normalise(text.text) not in forbidden]
    return WordCorpora(kept, dev, test)


def text_split(text: str) -> Split:
    """Put a text of a corpus without splits into one by its hash: 80 % train, 10 % dev, test."""
    digest = hashlib.sha256(normalise(text).encode()).digest()
    place = int.from_bytes(digest[:8]) / 2**64
    if place < _TEST_SHARE:
        return "test"
    return "dev" if place < _TEST_SHARE + _DEV_SHARE else "train"


def fine_span(corpus: str) -> slice:
    """Return where a corpus's labels stand in ``FINE``; nothing for a corpus without any."""
    places = [place for place, name in enumerate(FINE) if name.startswith(f"{corpus}-")]
    return slice(places[0], places[-1] + 1) if places else slice(0, 0)


def _labelled(root: Path, corpus: str) -> Iterator[WordText]:
    """Yield the training texts of GoEmotions or XED that have one of the four categories."""
    known: Collection[str]
    if corpus == "goemotions":
        source, known, mapping = GOEMOTIONS_SOURCE, GOEMOTIONS_EMOTIONS, GOEMOTIONS
    else:
        source, known, mapping = XED_SOURCE, XED_EMOTIONS, XED_MAPPING
    name = "goemotions_train.csv" if corpus == "goemotions" else "xed_en.csv"
    for row in read_rows(find(root, (name,), source), ("text", "labels")):
        text, labels = row["text"].strip(), row["labels"].split()
        if not labels or not set(labels) <= set(known):
            raise row.fault(f"unknown label in {row['labels']!r}")
        if corpus == "xed" and text_split(text) != "train":
            continue
        votes, weight = _votes(labels, mapping)
        fine = tuple(FINE.index(f"{corpus}-{label}") for label in labels)
        if weight or corpus == "goemotions":
            yield WordText(text, corpus, votes, weight, fine)


def _votes(labels: Sequence[str], mapping: dict[str, str]) -> tuple[tuple[float, ...], float]:
    """Return the shares of the four categories, and the share of the labels that are of them."""
    found = [mapping[label] for label in labels if label in mapping]
    shares = tuple(found.count(name) / max(1, len(found)) for name in CATEGORIES)
    return shares, len(found) / len(labels)


def _split_by_text(item: Item) -> Item:
    return msgspec.structs.replace(item, split=text_split(item.text or ""))


def _of(items: Iterable[Item], split: Split) -> list[Item]:
    return [item for item in items if item.split == split]
