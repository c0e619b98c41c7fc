"""A function in a process of its own, so that what it uses, or loads, is nobody else's."""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import subprocess
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from streamser.errors import StreamserError

__all__ = ["Tell", "run_isolated"]

Tell = Callable[[str], None]
Given = TypeVar("Given")
Found = TypeVar("Found")

_ROOT = Path(__file__).parents[1]


class _Line(msgspec.Struct, frozen=True, tag="line"):
    text: str


class _Done(msgspec.Struct, frozen=True, tag="done"):
    found: Any


class _Failed(msgspec.Struct, frozen=True, tag="failed"):
    message: str


def run_isolated(
    function: Callable[[Given, Tell], Found], argument: Given, tell: Tell = lambda line: None
) -> Found:
    """Call a function of a module in a fresh interpreter; return what it returns.

    Argument and result go as JSON, by the function's own type hints; its second argument tells
    lines to ``tell``. Nothing is imported there but its module. Raises ``StreamserError`` where
    the function does, with its line, or where the process ends early.
    """
    name = f"{function.__module__}:{function.__qualname__}"
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.isolated", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": _path()},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(msgspec.json.encode(argument))
        process.stdin.close()
        for line in process.stdout:
            match msgspec.json.decode(line, type=_Line | _Done | _Failed):
                case _Line(text):
                    tell(text)
                case _Done(found):
                    result: Found = msgspec.convert(found, _hints(function)["return"])
                    return result
                case _Failed(message):
                    raise StreamserError(message, code="bench_failed")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    raise StreamserError(
        f"the process of {function.__name__} ended early (exit code {process.returncode}).",
        code="bench_failed",
    )


def _path() -> str:
    return os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return typing.get_type_hints(function)


def _say(word: _Line | _Done | _Failed) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(word) + b"\n")
    sys.stdout.buffer.flush()


def _main(name: str) -> None:
    # Ctrl-C reaches the whole group of processes; whoever started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    module, _, called = name.partition(":")
    function = getattr(importlib.import_module(module), called)
    first = next(iter(inspect.signature(function).parameters))
    argument = msgspec.json.decode(sys.stdin.buffer.read(), type=_hints(function)[first])
    try:
        _say(_Done(function(argument, lambda line: _say(_Line(line)))))
    except StreamserError as error:
        _say(_Failed(str(error)))


if __name__ == "__main__":
    _main(sys.argv[1])
