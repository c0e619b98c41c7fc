"""What is measured in a process of its own."""

from __future__ import annotations

import os

import pytest

from streamser.errors import StreamserError
from tools.isolated import Tell, run_isolated


def work(number: int, tell: Tell) -> tuple[int, int]:
    """Say something, and return the number twice over, and whose process it is."""
    tell("at work")
    return 2 * number, os.getpid()


def fail(why: str, tell: Tell) -> None:
    """Fail with one line."""
    raise StreamserError(why)


def vanish(code: int, tell: Tell) -> None:
    """End without a word."""
    os._exit(code)


def test_a_function_runs_in_a_process_of_its_own() -> None:
    """Its lines, and what it returns, come from there."""
    lines: list[str] = []
    doubled, process = run_isolated(work, 21, lines.append)
    assert doubled == 42
    assert process != os.getpid()
    assert lines == ["at work"]


def test_what_fails_there_fails_here() -> None:
    """With the same line, or with the exit code of who said nothing."""
    with pytest.raises(StreamserError, match="no sound there"):
        run_isolated(fail, "no sound there")
    with pytest.raises(StreamserError, match=r"vanish ended early \(exit code 7\)"):
        run_isolated(vanish, 7)
