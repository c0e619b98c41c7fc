"""XED: English film subtitles, Plutchik's eight emotions and neutral."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from streamser.errors import ConfigError
from streamser.training.corpora.reading import (
    Categories,
    Source,
    find,
    one_hot,
    read_rows,
    read_text,
    single_category,
)
from streamser.training.manifest import Item

SOURCE: Final = Source("XED", "https://github.com/Helsinki-NLP/XED")
EMOTIONS: Final = (
    *("neutral", "anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise"),
    "trust",
)
"""The names of the labels 0 to 8."""

MAPPING: Final = {"neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry"}


class _Line(NamedTuple):
    text: str
    labels: tuple[str, ...]


def read(root: Path, *, categories: Categories = "four") -> list[Item]:
    """Read XED's English lines (Öhman et al., COLING 2020): words only, in a spoken style.

    The official ``en-annotated.tsv`` (text, label numbers 1 to 8) with the neutral lines of
    ``neu_en.txt`` beside it where present, or ``xed_en.csv`` with label names.

    Joy is *happy*, sadness *sad*, anger *angry*, neutral *neutral*; anticipation, disgust, fear,
    surprise and trust are none of the four. A line has a category only if all its labels map to
    that one; with ``categories="four"`` the others are left out.

    There is no split (``folds.pair`` makes one by the text), no speaker (each line is its own)
    and no id: lines are numbered as in the files.

    Raises ``ConfigError`` for missing files and unknown labels.
    """
    path = find(root, ("en-annotated.tsv", "AnnotatedData/en-annotated.tsv", "xed_en.csv"), SOURCE)
    lines = list(_named_lines(path) if path.suffix == ".csv" else _numbered_lines(path))
    items = []
    for number, line in enumerate(lines, 1):
        category = single_category(line.labels, MAPPING)
        if line.text and (category or categories == "all"):
            items.append(
                Item(
                    id=f"xed-{number:05d}",
                    corpus="xed",
                    speaker=f"xed-{number:05d}",
                    text=line.text,
                    votes=one_hot(category),
                )
            )
    return items


def _named_lines(path: Path) -> Iterator[_Line]:
    for row in read_rows(path, ("text", "labels")):
        labels = tuple(row["labels"].split())
        if not labels or not set(labels) <= set(EMOTIONS):
            raise row.fault(f"unknown label in {row['labels']!r}")
        yield _Line(row["text"].strip(), labels)


def _numbered_lines(path: Path) -> Iterator[_Line]:
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        text, _, indices = line.rstrip("\r").rpartition("\t")
        try:
            labels = tuple(EMOTIONS[int(index)] for index in indices.split(","))
        except (ValueError, IndexError):
            raise ConfigError(
                f"{path} line {number}: not text and label numbers 0 to 8 between tabs."
            ) from None
        yield _Line(text.strip(), labels)
    neutral = path.with_name("neu_en.txt")
    if neutral.exists():
        for line in read_text(neutral).split("\n"):
            # Each begins with the code 9, which the numbers of the emotions do not use.
            text = line.partition("\t")[2].strip()
            if text:
                yield _Line(text, ("neutral",))
