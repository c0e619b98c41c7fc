"""The corpora that can be read, by name; those of words alone; and tables of any columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES, GOEMOTIONS, canonical_category
from streamser.training.corpora import reading
from streamser.training.corpora.acted import read_cremad, read_emodb, read_ravdess
from streamser.training.corpora.conversations import read_iemocap, read_meld, read_msp_podcast
from streamser.training.corpora.reading import read_rows
from streamser.training.manifest import COLUMNS, SPLITS, Item, RatingScale, parse_row, parse_scale

_CATEGORY: Final = "category"
_FIELDS: Final = (*COLUMNS, _CATEGORY)
_SPLITS: Final = {
    "training": "train",
    "development": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "testing": "test",
}


def read_table(
    path: Path,
    *,
    columns: Mapping[str, str] = MappingProxyType({}),
    corpus: str | None = None,
    scale: str | None = None,
    delimiter: str | None = None,
) -> list[Item]:
    """Read a CSV or TSV with a header and columns of any name.

    ``columns`` says where each of the manifest's columns comes from, such as ``{"text":
    "sentence"}``; a column that already has the manifest's name need not be given. Beside these
    there is ``category``: one label name for a row, of which those that ``taxonomy`` knows
    (``neu``, ``Happiness``, ``anger``, …) count and others are no label.

    Without an ``id`` column rows are numbered; ``corpus`` and ``scale`` (that of the ratings,
    such as ``1:5``) hold for all rows, and the corpus is otherwise named after the file. Rows
    with sound need a speaker. ``audio`` is relative to the table. A split may be called
    training, val, validation and so on.

    Raises ``ConfigError`` with the line of the fault.
    """
    unknown = [name for name in columns if name not in _FIELDS]
    if unknown:
        raise ConfigError(
            f"there is no column {unknown[0]!r} to map to; there are {', '.join(_FIELDS)}."
        )
    between = delimiter or ("\t" if path.suffix == ".tsv" else ",")
    if len(between) != 1:
        raise ConfigError(f"delimiter {between!r} is not one character.")
    if scale:
        try:
            parse_scale(scale)
        except ValueError as fault:
            raise ConfigError(f"{fault}; write it as 1:5.") from None
    fixed = {"corpus": corpus, "scale": scale}
    defaults = {name: value for name, value in fixed.items() if value}
    items = []
    for number, row in enumerate(read_rows(path, tuple(columns.values()), delimiter=between), 1):
        cells = {
            name: row.cells.get(columns.get(name, name), "").strip() for name in _FIELDS
        } | defaults
        cells["id"] = cells["id"] or f"{path.stem}-{number:06d}"
        cells["corpus"] = cells["corpus"] or path.stem
        cells["split"] = _split(cells["split"])
        if cells[_CATEGORY]:
            cells |= _one_hot(cells[_CATEGORY])
        try:
            items.append(parse_row(cells, path.parent))
        except ValueError as fault:
            raise row.fault(str(fault)) from None
    if not items:
        raise ConfigError(f"{path} has no rows.")
    return items


def _split(name: str) -> str:
    return _SPLITS.get(name.casefold(), name)


def _one_hot(label: str) -> dict[str, str]:
    try:
        category = canonical_category(label)
    except KeyError:
        return {}
    return {name: "1" if name == category else "0" for name in CATEGORIES}


_EMOBANK: Final = reading.Source("EmoBank", "https://github.com/JULIELab/EmoBank")
_SCALE: Final = RatingScale(1.0, 5.0)

GOEMOTIONS_SOURCE: Final = reading.Source(
    "GoEmotions", "https://github.com/google-research/google-research/tree/master/goemotions"
)
GOEMOTIONS_EMOTIONS: Final = (
    *("admiration", "amusement", "anger", "annoyance", "approval", "caring", "confusion"),
    *("curiosity", "desire", "disappointment", "disapproval", "disgust", "embarrassment"),
    *("excitement", "fear", "gratitude", "grief", "joy", "love", "nervousness", "optimism"),
    *("pride", "realization", "relief", "remorse", "sadness", "surprise", "neutral"),
)
"""The names of the labels 0 to 27, as in the corpus's ``emotions.txt``."""

XED_SOURCE: Final = reading.Source("XED", "https://github.com/Helsinki-NLP/XED")
XED_EMOTIONS: Final = (
    *("neutral", "anger", "anticipation", "disgust", "fear", "joy", "sadness", "surprise"),
    "trust",
)
"""The names of the labels 0 to 8."""

XED_MAPPING: Final = {"neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry"}


def read_emobank(root: Path) -> list[Item]:
    """Read EmoBank (Buechel & Hahn, EACL 2017): words only, dimensions only.

    ``emobank.csv`` (columns id, split, V, A, D, text) at the top or in ``corpus/``; V, A and D
    are means over readers and writers on 1 to 5; the splits are the corpus's. They vary little
    (standard deviations .35, .26, .21): most sentences are close to the middle. Of its 10,062
    rows one has no text and is left out. No sentence has a speaker: each is its own.

    Raises ``ConfigError`` for a missing file and a rating off the scale.
    """
    path = reading.find(root, ("corpus/emobank.csv", "emobank.csv"), _EMOBANK)
    return [
        Item(
            id=f"emobank-{row['id']}",
            corpus="emobank",
            speaker=row["id"],
            split=row.split("split"),
            text=row["text"],
            dimensions=row.rated("V", "A", "D", scale=_SCALE),
        )
        for row in reading.read_rows(path, ("id", "split", "V", "A", "D", "text"))
        if row["text"].strip()
    ]


class _Comment(NamedTuple):
    text: str
    labels: tuple[str, ...]
    id: str


def read_goemotions(root: Path, *, categories: reading.Categories = "four") -> list[Item]:
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
        path = reading.find(
            root,
            (f"{split}.tsv", f"data/{split}.tsv", f"goemotions_{split}.csv"),
            GOEMOTIONS_SOURCE,
        )
        for comment in _comments(path):
            category = reading.single_category(comment.labels, GOEMOTIONS)
            if comment.text and (category or categories == "all"):
                items.append(
                    Item(
                        id=f"goemotions-{comment.id}",
                        corpus="goemotions",
                        speaker=comment.id,
                        split=split,
                        text=comment.text,
                        votes=reading.one_hot(category),
                    )
                )
    return items


def _comments(path: Path) -> Iterator[_Comment]:
    if path.suffix == ".csv":
        for row in reading.read_rows(path, ("text", "labels", "id")):
            labels = tuple(row["labels"].split())
            if not labels or not set(labels) <= set(GOEMOTIONS_EMOTIONS):
                raise row.fault(f"unknown label in {row['labels']!r}")
            yield _Comment(row["text"].strip(), labels, row["id"])
        return
    # Quotes are plain characters in the official files.
    for number, line in enumerate(reading.read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        cells = line.rstrip("\r").split("\t")
        try:
            text, indices, name = cells
            labels = tuple(GOEMOTIONS_EMOTIONS[int(index)] for index in indices.split(","))
        except (ValueError, IndexError):
            raise ConfigError(
                f"{path} line {number}: not text, label numbers 0 to 27 and id between tabs."
            ) from None
        yield _Comment(text.strip(), labels, name)


class _Line(NamedTuple):
    text: str
    labels: tuple[str, ...]


def read_xed(root: Path, *, categories: reading.Categories = "four") -> list[Item]:
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
    path = reading.find(
        root, ("en-annotated.tsv", "AnnotatedData/en-annotated.tsv", "xed_en.csv"), XED_SOURCE
    )
    lines = list(_named_lines(path) if path.suffix == ".csv" else _numbered_lines(path))
    items = []
    for number, line in enumerate(lines, 1):
        category = reading.single_category(line.labels, XED_MAPPING)
        if line.text and (category or categories == "all"):
            items.append(
                Item(
                    id=f"xed-{number:05d}",
                    corpus="xed",
                    speaker=f"xed-{number:05d}",
                    text=line.text,
                    votes=reading.one_hot(category),
                )
            )
    return items


def _named_lines(path: Path) -> Iterator[_Line]:
    for row in reading.read_rows(path, ("text", "labels")):
        labels = tuple(row["labels"].split())
        if not labels or not set(labels) <= set(XED_EMOTIONS):
            raise row.fault(f"unknown label in {row['labels']!r}")
        yield _Line(row["text"].strip(), labels)


def _numbered_lines(path: Path) -> Iterator[_Line]:
    for number, line in enumerate(reading.read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        text, _, indices = line.rstrip("\r").rpartition("\t")
        try:
            labels = tuple(XED_EMOTIONS[int(index)] for index in indices.split(","))
        except (ValueError, IndexError):
            raise ConfigError(
                f"{path} line {number}: not text and label numbers 0 to 8 between tabs."
            ) from None
        yield _Line(text.strip(), labels)
    neutral = path.with_name("neu_en.txt")
    if neutral.exists():
        for line in reading.read_text(neutral).split("\n"):
            # Each begins with the code 9, which the numbers of the emotions do not use.
            text = line.partition("\t")[2].strip()
            if text:
                yield _Line(text, ("neutral",))


READERS: Final[Mapping[str, Callable[..., list[Item]]]] = MappingProxyType(
    {
        "iemocap": read_iemocap,
        "msp-podcast": read_msp_podcast,
        "cremad": read_cremad,
        "ravdess": read_ravdess,
        "emodb": read_emodb,
        "meld": read_meld,
        "emobank": read_emobank,
        "goemotions": read_goemotions,
        "xed": read_xed,
        "csv": read_table,
    }
)


def read_corpus(name: str, root: Path, **options: Any) -> list[Item]:
    """Read a corpus by its name; ``options`` are those of its reader.

    Raises ``ConfigError`` for an unknown corpus, and as its reader does.
    """
    if name not in READERS:
        raise ConfigError(f"there is no reader for {name!r}; there are {', '.join(READERS)}.")
    if not root.exists():
        raise ConfigError(f"{root} does not exist; name your own copy of the corpus.")
    return READERS[name](root, **options)
