"""The machine a measurement ran on, one core of it, and the memory of this process."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import msgspec

from streamser.machine import core_count, cpu_name, usable_cores

__all__ = ["Machine", "describe_machine", "memory_kind", "pinned", "resident_mib"]

_PACKAGES = (
    "numpy",
    "msgspec",
    "soxr",
    "soundfile",
    "onnxruntime",
    "webrtcvad-wheels",
    "faster-whisper",
    "vaderSentiment",
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a figure depends on; ``cores`` are those this process may use."""

    cpu: str
    cores: int
    system: str
    python: str
    streamser: str
    packages: dict[str, str]


def describe_machine() -> Machine:
    """Describe this machine and the packages at work."""
    from streamser import __version__

    return Machine(
        cpu=cpu_name(),
        cores=core_count(),
        system=f"{platform.system()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        streamser=__version__,
        packages={name: version for name in _PACKAGES if (version := _version(name))},
    )


@contextlib.contextmanager
def pinned() -> Iterator[int | None]:
    """Keep the calling thread on one core while the block runs; yield that core.

    Yields ``None`` where the system (macOS, Windows) offers no such thing.
    """
    cores = usable_cores()
    if not cores:
        yield None
        return
    # The last core: interrupts are commonly served by the first.
    core = max(cores)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, cores)


def memory_kind() -> str:
    """Say what ``resident_mib`` returns here: ``current``, ``peak`` or ``not measured``."""
    if Path("/proc/self/statm").exists():
        return "current"
    return "not measured" if sys.platform == "win32" else "peak"


def resident_mib() -> float | None:
    """Return the resident memory of this process in MiB; ``None`` where it cannot be had."""
    if sys.platform == "win32":
        return None
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Bytes on macOS, KiB elsewhere.
        return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 2)
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 2)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
