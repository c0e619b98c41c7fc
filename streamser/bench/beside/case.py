"""One comparison, in a process of its own: no library that it sets up disturbs the next."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from streamser.bench.beside.report import Comparison
from streamser.bench.beside.tasks import (
    EmotionTask,
    LocksTask,
    MatrixTask,
    Task,
    VadTask,
    WordsTask,
)
from streamser.errors import StreamserError

__all__ = ["Failed", "Progress", "Word", "compare"]


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """Say how far it is."""

    said: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Say what went wrong."""

    message: str


Word: TypeAlias = Progress | Failed | Comparison


def compare(task: Task, tell: Callable[[str], None]) -> Comparison:
    """Make a comparison; raises what it raises."""
    match task:
        case LocksTask():
            from streamser.bench.beside.locks import compare_locks

            return compare_locks(task, tell)
        case VadTask():
            from streamser.bench.beside.vad import compare_vads

            return compare_vads(task, tell)
        case EmotionTask():
            from streamser.bench.beside.emotion import compare_emotion

            return compare_emotion(task, tell)
        case WordsTask():
            from streamser.bench.beside.words import compare_words

            return compare_words(task, tell)
        case MatrixTask():
            from streamser.bench.beside.matrix import compare_products

            return compare_products(task, tell)


def _main() -> None:
    # Libraries print what they please: only words may reach whoever listens.
    words = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def say(word: Word) -> None:
        words.write(msgspec.json.encode(word) + b"\n")

    task: Task = msgspec.json.decode(sys.stdin.readline(), type=Task)
    try:
        say(compare(task, lambda line: say(Progress(line))))
    except StreamserError as error:
        say(Failed(str(error)))


if __name__ == "__main__":
    _main()
