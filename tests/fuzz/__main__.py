"""``python -m tests.fuzz TARGET --minutes 10 --seed 1``: fuzz one target, and say what was found.

Failing cases go to a folder outside of the repository (``--out``); ``--replay FILE`` tries one
of them again. Exits with 1 where there are findings.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from tests.fuzz.journal import Journal
from tests.fuzz.target import Target
from tests.fuzz.worker import Order, Score, work

TARGETS = ("messages", "dialects", "client", "recordings", "audio", "checkpoints", "config")
_START_S = 120.0
_MOST_MIB = 6000


def load(name: str) -> Target:
    """Import a target by its name."""
    target: Target = importlib.import_module(f"tests.fuzz.{name}").TARGET
    return target


def fuzz(order: Order) -> Score:
    """Run children until the time or the cases are used up; return their scores, added up."""
    out = Path(order.out)
    out.mkdir(parents=True, exist_ok=True)
    target = load(order.target)
    slowest = 0.0
    total, outcomes, findings = 0, Counter[str](), Counter[str]()
    end = time.monotonic() + order.seconds
    seed = order.seed
    while total < order.cases and (left := end - time.monotonic()) > 0:
        for name in ("journal", "score.json"):
            (out / name).unlink(missing_ok=True)
        part = msgspec.structs.replace(order, seconds=left, cases=order.cases - total, seed=seed)
        crash = _watch(part, target, out)
        if (out / "score.json").exists():
            score = msgspec.json.decode((out / "score.json").read_bytes(), type=Score)
            slowest = max(slowest, score.slowest)
            outcomes.update(score.outcomes)
            findings.update(score.findings)
        count, case, _ = Journal(out / "journal").read()
        total += count
        if crash is None:
            break
        findings[crash] += 1
        (out / f"{crash}-{seed}.case").write_bytes(case)
        seed += 1
        if not count:  # it fails before the first case: a new child would do no better
            break
    (out / "journal").unlink(missing_ok=True)
    return Score(total, slowest, dict(outcomes), dict(findings))


def _watch(order: Order, target: Target, out: Path) -> str | None:
    """Run a child; return how it failed: by a signal, without end, or with too much memory."""
    command = [sys.executable, "-m", "tests.fuzz", "--work", msgspec.json.encode(order).decode()]
    with tempfile.TemporaryDirectory(prefix="streamser-fuzz-", dir=_memory_folder()) as folder:
        journal = Journal(out / "journal")
        environment = {**os.environ, "PYTHONFAULTHANDLER": "1", "CUDA_VISIBLE_DEVICES": ""}
        with (out / "child.log").open("ab") as log:
            child = subprocess.Popen(
                [*command, folder], env=environment, stdout=log, stderr=subprocess.STDOUT
            )
        begun = time.monotonic()
        verdict = None
        while child.poll() is None:
            time.sleep(0.1)
            count, _, at = journal.read()
            now = time.monotonic()
            stuck = at > 0 and now - at > target.seconds
            late = now - begun > order.seconds + _START_S
            if stuck or late or (not count and now - begun > _START_S):
                verdict = "hang"
            elif _mib(child.pid) > _MOST_MIB:
                verdict = "memory"
            if verdict is not None:
                child.kill()
                child.wait()
                return verdict
        return None if child.returncode == 0 else f"crash{child.returncode}"


def _mib(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 >> 20
    except (OSError, IndexError):  # it has just ended, or this is no Linux
        return 0


def _memory_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _default_out(target: str) -> str:
    return str(Path(tempfile.gettempdir()) / "streamser-fuzz" / target)


def main() -> int:
    """Read the command line, and do what it says."""
    if sys.argv[1:2] == ["--work"]:
        order = msgspec.json.decode(sys.argv[2], type=Order)
        work(load, order, Path(sys.argv[3]))
        return 0
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--cases", type=int, default=2**40, help="stop after so many")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 2**30)
    parser.add_argument("--engine", choices=("auto", "atheris", "blind"), default="auto")
    parser.add_argument("--out", help="where failing cases go")
    parser.add_argument("--replay", type=Path, help="try the one case of a file, in this process")
    given = parser.parse_args()
    out = given.out or _default_out(given.target)
    if given.replay is not None:
        with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
            target = load(given.target)
            target.seeds(Path(folder))
            print(target.check(given.replay.read_bytes(), Path(folder)))
        return 0
    engine = given.engine
    if engine == "auto":
        engine = "atheris" if importlib.util.find_spec("atheris") else "blind"
    order = Order(
        target=given.target,
        seconds=60 * given.minutes,
        cases=given.cases,
        seed=given.seed,
        engine=engine,
        out=out,
    )
    begun = time.monotonic()
    score = fuzz(order)
    took = time.monotonic() - begun
    print(
        f"{given.target}: {score.cases} cases in {took:.0f} s ({score.cases / took:.0f} a second),"
        f" seed {given.seed}, {engine}; the slowest took {score.slowest:.2f} s"
    )
    for name, count in sorted(score.outcomes.items(), key=lambda item: -item[1]):
        print(f"  {count:>9} {name}")
    print(f"findings: {sum(score.findings.values())} of {len(score.findings)} kinds; {out}")
    for name, count in sorted(score.findings.items(), key=lambda item: -item[1]):
        print(f"  {count:>9} {name}")
    return int(bool(score.findings) or not score.cases)


if __name__ == "__main__":
    sys.exit(main())
