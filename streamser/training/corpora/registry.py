"""The corpora that can be read, by name; and any other table, whose columns are said to be what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES, canonical_category
from streamser.training.corpora.acted import read_cremad, read_emodb, read_ravdess
from streamser.training.corpora.conversations import read_iemocap, read_meld, read_msp_podcast
from streamser.training.corpora.reading import read_rows
from streamser.training.corpora.texts import read_emobank, read_goemotions, read_xed
from streamser.training.manifest import COLUMNS, Item, parse_row, parse_scale

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
