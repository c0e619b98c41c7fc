"""The house stays one that can be lived in: small rooms, no circles, nothing leads upwards."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

import streamser
from tools.house import (
    FLOORS,
    WHEEL,
    Module,
    builders,
    circles,
    floor_of,
    imports_of,
    imports_upwards,
    read_modules,
    rooms,
    twice_named,
    verbs,
)

REPOSITORY = Path(streamser.__file__).parents[1]
MOST_LINES = 500
MOST_FILES = 252
MOST_IN_A_ROOM = 15
MOST_HEAD = 0.093
MOST_VERBS = 6
# What a stream runs through; what trains models, and what runs them on torch, is apart.
ROAD = ("events", "audio", "speech", "emotion", "pipeline", "server")
# The words of Python and of the field, which everybody knows; the field of an event; and what each
# model, and whatever stands before one, has by the interface of models, or each dialect by that of
# dialects.
COMMON = {
    "snapshot",
    "restore",
    "close",
    "start",
    "stop",
    "open",
    "flush",
    "reset",
    "load",
    "clear",
    "clock_ms",
}
INTERFACE = {"adapt", "encode", "forget", "new_speaker", "predict"}

# What does not hold yet; each is taken out by who mends it.
NOT_YET_LONG: set[str] = set()
NOT_YET_IN_A_ROOM = {"streamser.server": 18}
NOT_YET_VERBS: set[str] = set()
NOT_YET_TWICE: set[str] = set()


@pytest.fixture(scope="module")
def wheel() -> dict[str, Module]:
    """Read every module that ships."""
    return read_modules(WHEEL)


def on_the_road(wheel: dict[str, Module]) -> dict[str, Module]:
    """Return the modules of the rooms that a stream runs through."""
    aside = {"fused", "hub_models"}
    return {
        name: module
        for name, module in wheel.items()
        if set(ROAD) & set(name.split(".")[1:2]) and not aside & set(name.split(".")[2:3])
    }


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    """Neither in the package nor in the tools."""
    lengths = {
        f"{path.relative_to(REPOSITORY)}": len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("streamser", "tools", "scripts")
        for path in (REPOSITORY / folder).rglob("*.py")
    }
    assert {name for name, lines in lengths.items() if lines > MOST_LINES} <= NOT_YET_LONG


def test_no_room_is_larger_than_one_can_know(wheel: dict[str, Module]) -> None:
    """Packages have few files, and the whole has few."""
    assert len(wheel) <= MOST_FILES
    crowded = {
        name: count
        for name, count in rooms(wheel).items()
        if count > max(MOST_IN_A_ROOM, NOT_YET_IN_A_ROOM.get(name, 0))
    }
    assert crowded == {}


def test_files_are_more_than_their_heads(wheel: dict[str, Module]) -> None:
    """Docstring, imports and ``__all__`` are a small share of the lines."""
    share = sum(each.head for each in wheel.values()) / sum(len(m.lines) for m in wheel.values())
    assert share <= MOST_HEAD


def test_no_modules_import_each_other(wheel: dict[str, Module]) -> None:
    """Neither at their heads nor in their functions, nor by way of others."""
    assert circles(wheel) == []


def test_nothing_is_imported_from_a_higher_floor(wheel: dict[str, Module]) -> None:
    """Events know no models, models no pipeline, the pipeline no server, nobody the commands."""
    packages = {name.split(".")[1] for name in wheel if name.count(".") > 1}
    assert packages <= set(FLOORS)
    assert imports_upwards(wheel) == []


def test_the_package_needs_no_tools(wheel: dict[str, Module]) -> None:
    """What ships imports nothing that does not."""
    strangers = {
        f"{name} imports {each}" for name, module in wheel.items() for each in roots(module)
    }
    assert {
        line for line in strangers if line.split()[-1] in ("tools", "tests", "scripts")
    } == set()


def roots(module: Module) -> set[str]:
    """Return the packages that a module imports from, whatever they are."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name} imports relatively"
            found.add((node.module or "").partition(".")[0])
    return found


def test_a_final_is_born_in_one_place(wheel: dict[str, Module]) -> None:
    """Who looks for where ``EmotionCompleted`` is made finds one module."""
    assert builders("EmotionCompleted", wheel) == ["streamser.pipeline.session"]


def test_no_class_has_a_namesake(wheel: dict[str, Module]) -> None:
    """A name means one thing, wherever one meets it."""
    assert set(twice_named(wheel)) <= NOT_YET_TWICE


def test_no_word_of_our_own_is_said_of_everything(wheel: dict[str, Module]) -> None:
    """A verb that many classes define tells a reader nothing."""
    common = {
        name
        for name, count in verbs(on_the_road(wheel)).items()
        if count > MOST_VERBS and name not in COMMON | INTERFACE
    }
    assert common <= NOT_YET_VERBS


def test_the_version_is_the_same_wherever_it_stands() -> None:
    """For packagers, and for who asks the program."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == streamser.__version__


def modules(**sources: str) -> dict[str, Module]:
    """Make a package of modules from their sources."""
    whole = {
        "streamser": "",
        **{f"streamser.{k.replace('__', '.')}": v for k, v in sources.items()},
    }
    return {name: Module(name, text.splitlines(), ast.parse(text)) for name, text in whole.items()}


def test_circles_are_found_wherever_the_import_stands() -> None:
    """In a function, and by way of a third; what only types need is no import."""
    late = "def late():\n    from streamser.c import thing\n"
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from streamser.a import A\n"
    made = modules(a="from streamser import b", b=late, c="import streamser.a", d=typed)
    assert circles(made) == [["streamser.a", "streamser.b", "streamser.c"]]
    assert imports_of(made["streamser.d"], made) == set()


def test_an_import_upwards_is_found() -> None:
    """From the floor of the importer; the same floor is no way up."""
    made = modules(audio__file="from streamser.server import app", server__app="", names="")
    assert imports_upwards(made | modules(server="")) == [
        ("streamser.audio.file", "streamser.server.app")
    ]
    assert floor_of("streamser.text") < floor_of("streamser.audio.file")
    with pytest.raises(KeyError):
        floor_of("streamser.attic.chest")


def test_a_head_ends_where_the_first_definition_begins() -> None:
    """Docstring, imports, ``__all__`` and blank lines belong to it, decorators do not."""
    text = '"""A module."""\n\nimport os\n\n__all__ = ["f"]\n\n\n@os.cache\ndef f():\n    pass\n'
    assert modules(a=text)["streamser.a"].head == 7


def test_who_hands_a_class_on_builds_it_too() -> None:
    """``draft(EmotionCompleted)`` makes one as much as a call does; a question does not."""
    made = modules(
        a="EmotionCompleted(1)",
        b="draft(EmotionCompleted)",
        c="isinstance(event, EmotionCompleted)",
        d="events.EmotionCompleted(2)",
    )
    assert builders("EmotionCompleted", made) == ["streamser.a", "streamser.b", "streamser.d"]
