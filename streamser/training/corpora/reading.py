"""What the readers of corpora share: finding files, reading tables, labels to votes and ratings."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import msgspec

from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.manifest import RatingScale, Split

Categories = Literal["four", "all"]
"""``four``: utterances without one of the four categories are left out; ``all``: they stay,
without a categorical label, for their words, sound and dimensions."""

UNRATED = (math.nan,) * len(DIMENSIONS)


def one_hot(category: str | None) -> tuple[float, ...] | None:
    """Give all votes to a category; no votes for ``None``."""
    return None if category is None else tuple(float(name == category) for name in CATEGORIES)


def vote_shares(counts: Mapping[str, float]) -> tuple[float, ...] | None:
    """Bring counts by category to shares, those of other emotions left out.

    ``None`` where another emotion has at least as many votes as the best of the four: to train
    on the few votes within the four would make up a label that most raters refused.
    """
    votes = [float(counts.get(name, 0)) for name in CATEGORIES]
    others = [count for name, count in counts.items() if name not in CATEGORIES]
    if max(votes) <= max(others, default=0.0):
        return None
    total = math.fsum(votes)
    return tuple(vote / total for vote in votes)


def single_category(labels: Iterable[str], mapping: Mapping[str, str]) -> str | None:
    """Return the category that all labels of a text map to; ``None`` if they do not agree."""
    found = {mapping.get(label) for label in labels}
    return found.pop() if len(found) == 1 else None


def rated(
    valence: float, arousal: float, dominance: float, scale: RatingScale, *, clip: bool = False
) -> tuple[float, ...]:
    """Map ratings on a scale to [0, 1]; ``nan`` stays; ``clip`` brings what lies off it back.

    Raises ``ValueError`` for a rating off the scale.
    """
    values = (valence, arousal, dominance)
    if clip:
        return tuple(min(1.0, max(0.0, scale.unit(v))) if v == v else v for v in values)
    for name, value in zip(DIMENSIONS, values, strict=True):
        if value < scale.low or value > scale.high:
            raise ValueError(f"{name} {value:g} is off the scale {scale}")
    return tuple(scale.unit(value) for value in values)


OWN_SPLITS: Final[Mapping[str, Split]] = MappingProxyType(
    {"train": "train", "dev": "dev", "test": "test"}
)


class Source(NamedTuple):
    """Say what a corpus is called and where it comes from."""

    title: str
    origin: str


class Row(msgspec.Struct, frozen=True):
    """Hold one row of a table by its columns, and where it stands."""

    cells: dict[str, str]
    path: Path
    line: int

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def number(self, column: str) -> float:
        """Return a cell as a number; ``nan`` for an empty one.

        Raises ``ConfigError`` with the line where it is none.
        """
        try:
            return float(self.cells[column] or "nan")
        except ValueError:
            raise self.fault(f"{column} {self.cells[column]!r} is not a number") from None

    def count(self, column: str) -> float:
        """Return a cell as a number from 0 on; 0 for an empty one; ``ConfigError`` for another."""
        value = self.number(column) if self.cells[column] else 0.0
        if not 0 <= value < math.inf:
            raise self.fault(f"{column} {self.cells[column]!r} is not a number from 0 on")
        return value

    def split(self, column: str, names: Mapping[str, Split] = OWN_SPLITS) -> Split:
        """Return a cell as a split, by what the corpus calls it; ``ConfigError`` for another."""
        try:
            return names[self.cells[column]]
        except KeyError:
            known = ", ".join(names)
            raise self.fault(f"{column} {self.cells[column]!r} is none of {known}") from None

    def rated(
        self, valence: str, arousal: str, dominance: str, *, scale: RatingScale, clip: bool = False
    ) -> tuple[float, ...]:
        """Map three cells on a scale to [0, 1]; ``nan`` for an empty one.

        Raises ``ConfigError`` with the line for a rating off the scale, unless ``clip``.
        """
        values = (self.number(valence), self.number(arousal), self.number(dominance))
        try:
            return rated(*values, scale, clip=clip)
        except ValueError as fault:
            raise self.fault(str(fault)) from None

    def fault(self, what: str) -> ConfigError:
        """Make the error that says what is wrong with this row."""
        return ConfigError(f"{self.path} line {self.line}: {what}.")


def find(root: Path, candidates: Sequence[str], source: Source) -> Path:
    """Return the first of several places under a corpus that is there.

    Raises ``ConfigError`` that says what was looked for and where the corpus comes from.
    """
    for candidate in candidates:
        if (root / candidate).exists():
            return root / candidate
    wanted = " or ".join(candidates)
    raise ConfigError(
        f"{root} is no copy of {source.title}: it has no {wanted}. "
        f"Name its top folder; the corpus comes from {source.origin}."
    )


def read_text(path: Path) -> str:
    """Read a file as UTF-8, else as Windows-1252, in which older corpora are written.

    Raises ``ConfigError`` where it cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", errors="replace")


def read_rows(path: Path, columns: Sequence[str], *, delimiter: str = ",") -> Iterator[Row]:
    """Yield the rows of a table with a header, which must have ``columns`` and may have more.

    Raises ``ConfigError`` for a file that is missing or something else.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise ConfigError(
                f"{path} lacks the column {', '.join(map(repr, missing))}; "
                f"it has {', '.join(header[:12]) or 'none'}."
            )
        line = reader.line_num + 1
        for cells in reader:
            if cells:
                if len(cells) < len(header) or any(cells[len(header) :]):
                    raise ConfigError(
                        f"{path} line {line}: {len(cells)} cells, its header {len(header)}."
                    )
                yield Row(dict(zip(header, cells, strict=False)), path, line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise ConfigError(f"{path} is no table: {error}.") from None
