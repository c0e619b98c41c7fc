"""What a fused model costs: time and memory of a step, beside its matrix products alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from streamser.bench.machine import Machine, describe_machine
from streamser.bench.model_case import CaseTask, Failed, Measured, Mode, NoRoom, Word
from streamser.errors import StreamserError
from streamser.training.settings import TrainSettings

__all__ = ["MODES", "ModelBench", "ModelCase", "ModelReport", "available_mib", "run_model_bench"]

MODES: Final[tuple[Mode, ...]] = ("infer", "train")

_PACKAGES = ("torch", "transformers", "numpy")
_SPARED_MIB = 1024.0
"""Memory that is left to the rest of the machine."""
_WATCH_S = 0.02


class ModelBench(msgspec.Struct, frozen=True, kw_only=True):
    """Say what to measure; ``memory_mib`` bounds a case, ``None``: what there is."""

    config: str
    settings: TrainSettings
    modes: tuple[Mode, ...] = MODES
    batches: tuple[int, ...] = (1, 8, 32)
    seconds: float = 5.0
    tokens: int = 20
    repeats: int = 5
    budget_s: float = 60.0
    memory_mib: float | None = None


class ModelCase(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one line of the table; ``why`` says why it was not measured."""

    mode: Mode
    batch: int
    measured: Measured | None = None
    why: str = ""


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """Hold a whole run."""

    config: str
    acoustic: str
    text: str
    fusion: str
    checkpointing: bool
    machine: Machine
    seconds: float
    tokens: int
    cases: tuple[ModelCase, ...]


def run_model_bench(bench: ModelBench, tell: Callable[[str], None]) -> ModelReport:
    """Measure every case in a fresh process, the small ones first.

    A case that outgrows the memory is stopped and reported as such. Raises
    ``StreamserError`` where a process breaks off for another reason.
    """
    cases: list[ModelCase] = []
    for mode in bench.modes:
        for size in bench.batches:
            tell(f"{mode}, batch {size} …")
            case = _case(bench, mode, size)
            cases.append(case)
            tell(f"{mode}, batch {size}: {_brief(case)}")
    model = bench.settings.model
    encoders = [part for part in (model.acoustic, model.text) if part is not None]
    return ModelReport(
        config=bench.config,
        acoustic=_named(model.acoustic),
        text=_named(model.text),
        fusion=f"{model.fusion.mode}, width {model.fusion.width}",
        checkpointing=any(getattr(part, "gradient_checkpointing", False) for part in encoders),
        machine=msgspec.structs.replace(describe_machine(), packages=dict(_versions())),
        seconds=bench.seconds,
        tokens=bench.tokens,
        cases=tuple(cases),
    )


def available_mib() -> float | None:
    """Return the memory that new work can have; ``None`` where the system does not tell.

    The least of what the kernel calls available and what the control group has left.
    """
    found = list(_memory_left())
    return min(found) if found else None


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        # A compact model needs no transformers.
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield name, metadata.version(name)


def _memory_left() -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) / 2**10
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most = (group / "memory.max").read_text(encoding="ascii").strip()
        if most != "max":
            used = int((group / "memory.current").read_text(encoding="ascii"))
            cached = 0
            for line in (group / "memory.stat").read_text(encoding="ascii").splitlines():
                if line.startswith("inactive_file "):
                    cached = int(line.split()[1])
            yield (int(most) - used + cached) / 2**20


def _case(bench: ModelBench, mode: Mode, size: int) -> ModelCase:
    room = bench.memory_mib
    if room is None and (there := available_mib()) is not None:
        room = there - _SPARED_MIB
    task = CaseTask(
        settings=bench.settings,
        mode=mode,
        batch=size,
        seconds=bench.seconds,
        tokens=bench.tokens,
        repeats=bench.repeats,
        budget_s=bench.budget_s,
    )
    match _in_process(task, room):
        case Measured() as measured:
            return ModelCase(mode=mode, batch=size, measured=measured)
        case NoRoom(message):
            return ModelCase(mode=mode, batch=size, why=message)
        case Failed(message):
            raise StreamserError(message, code="bench_failed")


def _in_process(task: CaseTask, room_mib: float | None) -> Word:
    process = subprocess.Popen(
        [sys.executable, "-m", "streamser.bench.model_case"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    watch = _Watch(process, room_mib)
    try:
        watch.start()
        said, complaint = process.communicate(msgspec.json.encode(task))
    finally:
        process.kill()
        process.wait()
        watch.join()
    room = "" if room_mib is None else f" in {room_mib / 1024:.1f} GiB"
    if watch.outgrown:
        return NoRoom(f"did not fit{room}")
    if said:
        word = msgspec.json.decode(said, type=Word)
        return NoRoom(f"did not fit{room} ({word.message})") if isinstance(word, NoRoom) else word
    if process.returncode == -9:
        return NoRoom(f"did not fit{room} (ended by the system)")
    lines = complaint.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    return Failed(f"the process that measures a model broke off: {lines[-1]}")


class _Watch(threading.Thread):
    """End a process before its memory becomes the trouble of others."""

    def __init__(self, process: subprocess.Popen[bytes], room_mib: float | None) -> None:
        super().__init__(name="memory watch", daemon=True)
        self._process = process
        self._room = room_mib
        self.outgrown = False

    def run(self) -> None:
        status = Path(f"/proc/{self._process.pid}/statm")
        page_mib = os.sysconf("SC_PAGE_SIZE") / 2**20 if hasattr(os, "sysconf") else 0.0
        while self._room is not None and page_mib:
            try:
                resident = int(status.read_bytes().split()[1]) * page_mib
            except (OSError, IndexError):
                return
            if resident > self._room:
                self.outgrown = True
                self._process.kill()
                return
            try:
                self._process.wait(_WATCH_S)
            except subprocess.TimeoutExpired:
                continue
            return


def _named(part: object) -> str:
    if part is None:
        return "none"
    return str(getattr(part, "name", None) or f"compact, width {getattr(part, 'width', '?')}")


def _brief(case: ModelCase) -> str:
    if case.measured is None:
        return case.why
    found = case.measured
    return f"{found.median_s:.2f} s a step, {found.peak_mib / 1024:.1f} GiB"
