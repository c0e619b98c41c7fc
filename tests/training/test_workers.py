"""Work side by side: every part once, and no process that outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from multiprocessing import active_children
from pathlib import Path

import pytest

from streamser.errors import StreamserError
from streamser.training.workers import run_side_by_side

# Only bounds the wait where a process does not end.
_PATIENCE_S = 60


def double(number: int) -> int:
    """Work well."""
    return 2 * number


def die(number: int) -> int:
    """End as a process does that the system has killed."""
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def linger(number: int) -> None:
    """Say that work has begun, and never end."""
    print("working", flush=True)
    threading.Event().wait()


def test_each_part_is_done_once() -> None:
    """What is found comes with the part that it is of."""
    found: dict[int, int] = {}
    run_side_by_side(double, [1, 2, 3], jobs=2, report=found.__setitem__)
    assert found == {1: 2, 2: 4, 3: 6}
    assert not active_children()


def test_a_process_that_is_killed_ends_the_work_in_one_line() -> None:
    """Instead of waiting for it for ever."""
    with pytest.raises(StreamserError, match="a process has died in its work"):
        run_side_by_side(die, [1], jobs=2, report=lambda *_: None)
    assert not active_children()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_started_it(tmp_path: Path, number: int) -> None:
    """After Ctrl-C the parent ends the others; after a kill they end themselves."""
    program = tmp_path / "program.py"
    program.write_text(
        "from streamser.training.workers import run_side_by_side\n"
        "from tests.training.test_workers import linger\n"
        "if __name__ == '__main__':\n"
        "    run_side_by_side(linger, [1], jobs=1, report=print)\n"
    )
    places = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    parent = subprocess.Popen(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "working\n"
        parent.send_signal(number)
        # The output ends when the last process that could write to it has ended.
        parent.communicate(timeout=_PATIENCE_S)
        assert parent.returncode != 0
    finally:
        parent.kill()
