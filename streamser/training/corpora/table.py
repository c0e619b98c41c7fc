"""Any other table: columns of the user's own, said to be what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES, canonical_category
from streamser.training.corpora.files import read_rows
from streamser.training.items import Item
from streamser.training.manifest import COLUMNS, parse_row, parse_scale

__all__ = ["read"]

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


def read(
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
