"""What a container lets its processes use: the processor's quota and the memory of a cgroup.

Linux tells it in files: those of version 2 are ``cpu.max`` and ``memory.max``, of version 1
``cpu.cfs_quota_us`` and ``memory.limit_in_bytes`` (kernel documentation, ``cgroup-v2.rst`` and
``sched-bwc.rst``). A limit holds for all below it, so the least along the path is what counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

SYSTEM: Final = Path("/")
_NO_MEMORY_LIMIT: Final = 1 << 60
"""Version 1 writes the largest whole number of pages where there is no limit, in bytes."""


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
