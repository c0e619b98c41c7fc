"""Read a Dockerfile, as far as ours goes: stages, each a list of instructions."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import NamedTuple

__all__ = ["ROOT", "Instruction", "Stage", "read_dockerfile"]

ROOT = Path(__file__).parents[2]


class Instruction(NamedTuple):
    """Hold one instruction: its name, and the text behind it on one line."""

    name: str
    text: str

    def words(self) -> list[str]:
        """Return the words of an exec form, or of a text without any quotes in it."""
        begin = self.text.find("[")
        words = json.loads(self.text[begin:]) if begin >= 0 else shlex.split(self.text)
        return list(map(str, words))


class Stage(NamedTuple):
    """Hold what begins with a ``FROM``: the image it begins with, its own name, the rest."""

    image: str
    name: str
    steps: list[Instruction]

    def last(self, name: str) -> Instruction:
        """Return the instruction of a name that is in force at the end."""
        return [step for step in self.steps if step.name == name][-1]

    def environment(self) -> dict[str, str]:
        """Return what ``ENV`` sets."""
        pairs = [step.text.partition("=") for step in self.steps if step.name == "ENV"]
        return {name: value for name, _, value in pairs}


def read_dockerfile(path: Path = ROOT / "Dockerfile") -> list[Stage]:
    """Read the stages of a file, in order."""
    text = path.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, whole.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            image, _, called = rest.partition(" AS ")
            stages.append(Stage(image, called, []))
        else:
            stages[-1].steps.append(Instruction(name, rest.strip()))
    return stages
