"""Fuzzing in small: each target for a few seconds, spoilt in the same ways at every run.

Some encoders write the time or a random number into a good file, which no seed can help.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import __main__ as program
from tests.fuzz.mutation import spoil_bytes, spoil_json, spoil_lines, spoil_text
from tests.fuzz.target import BrokenError, Target, forbidding
from tests.fuzz.worker import Order, Score

CASES = {
    "messages": 3000, "dialects": 150, "client": 400, "recordings": 120,
    "audio": 600, "checkpoints": 60, "config": 200,
}  # fmt: skip


@pytest.mark.parametrize("target", program.TARGETS)
def test_no_foreign_bytes_break_a_promise(tmp_path: Path, target: str) -> None:
    """Good cases and some that are spoilt; ``make fuzz`` tries many more."""
    command = [sys.executable, "-m", "tests.fuzz", target, "--engine", "blind", "--seed", "1"]
    limits = ["--cases", str(CASES[target]), "--minutes", "1", "--out", str(tmp_path)]
    done = subprocess.run([*command, *limits], capture_output=True, text=True, timeout=250)
    found = [path.read_text()[-2000:] for path in tmp_path.glob("*.txt")]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *found])
    assert "findings: 0" in done.stdout


def misbehave(case: bytes, folder: Path) -> str:
    """Do what the case says."""
    if case == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if case == b"hang":
        time.sleep(60)
    if case == b"memory":
        bytearray(b"x") * (64 << 20)
    if case == b"raise":
        raise KeyError("x")
    return "well"


BAD = Target(
    name="bad",
    seeds=lambda folder: [b"well"] * 30,
    mutate=lambda data, rng: rng.choice([b"well", b"crash", b"hang", b"memory", b"raise"]),
    check=misbehave,
    seconds=1.0,
    mib=32,
)
TARGET = BAD


def test_whatever_goes_wrong_is_found_and_kept(tmp_path: Path) -> None:
    """Crashes of native code, cases without end, with too much memory, and errors."""
    order = Order(
        target="test_fuzz", seconds=150, cases=300, seed=3, engine="blind", out=str(tmp_path)
    )
    score: Score = program.fuzz(order)
    kinds = {name.partition("-")[0] for name in score.findings}
    assert {"crash", "hang", "BrokenError", "KeyError"} <= kinds, score
    cases = {path.read_bytes() for path in tmp_path.glob("*.case")}
    assert cases >= {b"crash", b"hang", b"memory", b"raise"}


def test_what_would_run_foreign_code_is_forbidden() -> None:
    """Programs, pickles, the network."""
    with pytest.raises(BrokenError, match=r"subprocess\.Popen"), forbidding():
        subprocess.run(["true"], check=False)
    subprocess.run(["true"], check=True)


def test_cases_are_spoilt_in_the_same_way_at_every_run() -> None:
    """By their seed alone, whatever was there before."""
    text = '{"a": [1, {"b": "c"}], "d": 0.5}'

    def spoilt() -> list[object]:
        rng = Random(7)
        return [
            (
                spoil_bytes(text.encode(), rng),
                spoil_text(text, rng),
                spoil_json(text, rng),
                spoil_lines(text, rng, [text]),
            )
            for _ in range(300)
        ]

    first = spoilt()
    assert first == spoilt()
    assert len(set(first)) > 250
