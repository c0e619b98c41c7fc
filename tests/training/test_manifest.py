"""The manifest: what goes in comes out, and what is wrong is named with its line."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.manifest import (
    COLUMNS,
    Item,
    MelSpan,
    missing_files,
    parse_scale,
    read_manifest,
    write_manifest,
)

SOUND = {"id": "a", "corpus": "c", "speaker": "s1", "audio": "a.wav"}


def _write(path: Path, *rows: dict[str, str], columns: tuple[str, ...] = COLUMNS) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _read_one(tmp_path: Path, **cells: str) -> Item:
    (item,) = read_manifest(_write(tmp_path / "m.csv", SOUND | cells))
    return item


def test_items_survive_writing_and_reading(tmp_path: Path) -> None:
    """Every field comes back, commas, quotes and line ends in words too."""
    items = [
        Item(
            id="a",
            corpus="c",
            speaker="s1",
            session="1",
            split="train",
            audio=tmp_path / "wav" / "a.wav",
            text='He said: "no,\nnever" …',
            text_asr="he said no never",
            votes=(0.25, 0.0, 0.5, 0.25),
            dimensions=(0.125, math.nan, 1.0),
        ),
        Item(id="b", corpus="c", speaker="s2", mel=MelSpan(tmp_path / "x:y.npz", 7, 120)),
    ]
    write_manifest(items, tmp_path / "m.csv")
    back = read_manifest(tmp_path / "m.csv")
    assert repr(back) == repr(items)
    assert "wav/a.wav" in (tmp_path / "m.csv").read_text(encoding="utf-8")
    assert str(tmp_path) not in (tmp_path / "m.csv").read_text(encoding="utf-8")


def test_texts_of_a_manifest_are_no_formulas(tmp_path: Path) -> None:
    """Table programs show them; reading the manifest gives what was said."""
    item = Item(id="=a", corpus="c", speaker="@s", text="-- no\n-1", text_asr="'+one")
    write_manifest([item], tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    said = (row["id"], row["speaker"], row["text"], row["text_asr"])
    assert said == ("'=a", "'@s", "'-- no\n-1", "''+one")
    assert repr(read_manifest(tmp_path / "m.csv")) == repr([item])


def test_a_manifest_elsewhere_names_files_absolutely(tmp_path: Path) -> None:
    """Sound outside of the manifest's folder is found again."""
    (tmp_path / "there").mkdir()
    item = Item(id="a", corpus="c", speaker="s", audio=tmp_path / "a.wav")
    write_manifest([item], tmp_path / "there" / "m.csv")
    assert read_manifest(tmp_path / "there" / "m.csv")[0].audio == tmp_path / "a.wav"


@pytest.mark.parametrize(
    ("scale", "value", "unit"),
    [
        ("1:5", "1", 0.0),
        ("1:5", "4", 0.75),
        ("-1:1", "0", 0.5),
        ("1:7", "7", 1.0),
        ("0:1", ".3", 0.3),
    ],
)
def test_ratings_are_mapped_from_their_scale(
    tmp_path: Path, scale: str, value: str, unit: float
) -> None:
    """(x - low) / (high - low), and an empty rating stays unknown."""
    valence, arousal, _ = _read_one(tmp_path, valence=value, scale=scale).dimensions
    assert valence == pytest.approx(unit)
    assert math.isnan(arousal)


def test_votes_are_weights_of_any_size(tmp_path: Path) -> None:
    """Counts of raters become shares; an empty cell beside filled ones is none."""
    item = _read_one(tmp_path, neutral="3", angry="1")
    assert item.votes == (0.75, 0.0, 0.0, 0.25)
    assert item.category == "neutral"


def test_words_alone_are_their_own_speaker(tmp_path: Path) -> None:
    """A text nobody is known to have said shares its speaker with no other."""
    (item,) = read_manifest(_write(tmp_path / "m.csv", {"id": "t1", "corpus": "c", "text": "well"}))
    assert item.speaker == "t1"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"id": ""}, "line 2: the id is empty"),
        ({"split": "validation"}, "split 'validation' is none of train, dev, test"),
        ({"audio": ""}, "neither sound (audio, mel) nor text"),
        ({"speaker": ""}, "sound without a speaker"),
        ({"valence": "5.5", "scale": "1:5"}, "valence 5.5 is off the scale 1:5"),
        ({"arousal": "-.1", "scale": "0:1"}, "arousal -.1 is off the scale 0:1"),
        ({"valence": "3"}, "ratings without a scale"),
        ({"valence": "3", "scale": "5:1"}, "scale '5:1' does not rise"),
        ({"valence": "3", "scale": "five"}, "scale 'five' is not two numbers"),
        ({"valence": "high", "scale": "1:5"}, "valence 'high' is not a number"),
        ({"valence": "nan", "scale": "1:5"}, "valence 'nan' is not a number"),
        ({"happy": "-1", "sad": "2"}, "the votes for happy are negative: -1"),
        ({"happy": "0", "sad": "0"}, "all votes are zero"),
        ({"happy": "inf"}, "happy 'inf' is not a number"),
        ({"mel": "mels.npz:4"}, "mel 'mels.npz:4' is not archive.npz:offset:frames"),
        ({"mel": "mels.npz:4:0"}, "is not archive.npz:offset:frames"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(
    tmp_path: Path, cells: dict[str, str], said: str
) -> None:
    """One line that names the file, the line and the fault."""
    with pytest.raises(ConfigError) as refusal:
        _read_one(tmp_path, **cells)
    assert f"{tmp_path / 'm.csv'} line 2" in str(refusal.value)
    assert said in str(refusal.value)


def test_an_id_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    """Lines are counted as an editor does, over cells of several lines."""
    path = _write(tmp_path / "m.csv", SOUND | {"text": "one\ntwo\nthree"}, SOUND)
    with pytest.raises(ConfigError, match="line 5: the id 'a' was in line 2"):
        read_manifest(path)


def test_a_speaker_in_two_splits_is_refused_with_both_lines(tmp_path: Path) -> None:
    """Leakage is no warning."""
    path = _write(
        tmp_path / "m.csv",
        SOUND | {"split": "train"},
        SOUND | {"id": "b", "split": "train"},
        SOUND | {"id": "c", "split": "test"},
    )
    with pytest.raises(
        ConfigError, match=r"line 4: speaker 's1' of c is in test, but in train in line 2"
    ):
        read_manifest(path)


def test_the_same_name_in_two_corpora_is_not_the_same_speaker(tmp_path: Path) -> None:
    """Corpora number their speakers each from 1."""
    path = _write(
        tmp_path / "m.csv",
        SOUND | {"split": "train"},
        SOUND | {"id": "b", "split": "test", "corpus": "d"},
    )
    assert [item.split for item in read_manifest(path)] == ["train", "test"]


def test_items_that_could_not_be_read_back_are_not_written(tmp_path: Path) -> None:
    """A reader's mistake is found where it is made; no file is left behind."""
    leak = [
        Item(id="a", corpus="c", speaker="s", split="train", text="x"),
        Item(id="b", corpus="c", speaker="s", split="dev", text="x"),
    ]
    silent = [Item(id="a", corpus="c", speaker="s")]
    high = [Item(id="a", corpus="c", speaker="s", text="x", dimensions=(1.5, 0.0, 0.0))]
    for items, said in ((leak, "leakage"), (silent, "neither sound"), (high, "off the scale")):
        with pytest.raises(ConfigError, match=said):
            write_manifest(items, tmp_path / "m.csv")
    assert not list(tmp_path.iterdir())


def test_columns_must_be_those_of_a_manifest(tmp_path: Path) -> None:
    """Missing, unknown and doubled columns are named."""
    missing = _write(tmp_path / "1.csv", columns=COLUMNS[:-1])
    unknown = _write(tmp_path / "2.csv", columns=(*COLUMNS, "emotion"))
    doubled = _write(tmp_path / "3.csv", columns=(*COLUMNS, "id"))
    with pytest.raises(ConfigError, match="lacks the column 'scale'"):
        read_manifest(missing)
    with pytest.raises(ConfigError, match="has unknown the column 'emotion'"):
        read_manifest(unknown)
    with pytest.raises(ConfigError, match="has twice the column 'id'"):
        read_manifest(doubled)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"path,emotion\n", "lacks the columns"),
        (b"\xff\xfe\x00i", "not UTF-8"),
        (",".join(COLUMNS).encode(), "holds no utterances"),
        (",".join(COLUMNS).encode() + b"\na,b\n", "line 2 has 2 cells, its header 17"),
        (",".join(COLUMNS).encode() + b'\n"a"b,c\n', "is not a CSV table"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """Other files get one line too."""
    path = tmp_path / "m.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said.replace("17", str(len(COLUMNS)))):
        read_manifest(path)


def test_a_missing_manifest_and_a_folder_are_refused(tmp_path: Path) -> None:
    """The system's reason is given."""
    with pytest.raises(ConfigError, match="No such file"):
        read_manifest(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="Is a directory"):
        read_manifest(tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    """Spreadsheets write one."""
    path = _write(tmp_path / "m.csv", SOUND)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_manifest(path)[0].id == "a"


def test_missing_files_are_named_once(tmp_path: Path) -> None:
    """Reading does not look for sound; this does."""
    (tmp_path / "a.wav").touch()
    archive = tmp_path / "mels.npz"
    items = [
        Item(id="1", corpus="c", speaker="s", audio=tmp_path / "a.wav"),
        Item(id="2", corpus="c", speaker="s", mel=MelSpan(archive, 0, 1)),
        Item(id="3", corpus="c", speaker="s", mel=MelSpan(archive, 1, 1)),
        Item(id="4", corpus="c", speaker="s", text="words"),
    ]
    assert missing_files(items) == [archive]


def test_a_scale_is_two_numbers_that_rise() -> None:
    """Anything else is a ValueError."""
    assert parse_scale("-1:1").unit(0.5) == 0.75
    for text in ("1", "1:1", "a:b", ""):
        with pytest.raises(ValueError, match="scale"):
            parse_scale(text)
