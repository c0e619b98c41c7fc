from __future__ import annotations

from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from streamser.toml import Key, choices, flatten, keys_of, nearest


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
