from __future__ import annotations

import os
from pathlib import Path

import pytest

from tools.bench_peers.use import Reading, read, used


def test_use_is_what_passed_between_two_moments() -> None:
    """Processor time over wall time; the greatest memory there ever was."""
    readings = [Reading(float(at), at * 0.5, 100.0 + at) for at in range(10)]
    assert used(readings, 2.0, 6.0).cpu == 0.5
    assert used(readings, 2.0, 6.0).pss_mib == 109.0
    assert used([], 0.0, 1.0).cpu is None


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs /proc")
def test_a_process_is_read() -> None:
    """The one that tests has used some of both."""
    found = read(os.getpid())
    assert found.busy_s > 0
    assert found.pss_mib > 10


def test_processes_that_have_ended_count_with_their_parent(tmp_path: Path) -> None:
    """A tree of two, and what a child that is gone had used; names may hold anything."""
    tick = os.sysconf("SC_CLK_TCK")
    for pid, parent, times in ((7, 1, (3, 1, 2, 0)), (8, 7, (4, 0, 0, 0)), (9, 1, (50, 0, 0, 0))):
        folder = tmp_path / str(pid)
        folder.mkdir()
        fields = ["S", str(parent), *"0" * 9, *(str(each * tick) for each in times)]
        (folder / "stat").write_text(f"{pid} (a) b) {' '.join(fields)}", encoding="utf-8")
        (folder / "smaps_rollup").write_text("Rss: 9 kB\nPss:   2048 kB\n", encoding="utf-8")
    found = read(7, tmp_path)
    assert (found.busy_s, found.pss_mib) == (10.0, 4.0)
