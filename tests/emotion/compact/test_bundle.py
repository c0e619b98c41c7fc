from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from streamser.emotion.compact.bundle import (
    CALIBRATION,
    JUDGE,
    NORM,
    PARTS,
    describe,
    is_bundle,
    load_bundle,
)
from streamser.emotion.compact.words import WORDS
from streamser.errors import ModelError
from streamser.graphs import CONFIG
from tests.emotion.compact.bundles import tiny_bundle


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """Return a small bundle's folder that may be spoilt."""
    return tiny_bundle(tmp_path / "tiny")


def described_again(where: Path) -> None:
    """Make the description fit parts that were exchanged."""
    (where / CONFIG).write_bytes(msgspec.json.encode(describe(where)))


def test_what_was_written_is_read(where: Path) -> None:
    """All parts, and each set of modalities calibrated."""
    bundle = load_bundle(where)
    assert set(bundle.calibrations) == {"audio", "text", "audio+text"}
    assert is_bundle(where)
    assert not is_bundle(where.parent)


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_named(where: Path, part: str) -> None:
    """Never a model with a random half."""
    (where / part).unlink()
    with pytest.raises(ModelError, match=part):
        load_bundle(where)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_another_model_is_refused(where: Path, tmp_path: Path, part: str) -> None:
    """By its hash: a graph of the same shape would run, and say anything."""
    data = (where / part).read_bytes()
    (where / part).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(ModelError, match=f"{part}.*(damaged|cannot)"):
        load_bundle(where)


def _other_format(found: dict[str, object]) -> None:
    found["format"] = "somebody.else"


def _later_version(found: dict[str, object]) -> None:
    found["version"] = 99


def _other_categories(found: dict[str, object]) -> None:
    found["categories"] = ["neutral", "sad"]


def _unknown_field(found: dict[str, object]) -> None:
    found["surprise"] = 1


@pytest.mark.parametrize(
    "spoil", [_other_format, _later_version, _other_categories, _unknown_field]
)
def test_a_description_of_something_else_is_refused(
    where: Path, spoil: Callable[[dict[str, object]], None]
) -> None:
    """In one line that names the file."""
    found = json.loads((where / CONFIG).read_text())
    spoil(found)
    (where / CONFIG).write_text(json.dumps(found))
    with pytest.raises(ModelError, match=r"config\.json") as caught:
        load_bundle(where)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_none_are_refused(where: Path) -> None:
    """One nan in what is usual would make all readings nan."""
    with np.load(where / NORM) as arrays:
        parts = dict(arrays)
    parts["mean"][3] = np.nan
    np.savez(where / NORM, **parts)
    described_again(where)
    with pytest.raises(ModelError, match=r"norm\.npz.*finite"):
        load_bundle(where)


def test_graphs_that_were_exchanged_are_told_apart_by_their_inputs(where: Path) -> None:
    """Though both are ONNX."""
    (where / JUDGE).write_bytes((where / WORDS).read_bytes())
    described_again(where)
    with pytest.raises(ModelError, match=r"judge\.onnx takes ids, mask"):
        load_bundle(where)


def test_a_calibration_that_cannot_be_is_refused(where: Path) -> None:
    """A temperature of nothing."""
    (where / CALIBRATION).write_text('{"audio": {"temperature": 0}}')
    described_again(where)
    with pytest.raises(ModelError, match="temperature"):
        load_bundle(where)


def _no_header(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,\n"
        archive.writestr("mean.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)


def _far_too_long(path: Path) -> None:
    np.savez_compressed(path, mean=np.zeros(10_000_000))


def _no_archive(path: Path) -> None:
    path.write_bytes(b"PK")


@pytest.mark.parametrize("spoil", [_no_header, _far_too_long, _no_archive])
def test_an_archive_that_makes_no_sense_is_refused(
    where: Path, spoil: Callable[[Path], None]
) -> None:
    """Also where its hash fits: it may have been written to do harm."""
    spoil(where / NORM)
    described_again(where)
    with pytest.raises(ModelError, match=NORM):
        load_bundle(where)


@pytest.mark.parametrize("part", [CONFIG, CALIBRATION])
def test_what_is_nested_too_deeply_is_refused(where: Path, part: str) -> None:
    """As anything that does not describe a model."""
    (where / part).write_text('{"a":' + "[" * 100_000)
    if part != CONFIG:
        described_again(where)
    with pytest.raises(ModelError, match=part):
        load_bundle(where)
    assert is_bundle(where) == (part != CONFIG)


@pytest.mark.parametrize(("name", "spoilt"), [(b"MatMul", b"MatM\xffl"), (b"known", b"kn\xffwn")])
def test_a_graph_that_cannot_be_opened_is_told_by_the_error_alone(
    where: Path, capfd: pytest.CaptureFixture[str], name: bytes, spoilt: bytes
) -> None:
    """Nothing comes between the events on the output."""
    content = (where / JUDGE).read_bytes()
    (where / JUDGE).write_bytes(content.replace(name, spoilt))
    described_again(where)
    with pytest.raises(ModelError, match=JUDGE):
        load_bundle(where)
    assert capfd.readouterr().out == ""
