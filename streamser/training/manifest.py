"""The manifest: one CSV table of utterances, whatever corpus they come from."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast

import msgspec

from streamser.errors import ConfigError
from streamser.saving import writing
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.text import as_text, said_by

Split = Literal["train", "dev", "test", ""]
SPLITS: Final = ("train", "dev", "test")


class MelSpan(msgspec.Struct, frozen=True):
    """Point at ready-made log-mel frames: rows ``offset`` to ``offset + frames`` of an archive.

    ``archive`` is a ``.npz`` that ``training.sounds.read_archive`` reads.
    """

    archive: Path
    offset: int
    frames: int


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one utterance and its labels; any of audio, words and labels may be missing.

    ``votes`` gives a weight to each of ``CATEGORIES`` (shares of the raters or of one label);
    it sums to 1, or is ``None`` without a categorical label. ``dimensions`` gives valence,
    arousal and dominance in [0, 1], ``nan`` where there is no rating. ``text`` is what was
    said, ``text_asr`` what a recogniser made of it.
    """

    id: str
    corpus: str
    speaker: str
    session: str = ""
    split: Split = ""
    audio: Path | None = None
    mel: MelSpan | None = None
    text: str | None = None
    text_asr: str | None = None
    votes: tuple[float, ...] | None = None
    dimensions: tuple[float, ...] = (math.nan,) * len(DIMENSIONS)

    @property
    def category(self) -> str | None:
        """Return the category with most votes, or ``None`` without votes or at a draw."""
        if self.votes is None:
            return None
        most = max(self.votes)
        if self.votes.count(most) > 1:
            return None
        return CATEGORIES[self.votes.index(most)]

    @property
    def has_sound(self) -> bool:
        """Say whether there is a recording or its features."""
        return self.audio is not None or self.mel is not None


COLUMNS: Final = (
    *("id", "corpus", "speaker", "session", "split", "audio", "mel", "text", "text_asr"),
    *CATEGORIES,
    *DIMENSIONS,
    "scale",
)
_UNIT: Final = "0:1"
_WORDS: Final = frozenset(COLUMNS[: COLUMNS.index(CATEGORIES[0])])
"""Columns of texts, which no table program is to take for formulas: see ``as_text``."""


class RatingScale(NamedTuple):
    """Name the ends of a rating scale, lowest and highest."""

    low: float
    high: float

    def unit(self, value: float) -> float:
        """Map a rating to [0, 1]."""
        return (value - self.low) / (self.high - self.low)

    def __str__(self) -> str:
        return f"{self.low:g}:{self.high:g}"


def parse_scale(text: str) -> RatingScale:
    """Read a scale such as ``1:5``, ``0:1`` or ``-1:1``; raises ``ValueError``."""
    low, colon, high = text.partition(":")
    if not colon:
        raise ValueError(f"scale {text!r} is not two numbers with a colon")
    scale = RatingScale(_number(low, "scale"), _number(high, "scale"))
    if scale.low >= scale.high:
        raise ValueError(f"scale {text!r} does not rise")
    return scale


def chosen(items: Sequence[Item], split: str) -> list[Item]:
    """Return the items of a split; all of them for ``all`` and where no split is marked.

    Raises ``ConfigError`` for a split that there is not, or has none.
    """
    if split not in (*SPLITS, "all"):
        raise ConfigError(f"--split {split}: choose {', '.join(SPLITS)} or all.")
    if split == "all" or not any(item.split for item in items):
        return list(items)
    found = [item for item in items if item.split == split]
    if not found:
        raise ConfigError(f"--split {split}: the manifest marks none so; choose another, or all.")
    return found


def read_manifest(path: Path) -> list[Item]:
    """Read a manifest: a UTF-8 CSV with exactly the columns ``COLUMNS``, in any order.

    ``audio`` is relative to the manifest's folder, or absolute; ``mel`` is
    ``archive.npz:offset:frames``. The four category columns are weights of any size (shares,
    counts, a single 1), brought to sum 1; none of them filled: no categorical label. Each of the
    dimensions lies on the row's ``scale`` (``1:5``, ``-1:1``) and is mapped to [0, 1] by
    (x - low) / (high - low); empty: no rating. A row that is only words needs no speaker: it is
    its own. Whether the sound files are there is not looked at; see ``missing_files``.

    Raises ``ConfigError`` with the line of the fault.
    """
    items: list[Item] = []
    places: list[str] = []
    for line, row in _rows(path):
        try:
            items.append(parse_row(row, path.parent))
        except ValueError as fault:
            raise ConfigError(f"{path} line {line}: {fault}.") from None
        places.append(f"line {line}")
    if not items:
        raise ConfigError(f"{path} holds no utterances, only its header.")
    _check(items, places, str(path))
    return items


def parse_row(row: Mapping[str, str], folder: Path) -> Item:
    """Read the cells of a row, all ``COLUMNS`` of it; see ``read_manifest``.

    Raises ``ValueError`` that says what is wrong with it.
    """
    for name in ("id", "corpus"):
        if not row[name]:
            raise ValueError(f"the {name} is empty")
    if row["split"] and row["split"] not in SPLITS:
        raise ValueError(f"split {row['split']!r} is none of {', '.join(SPLITS)} (or empty)")
    if not (row["audio"] or row["mel"] or row["text"] or row["text_asr"]):
        raise ValueError("neither sound (audio, mel) nor text")
    heard = bool(row["audio"] or row["mel"])
    if heard and not row["speaker"]:
        raise ValueError("sound without a speaker; name one, or speakers may leak between splits")
    return Item(
        id=row["id"],
        corpus=row["corpus"],
        speaker=row["speaker"] or row["id"],
        session=row["session"],
        split=cast(Split, row["split"]),
        audio=folder / row["audio"] if row["audio"] else None,
        mel=_mel(row["mel"], folder) if row["mel"] else None,
        text=row["text"] or None,
        text_asr=row["text_asr"] or None,
        votes=_votes(row),
        dimensions=_dimensions(row),
    )


def write_manifest(items: Sequence[Item], path: Path) -> None:
    """Write items as a manifest; files under its folder are named relative to it.

    Raises ``ConfigError`` for items that ``read_manifest`` would refuse.
    """
    check_items(items, str(path))
    folder = Path(os.path.abspath(path.parent))
    rows = [_checked_row(item, folder, path) for item in items]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_guarded, rows))
    try:
        with writing(path) as file:
            file.write(text.getvalue().encode())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def check_items(items: Sequence[Item], where: str) -> None:
    """Refuse an id that comes twice, and a speaker of one corpus in two splits (leakage).

    Raises ``ConfigError`` that names both utterances; ``where`` begins its line.
    """
    _check(items, [item.id for item in items], where)


def missing_files(items: Iterable[Item]) -> list[Path]:
    """Return the recordings and archives that items name and that are not there, each once."""
    named = dict.fromkeys(
        path for item in items for path in (item.audio, item.mel and item.mel.archive) if path
    )
    return [path for path in named if not path.is_file()]


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row by the number of its first line; quoted cells may span several."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if not header:
                raise ConfigError(f"{path} is empty; `streamser corpus` writes manifests.")
            _check_header(header, path)
            line = reader.line_num + 1
            for cells in reader:
                if cells:
                    if len(cells) != len(header):
                        raise ConfigError(
                            f"{path} line {line} has {len(cells)} cells, its header {len(header)}."
                        )
                    row = zip(header, cells, strict=True)
                    yield line, {k: said_by(cell) if k in _WORDS else cell for k, cell in row}
                line = reader.line_num + 1
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a manifest: it is not UTF-8 text.") from None
    except csv.Error as error:
        raise ConfigError(f"{path} is not a CSV table: {error}.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None


def _check_header(header: Sequence[str], path: Path) -> None:
    missing = [name for name in COLUMNS if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    twice = sorted({name for name in header if header.count(name) > 1})
    for what, names in (("lacks", missing), ("has unknown", unknown), ("has twice", twice)):
        if names:
            columns = "the columns" if len(names) > 1 else "the column"
            raise ConfigError(
                f"{path} line 1 {what} {columns} {', '.join(map(repr, names))}; a manifest has "
                f"{','.join(COLUMNS)}. `streamser corpus csv` reads tables with other columns."
            )


def _mel(text: str, folder: Path) -> MelSpan:
    parts = text.rsplit(":", 2)
    if len(parts) != 3 or not (parts[1].isdecimal() and parts[2].isdecimal() and int(parts[2])):
        raise ValueError(f"mel {text!r} is not archive.npz:offset:frames")
    return MelSpan(folder / parts[0], int(parts[1]), int(parts[2]))


def _votes(row: Mapping[str, str]) -> tuple[float, ...] | None:
    if not any(row[name] for name in CATEGORIES):
        return None
    votes = [_number(row[name] or "0", name) for name in CATEGORIES]
    for name, weight in zip(CATEGORIES, votes, strict=True):
        if weight < 0:
            raise ValueError(f"the votes for {name} are negative: {weight:g}")
    total = math.fsum(votes)
    if not total:
        raise ValueError("all votes are zero; leave them empty if there is no label")
    return tuple(weight / total for weight in votes)


def _dimensions(row: Mapping[str, str]) -> tuple[float, ...]:
    if not any(row[name] for name in DIMENSIONS):
        return (math.nan,) * len(DIMENSIONS)
    if not row["scale"]:
        raise ValueError("ratings without a scale; write 1:5 or what they were given on")
    scale = parse_scale(row["scale"])
    values = []
    for name in DIMENSIONS:
        value = _number(row[name], name) if row[name] else math.nan
        if value < scale.low or value > scale.high:
            raise ValueError(f"{name} {row[name]} is off the scale {row['scale']}")
        values.append(scale.unit(value))
    return tuple(values)


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name} {text!r} is not a number")
    return value


def _check(items: Sequence[Item], places: Sequence[str], where: str) -> None:
    seen: dict[str, str] = {}
    splits: dict[tuple[str, str], tuple[str, str]] = {}
    for item, place in zip(items, places, strict=True):
        if item.id in seen:
            raise ConfigError(f"{where} {place}: the id {item.id!r} was in {seen[item.id]}.")
        seen[item.id] = place
        if item.split:
            key = (item.corpus, item.speaker)
            split, first = splits.setdefault(key, (item.split, place))
            if split != item.split:
                raise ConfigError(
                    f"{where} {place}: speaker {item.speaker!r} of {item.corpus} is in "
                    f"{item.split}, but in {split} in {first}; a speaker in two splits is leakage."
                )


def _checked_row(item: Item, folder: Path, path: Path) -> list[str]:
    row = _row(item, folder)
    try:
        parse_row(dict(zip(COLUMNS, row, strict=True)), folder)
    except ValueError as fault:
        raise ConfigError(f"{path} {item.id}: {fault}.") from None
    return row


def _guarded(row: Sequence[str]) -> list[str]:
    cells = zip(COLUMNS, row, strict=True)
    return [as_text(cell) if name in _WORDS else cell for name, cell in cells]


def _row(item: Item, folder: Path) -> list[str]:
    mel = ""
    if item.mel is not None:
        mel = f"{_named(item.mel.archive, folder)}:{item.mel.offset}:{item.mel.frames}"
    rated = not all(math.isnan(value) for value in item.dimensions)
    return [
        *(item.id, item.corpus, item.speaker, item.session, item.split),
        "" if item.audio is None else _named(item.audio, folder),
        mel,
        item.text or "",
        item.text_asr or "",
        *(f"{vote:.6g}" for vote in item.votes or ()),
        *("" for _ in CATEGORIES if item.votes is None),
        *("" if math.isnan(value) else f"{value:.6g}" for value in item.dimensions),
        _UNIT if rated else "",
    ]


def _named(path: Path, folder: Path) -> str:
    whole = Path(os.path.abspath(path))
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else str(whole)
