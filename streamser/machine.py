"""The machine: its cores, which way of doing the same is the fastest here, and what was chosen.

What a container lets its processes use, Linux tells in files of cgroups: those of version 2 are
``cpu.max`` and ``memory.max``, of version 1 ``cpu.cfs_quota_us`` and ``memory.limit_in_bytes``
(kernel documentation, ``cgroup-v2.rst`` and ``sched-bwc.rst``). A limit holds for all below it, so
the least along the path is what counts.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec

SYSTEM: Final = Path("/")
_NO_MEMORY_LIMIT: Final = 1 << 60
"""Version 1 writes the largest whole number of pages where there is no limit, in bytes."""
MARGIN: Final = 0.9
"""Share of the favourite's time that another may take at most to be preferred to it."""


def usable_cores() -> frozenset[int]:
    """Return their numbers; none where the system keeps no process to its cores."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def core_count(system: Path = SYSTEM) -> int:
    """Return how many cores this process can keep busy, 1 at least.

    A container's quota counts in whole cores: with one process more than it pays for, the kernel
    stops all of them for the rest of each period. ``system`` is the folder that stands for ``/``.
    """
    there = len(usable_cores()) or os.cpu_count() or 1
    quota = cpu_quota(system)
    return there if quota is None else max(1, min(there, math.floor(quota)))


def cpu_name() -> str:
    """Return what the processor is called, or its kind where the system does not say."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()


def use_one_blas_thread() -> None:
    """Let numpy multiply matrices on one thread, if it is loaded later, here or in a child.

    Ours are small: a second thread of OpenBLAS only waits for the next one, and keeps a core
    busy with that. A user who has set ``OPENBLAS_NUM_THREADS`` has decided.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def resident_bytes() -> int | None:
    """Return how much memory this process holds, where the system says."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


class TimedWay(msgspec.Struct, frozen=True):
    """Hold how one way did: its least time, or why it is not to be taken."""

    name: str
    seconds: float | None = None
    why: str = ""


def least_times(
    ways: Mapping[str, Callable[[], object]],
    *,
    clock: Callable[[], float],
    budget_s: float,
    rounds: int,
) -> dict[str, float]:
    """Return the least time that each way took, in seconds of ``clock``.

    They take turns, so that what else the machine does meets all of them. There is one round
    at least, ``rounds`` at most, and no further one that would end after ``budget_s`` if it took
    as long as the one before. Raises what a way raises.
    """
    least = dict.fromkeys(ways, float("inf"))
    spent = 0.0
    for _ in range(rounds):
        taken = {name: _time(way, clock) for name, way in ways.items()}
        least = {name: min(least[name], taken[name]) for name in ways}
        spent += sum(taken.values())
        if spent + sum(taken.values()) > budget_s:
            break
    return least


def fastest(trials: Sequence[TimedWay]) -> str:
    """Return the name of the way to take.

    The first is the favourite: it stays unless another takes at most ``MARGIN`` of its time,
    so that chance does not decide between ways that are alike. Raises ``ValueError`` where none
    was measured.
    """
    measured = [(trial.seconds, trial.name) for trial in trials if trial.seconds is not None]
    if not measured:
        raise ValueError("no way of doing it was measured")
    best, name = min(measured)
    favourite = trials[0]
    if favourite.seconds is not None and best > MARGIN * favourite.seconds:
        return favourite.name
    return name


def told(trials: Sequence[TimedWay]) -> str:
    """Say in one line how each did, such as ``float32 212 ms, int8 left out (not here)``."""
    return ", ".join(
        f"{trial.name} left out ({trial.why})"
        if trial.seconds is None
        else f"{trial.name} {1000 * trial.seconds:.3g} ms"
        for trial in trials
    )


def _time(way: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    way()
    return clock() - began


def choices_file() -> Path:
    """Return the file in the user's cache folder that choices are kept in by default."""
    home = os.environ.get("XDG_CACHE_HOME")
    if not home and sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA")
    if not home:
        home = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(home).expanduser() / "streamser" / "choices.json"


class KeptChoices:
    """Keep what was chosen, by key, in a file of JSON.

    A file that is missing or cannot be read holds nothing; one that cannot be written keeps
    nothing, and whoever chooses has to choose again. Several processes may share it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, key: str) -> str | None:
        """Return what was chosen under a key, ``None`` where nothing was."""
        return self._read().get(key)

    def keep(self, key: str, choice: str) -> str:
        """Keep a choice; return the one that stands: what was kept before, if anything was."""
        choices = self._read()
        if key in choices:
            return choices[key]
        with contextlib.suppress(OSError):
            self._write(choices | {key: choice})
        return choice

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return {}

    def _write(self, choices: dict[str, str]) -> None:
        import tempfile

        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, written = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(choices)))
            # Readers see the old file or the new one, never a part.
            os.replace(written, self.path)
        except OSError:
            Path(written).unlink(missing_ok=True)
            raise


def forbid_telemetry() -> None:
    """Switch onnxruntime's telemetry off; to be called before it is imported.

    Its builds write a device id below the home directory and send usage events, from the import
    on. A user who has set ``ORT_DISABLE_TELEMETRY`` has decided.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


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
    """Hold what a figure depends on; ``cores`` are those this process can keep busy."""

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


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_quota(system: Path = SYSTEM) -> float | None:
    """Return how many cores' worth of time this process may use; ``None`` where nothing limits it.

    ``system`` is the folder that stands for ``/``.
    """
    return min(_quotas(system), default=None)


def memory_limit(system: Path = SYSTEM) -> tuple[int, int] | None:
    """Return the limit of memory and what is left of it, in bytes; ``None`` where there is none.

    Of nested limits it is the one that leaves the least. Files that were read and are kept in
    memory while nobody needs it count as left. ``system`` is the folder that stands for ``/``.
    """
    return min(_memories(system), key=lambda pair: pair[1], default=None)


def _quotas(system: Path) -> Iterator[float]:
    for version, folder in _folders(system, "cpu"):
        if version == 2:
            quota, _, period = _text(folder / "cpu.max").partition(" ")
        else:
            quota = _text(folder / "cpu.cfs_quota_us")
            period = _text(folder / "cpu.cfs_period_us")
        if _is_count(quota) and _is_count(period):
            yield int(quota) / int(period)


def _memories(system: Path) -> Iterator[tuple[int, int]]:
    for version, folder in _folders(system, "memory"):
        names = (
            ("memory.max", "memory.current", "inactive_file")
            if version == 2
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        limit, used = (_text(folder / name) for name in names[:2])
        if not _is_count(limit) or int(limit) >= _NO_MEMORY_LIMIT:
            continue
        stat = _text(folder / "memory.stat").splitlines()
        kept = {line.partition(" ")[0]: line.partition(" ")[2] for line in stat}.get(names[2], "")
        held = (int(used) if _is_count(used) else 0) - (int(kept) if _is_count(kept) else 0)
        yield int(limit), max(0, int(limit) - max(0, held))


def _folders(system: Path, controller: str) -> Iterator[tuple[int, Path]]:
    """Give the folders of this process's cgroups, each with its version, from the inmost out."""
    own = dict(_own_groups(system))
    for version, root, mounted in _mounts(system, controller):
        group = own.get(controller if version == 1 else "")
        if group is None:
            continue
        top = system / mounted.relative_to("/")
        # Where only a part of the tree is mounted, as in containers, names begin at the whole.
        inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
        if ".." in inside.parts:
            inside = PurePosixPath()
        for place in (inside, *inside.parents) if inside.parts else (inside,):
            yield version, top / place


def _own_groups(system: Path) -> Iterator[tuple[str, PurePosixPath]]:
    """Give this process's cgroup by controller, that of version 2 under the empty name."""
    for line in _text(system / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        for controller in controllers.split(","):
            yield controller, PurePosixPath(path or "/")


def _mounts(system: Path, controller: str) -> Iterator[tuple[int, PurePosixPath, PurePosixPath]]:
    """Give version, root and place of each tree mounted that a controller may be in.

    A line of ``mountinfo`` (``proc(5)``) is: three numbers, root, place, options, fields that may
    be missing, a dash, the kind of file system, its source, its own options.
    """
    for line in _text(system / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        where, what = before.split(), after.split()
        if len(where) < 5 or len(what) < 3 or not where[4].startswith("/"):
            continue
        root, mounted = PurePosixPath(_unescaped(where[3])), PurePosixPath(_unescaped(where[4]))
        if what[0] == "cgroup2":
            yield 2, root, mounted
        elif what[0] == "cgroup" and controller in what[2].split(","):
            yield 1, root, mounted


def _unescaped(name: str) -> str:
    return name.replace("\\040", " ").replace("\\134", "\\")


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) > 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
