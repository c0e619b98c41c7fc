"""The house in figures: how many files, how much of them is head, what leads to what.

python -m tools.house            # what can be read without running anything
python -m tools.house --roads    # and the files that a stream enters, traced
"""

from __future__ import annotations

import argparse
import ast
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import streamser

__all__ = [
    "FLOORS",
    "WHEEL",
    "Module",
    "builders",
    "circles",
    "figures",
    "floor_of",
    "imports_of",
    "imports_upwards",
    "read_modules",
    "rooms",
    "twice_named",
    "verbs",
]

WHEEL = Path(streamser.__file__).parent

FLOORS: Mapping[str, int] = {
    "": 0,
    "events": 1,
    "audio": 2,
    "speech": 3,
    "emotion": 4,
    "pipeline": 5,
    "export": 6,
    "report": 6,
    "hosting": 6,
    "cluster": 7,
    "training": 7,
    "api": 8,
    "client": 8,
    "integrations": 8,
    "server": 8,
    "cli": 9,
}
"""The packages of the wheel from the ground up; single modules, but for these, are the ground."""


class Module(NamedTuple):
    """Hold one module: its dotted name, its text by lines, and its syntax tree."""

    name: str
    lines: Sequence[str]
    tree: ast.Module

    @property
    def head(self) -> int:
        """Return how many lines stand before the first definition.

        The head is the docstring, the imports and ``__all__``, blank lines between them counted.
        """
        for node in self.tree.body:
            if not _of_the_head(node):
                decorators = getattr(node, "decorator_list", ())
                lines: list[int] = [node.lineno, *(each.lineno for each in decorators)]
                return min(lines) - 1
        return len(self.lines)


def read_modules(root: Path) -> dict[str, Module]:
    """Read all modules of a package by their dotted names; ``root`` is its folder."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, text.splitlines(), ast.parse(text))
    return found


def imports_of(module: Module, known: Mapping[str, Module]) -> set[str]:
    """Return which known modules a module imports, at its head or in its functions.

    What stands under ``if TYPE_CHECKING`` is not imported when the program runs, and is left out.
    """
    found = set()
    for node in _at_run_time(module.tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {target for name in names if (target := _nearest(name, known)) is not None}
    return found - {module.name}


def circles(modules: Mapping[str, Module]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or by others."""
    arrows = {name: imports_of(module, modules) for name, module in modules.items()}
    reached = {name: _reached(name, arrows) for name in arrows}
    groups = {
        tuple(sorted(other for other in reached[name] if name in reached[other]))
        for name in arrows
        if name in reached[name]
    }
    return [list(group) for group in sorted(groups)]


def floor_of(name: str) -> int:
    """Return the floor of a module; raises ``KeyError`` for a package that has none."""
    parts = name.split(".")
    # The package itself, and what starts the program, are above everything.
    if len(parts) == 1 or parts[1] == "__main__":
        return max(FLOORS.values()) + 1
    package = parts[1] if parts[1] in FLOORS or len(parts) > 2 else ""
    return FLOORS[package]


def imports_upwards(modules: Mapping[str, Module]) -> list[tuple[str, str]]:
    """Return each import of a module on a higher floor; ``streamser`` itself is none."""
    return sorted(
        (name, target)
        for name, module in modules.items()
        for target in imports_of(module, modules)
        if "." in target and floor_of(target) > floor_of(name)
    )


def twice_named(modules: Mapping[str, Module]) -> dict[str, list[str]]:
    """Return class names that are defined in several modules, and where."""
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for module in modules.values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(module.name)
    return {name: where for name, where in sorted(homes.items()) if len(where) > 1}


def builders(name: str, modules: Mapping[str, Module]) -> list[str]:
    """Return the modules that call a class, or hand it on to be called."""
    return [
        module.name
        for module in modules.values()
        if any(_builds(node, name) for node in ast.walk(module.tree))
    ]


def rooms(modules: Mapping[str, Module]) -> Counter[str]:
    """Count the files of each package, those of packages within it apart."""
    packages = {name.rpartition(".")[0] for name in modules if "." in name}
    return Counter(
        name if name in packages else name.rpartition(".")[0] for name in modules if name
    )


def verbs(modules: Mapping[str, Module]) -> Counter[str]:
    """Count how often each name is defined as a public method."""
    return Counter(
        each.name
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        and not each.name.startswith("_")
    )


def figures(modules: Mapping[str, Module]) -> Iterator[tuple[str, str]]:
    """Yield what there is to know of a package, by name."""
    lines = sum(len(module.lines) for module in modules.values())
    heads = sum(module.head for module in modules.values())
    largest = max(modules.values(), key=lambda module: len(module.lines))
    by_room = ", ".join(f"{name} {count}" for name, count in rooms(modules).most_common())
    twice = twice_named(modules)
    yield "files", f"{len(modules)}"
    yield "lines", f"{lines}, {lines / len(modules):.0f} a file"
    yield "heads of files", f"{heads} lines, {heads / lines:.1%}"
    yield "largest", f"{largest.name}, {len(largest.lines)} lines"
    yield "files by package", by_room
    yield "class names that stand twice", f"{len(twice)}: {', '.join(twice)}"
    common = ", ".join(f"{name} {count}" for name, count in verbs(modules).most_common(12))
    yield "methods defined most often", common
    yield "circles", "; ".join(" ".join(group) for group in circles(modules)) or "none"
    upwards = "; ".join(f"{name} imports {target}" for name, target in imports_upwards(modules))
    yield "imports upwards", upwards or "none"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m tools.house")
    parser.add_argument("--roads", action="store_true", help="trace a stream as well")
    asked = parser.parse_args()
    for name, value in figures(read_modules(WHEEL)):
        print(f"{name}: {value}")
    if asked.roads:
        from tools.roads import library_road, server_road

        for road in (library_road(), server_road()):
            print(road)


def _of_the_head(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            return True
    return False


def _builds(node: ast.AST, name: str) -> bool:
    if not isinstance(node, ast.Call):
        return False
    asked = _last_name(node.func)
    if asked in ("isinstance", "issubclass"):
        return False
    return asked == name or any(_last_name(argument) == name for argument in node.args)


def _last_name(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _last_name(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from (other, *_at_run_time(other))
            continue
        yield child
        yield from _at_run_time(child)


def _nearest(name: str, known: Mapping[str, Module]) -> str | None:
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def _reached(start: str, arrows: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += arrows[name]
    return found


if __name__ == "__main__":
    main()
