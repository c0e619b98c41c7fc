"""The child: makes cases and tries them, by atheris or without, until its time is over."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from tests.fuzz.journal import Journal
from tests.fuzz.target import BrokenError, Target

__all__ = ["Order", "Score", "work"]


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a child shall do; ``out`` is where failing cases go."""

    target: str
    seconds: float
    cases: int
    seed: int
    engine: str
    out: str


class Score(msgspec.Struct):
    """Hold what a child has done so far: outcomes by name, findings by where they arose."""

    cases: int = 0
    slowest: float = 0.0
    outcomes: dict[str, int] = {}
    findings: dict[str, int] = {}


class _Trial:
    """Try one case after another, and keep the score."""

    def __init__(self, target: Target, order: Order, folder: Path) -> None:
        self._target = target
        self._out = Path(order.out)
        self._folder = folder
        self._journal = Journal(self._out / "journal")
        self._outcomes: Counter[str] = Counter()
        self._findings: Counter[str] = Counter()
        self._count = 0
        self._told = 0.0
        self._slowest = 0.0

    def __call__(self, case: bytes) -> None:
        self._count += 1
        before, begun = _peak_mib(fresh=True), time.monotonic()
        self._journal.note(self._count, case, begun)
        try:
            outcome = self._target.check(case, self._folder)
            took = _peak_mib() - before
            # The first cases import what they need.
            if took > self._target.mib and self._count > 20:
                raise BrokenError(f"too much memory: {took} MiB")
        except (Exception, SystemExit, GeneratorExit) as error:
            outcome = "finding"
            self._keep(case, error)
        self._slowest = max(self._slowest, time.monotonic() - begun)
        self._outcomes[outcome] += 1
        self._journal.rest(self._count)
        if time.monotonic() > self._told + 1:
            self.tell()

    def tell(self) -> None:
        """Write the score where the watcher finds it."""
        self._told = time.monotonic()
        score = Score(self._count, self._slowest, dict(self._outcomes), dict(self._findings))
        part = self._out / "score.part"
        part.write_bytes(msgspec.json.encode(score))
        part.replace(self._out / "score.json")

    def _keep(self, case: bytes, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/streamser/" in frame.filename] or frames
        place = f"{Path(ours[-1].filename).name}-{ours[-1].lineno}" if ours else "nowhere"
        if isinstance(error, BrokenError):
            place = "".join(c if c.isalpha() else "-" for c in str(error)[:40])
        key = f"{type(error).__name__}-{place}"
        self._findings[key] += 1
        if self._findings[key] <= 3:
            name = f"{key}-{hashlib.sha256(case).hexdigest()[:8]}"
            (self._out / f"{name}.case").write_bytes(case)
            told = "".join(traceback.format_exception(error, limit=-12))
            (self._out / f"{name}.txt").write_text(told[-8000:], "utf-8", "backslashreplace")
        # The next case may end everything.
        self.tell()


def work(load: Callable[[str], Target], order: Order, folder: Path) -> None:
    """Do what is ordered; ``folder`` is for files that go away again."""
    if order.engine == "atheris":
        _guided(load, order, folder)
        return
    target = load(order.target)
    rng = Random(order.seed)
    seeds = target.seeds(folder)
    trial = _Trial(target, order, folder)
    end = time.monotonic() + order.seconds
    for case in seeds:
        trial(case)
    for _ in range(order.cases):
        if time.monotonic() > end:
            break
        trial(target.mutate(rng.choice(seeds), rng))
    trial.tell()


def _guided(load: Callable[[str], Target], order: Order, folder: Path) -> None:
    """Let libFuzzer keep the cases that reach new lines of Python."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["streamser", "tomllib", "urllib"]):
        target = load(order.target)
    seeds = target.seeds(folder)
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, case in enumerate(seeds):
        (corpus / f"{number:03}").write_bytes(case)
    trial = _Trial(target, order, folder)
    end = time.monotonic() + order.seconds

    def try_one(case: bytes) -> None:
        trial(case)
        if time.monotonic() > end:
            trial.tell()
            # libFuzzer ends when it likes; all that counts is written down.
            os._exit(0)

    def mutate(case: bytes, most: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < 0.1:
            return bytes(atheris.Mutate(case, most))
        # From a good case now and then: the kept ones get wilder and wilder.
        return target.mutate(rng.choice(seeds) if rng.random() < 0.3 else case, rng)[:most]

    longest = max(4096, *(4 * len(case) for case in seeds))
    # Time and memory are watched from outside; a timeout of 0 would not mean none.
    options = {
        "seed": order.seed + 1,
        "max_len": longest,
        "runs": min(order.cases, 2**31 - 1),
        "rss_limit_mb": 0,
        "timeout": 3600,
        "artifact_prefix": f"{order.out}/",
        "verbosity": 0,
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], try_one, custom_mutator=mutate)
    atheris.Fuzz()


def _peak_mib(*, fresh: bool = False) -> int:
    """Return the most memory this process has had at a time, if ``fresh`` from now on."""
    try:
        if fresh:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:  # this is no Linux
        return 0
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) // 1024
