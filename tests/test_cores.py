from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import pytest

from streamser.cli import doctor
from streamser.machine import core_count, cpu_quota, memory_limit

MIB = 1024**2
V2 = "30 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
)


def system(root: Path, *, mounts: str, groups: str, files: Mapping[str, str]) -> Path:
    """Lay the files in which Linux tells of a process's cgroups, under a folder for ``/``."""
    told = {"proc/self/mountinfo": mounts, "proc/self/cgroup": groups}
    for name, text in {**told, **{f"sys/fs/cgroup/{key}": t for key, t in files.items()}}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("told", "quota"),
    [
        ("150000 100000\n", 1.5),
        ("50000 100000", 0.5),
        ("max 100000", None),
        ("400000 100000 5000", None),
        ("0 100000", None),
        ("much", None),
        ("", None),
    ],
)
def test_a_quota_is_read_as_cores(tmp_path: Path, told: str, quota: float | None) -> None:
    """Time over period; ``max``, and what cannot be read, is no limit."""
    inside = system(tmp_path, mounts=V2, groups="0::/\n", files={"cpu.max": told})
    assert cpu_quota(inside) == quota


def test_of_nested_quotas_the_least_counts(tmp_path: Path) -> None:
    """A slice may give its services less than they ask for, a service less than its slice."""
    files = {
        "system.slice/cpu.max": "120000 100000",
        "system.slice/streamser.service/cpu.max": "800000 100000",
        "user.slice/cpu.max": "10000 100000",
    }
    groups = "0::/system.slice/streamser.service\n"
    assert cpu_quota(system(tmp_path, mounts=V2, groups=groups, files=files)) == 1.2
    (tmp_path / "sys/fs/cgroup/system.slice/cpu.max").write_text("max 100000")
    assert cpu_quota(tmp_path) == 8.0


def test_a_container_of_version_1_sees_its_own_part(tmp_path: Path) -> None:
    """Its group is named from the machine's root, and mounted as if that were the whole."""
    mounts = V1.replace("0:29 / ", "0:29 /docker/4f1c ")
    groups = "4:memory:/docker/4f1c\n3:cpuset:/\n2:cpu,cpuacct:/docker/4f1c\n0::/x\n"
    files = {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}
    assert cpu_quota(system(tmp_path, mounts=mounts, groups=groups, files=files)) == 2.5
    (tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us").write_text("-1")
    assert cpu_quota(tmp_path) is None


def test_groups_of_version_1_are_nested_as_well(tmp_path: Path) -> None:
    """A pod's quota holds for its containers."""
    groups = "2:cpu,cpuacct:/kubepods/pod1/main\n"
    files = {
        "cpu,cpuacct/kubepods/pod1/cpu.cfs_quota_us": "300000",
        "cpu,cpuacct/kubepods/pod1/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/kubepods/pod1/main/cpu.cfs_quota_us": "-1",
        "cpu,cpuacct/kubepods/pod1/main/cpu.cfs_period_us": "100000",
    }
    assert cpu_quota(system(tmp_path, mounts=V1, groups=groups, files=files)) == 3.0


def test_a_group_beyond_what_is_mounted_is_no_way_out(tmp_path: Path) -> None:
    """Who has entered a namespace later has a name that leads upwards: what is seen counts."""
    files = {"cpu.max": "200000 100000"}
    outside = system(tmp_path, mounts=V2, groups="0::/../../other\n", files=files)
    assert cpu_quota(outside) == 2.0


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("20000 100000", 1), ("100000 100000", 1), ("290000 100000", 2), ("6400000 100000", 4)],
)
def test_cores_are_those_that_the_quota_pays_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int
) -> None:
    """Whole ones, one at least, and never more than the process is kept to."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    inside = system(tmp_path, mounts=V2, groups="0::/\n", files={"cpu.max": quota})
    assert core_count(inside) == cores


def test_without_a_quota_cores_are_those_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the system knows no cgroups at all."""
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {1, 4, 5}, raising=False)
    assert core_count(tmp_path) == 3
    garbled = "::\n\n0\n"
    assert (
        core_count(system(tmp_path, mounts="\n - \n1 2 - cgroup2", groups=garbled, files={})) == 3
    )


def test_the_limit_of_memory_is_the_one_that_leaves_the_least(tmp_path: Path) -> None:
    """Files that are merely kept in memory leave it to who needs it."""
    files = {
        "a/memory.max": f"{2048 * MIB}",
        "a/memory.current": f"{1900 * MIB}",
        "a/b/memory.max": f"{1024 * MIB}",
        "a/b/memory.current": f"{700 * MIB}",
        "a/b/memory.stat": f"anon 5\ninactive_file {200 * MIB}\n",
    }
    inside = system(tmp_path, mounts=V2, groups="0::/a/b\n", files=files)
    assert memory_limit(inside) == (2048 * MIB, 148 * MIB)
    (tmp_path / "sys/fs/cgroup/a/memory.max").write_text("max")
    assert memory_limit(inside) == (1024 * MIB, 524 * MIB)


def test_version_1_has_no_limit_of_memory_where_its_number_is_the_largest(tmp_path: Path) -> None:
    """It writes 2^63 less a page."""
    files = {
        "memory/memory.limit_in_bytes": "9223372036854771712",
        "memory/memory.usage_in_bytes": "5",
    }
    inside = system(tmp_path, mounts=V1, groups="4:memory:/\n", files=files)
    assert memory_limit(inside) is None
    (tmp_path / "sys/fs/cgroup/memory/memory.limit_in_bytes").write_text(f"{512 * MIB}")
    (tmp_path / "sys/fs/cgroup/memory/memory.stat").write_text("\ngarbled\ntotal_inactive_file x\n")
    assert memory_limit(inside) == (512 * MIB, 512 * MIB - 5)


def test_the_doctor_tells_the_container_not_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that others have is of no use to us."""
    monkeypatch.setattr(doctor, "cpu_quota", lambda: 1.5)
    monkeypatch.setattr(doctor, "core_count", lambda: 1)
    monkeypatch.setattr(doctor, "memory_limit", lambda: (512 * MIB, 256 * MIB))
    monkeypatch.setattr(doctor, "_machine_memory", lambda: (8192 * MIB, 4096 * MIB))
    told = {check.name: check for check in islice(doctor.run_checks(), 3)}
    assert "1 core for us (the container's quota: 1.5)" in told["processor"].found
    assert told["memory"].found == "0.5 GiB, 0.2 GiB available"
    assert told["memory"].advice.startswith("scarce")
