from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from streamser.errors import ConfigError
from streamser.settings_loader import Key, choices, flatten, keys_of, nearest, read_toml


class Small(msgspec.Struct, frozen=True, tag_field="kind", tag="small"):
    """One kind of engine."""

    size: int = 1


class Large(msgspec.Struct, frozen=True, tag_field="kind", tag="large"):
    """Another kind of engine."""

    size: int = 2
    table: dict[str, int] = {}


class Car(msgspec.Struct, frozen=True):
    """A section with all that a section may have."""

    engine: Small | Large | None = None
    colour: Annotated[Literal["red", "blue"], Meta(description="What it looks like.")] = "red"
    seats: tuple[str, ...] = ()
    speed: float | None = None


class Garage(msgspec.Struct, frozen=True):
    """A section in a section."""

    car: Car = Car()


@pytest.fixture
def known() -> dict[str, Key]:
    """Describe the garage."""
    return keys_of(Garage)


def test_every_key_is_listed_once_in_order(known: dict[str, Key]) -> None:
    """Of all kinds that a section may be, and what tells them apart."""
    assert list(known) == [
        "car.engine",
        "car.engine.kind",
        "car.engine.size",
        "car.engine.table",
        "car.colour",
        "car.seats",
        "car.speed",
    ]
    assert known["car.colour"].description == "What it looks like."


def test_a_key_says_what_fits(known: dict[str, Key]) -> None:
    """One of some words, several values, nothing at all."""
    assert choices(known["car.colour"]) == "; choose from blue, red"
    assert choices(known["car.engine.kind"]) == "; choose from large, small"
    assert choices(known["car.speed"]) == choices(None) == ""
    assert [name for name, key in known.items() if key.may_be_none] == ["car.engine", "car.speed"]
    assert [name for name, key in known.items() if key.is_list] == ["car.seats"]


def test_tables_become_dotted_keys(known: dict[str, Key]) -> None:
    """But for a table that is a value itself; what is unknown stays to be refused."""
    table = {"car": {"engine": {"kind": "large", "table": {"a": 1}}, "speed": 3, "wings": {}}}
    assert flatten(table, known) == {
        "car.engine.kind": "large",
        "car.engine.table": {"a": 1},
        "car.speed": 3,
        "car.wings": {},
    }
    assert flatten({"car": 3}, known) == {"car": 3}


def test_an_unknown_key_names_the_nearest(known: dict[str, Key]) -> None:
    """Or where to look."""
    assert (
        nearest("car.color", known, "look.")
        == "unknown key 'car.color'; did you mean 'car.colour'?"
    )
    assert nearest("qqq", known, "look.") == "unknown key 'qqq'; look."


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a = " + "{a = " * 5000]
)
def test_a_file_beyond_all_measure_is_refused(tmp_path: Path, text: str) -> None:
    """Too deep, or a number too long: as any file that is no TOML."""
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"a\.toml is not valid TOML"):
        read_toml(path)


def test_no_table_is_followed_deeper_than_keys_go(known: dict[str, Key]) -> None:
    """It stays a value, of a key that nobody knows and of which no more is told than helps."""
    table: dict[str, Any] = {"x": 1}
    for _ in range(5000):
        table = {"x": table}
    ((key, value),) = flatten(table, known).items()
    assert key not in known
    assert isinstance(value, dict)
    assert len(nearest("x." * 5000, known, "none")) < 200


@pytest.mark.parametrize(
    "text", ["a." * 100_000 + "b = 1", "[" + "a." * 1000 + "b]", "#" * 300_000]
)
def test_a_file_that_would_take_minutes_is_refused(tmp_path: Path, text: str) -> None:
    """Python's parser takes a second for a key of ten thousand parts, and four for twice that."""
    path = tmp_path / "a.toml"
    path.write_text(text)
    begun = time.monotonic()
    with pytest.raises(ConfigError, match=r"config a\.toml"):
        read_toml(path)
    assert time.monotonic() - begun < 2.0


def test_lines_may_end_as_on_any_system(tmp_path: Path) -> None:
    """Also the old Macs'."""
    path = tmp_path / "a.toml"
    path.write_bytes(b"a = 1 # .\r\nb = 2\rc = 3\n")
    assert read_toml(path) == {"a": 1, "b": 2, "c": 3}
