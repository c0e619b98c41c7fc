from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from streamser.machine import describe_machine
from tools.bench_peers.conversation import Utterance
from tools.bench_peers.errors import BenchError
from tools.bench_peers.figures import DEFINITIONS, figures_of
from tools.bench_peers.log import Read, StreamLog
from tools.bench_peers.report import Report, Run, Terms, markdown, read_report, save
from tools.bench_peers.use import Use

TERMS = Terms(
    seed=1,
    seconds=30.0,
    pause_s=(0.8, 2.5),
    stagger_s=4.0,
    frame_ms=40,
    clips=23,
    weights="tiny.en",
    cores=(0, 1),
    machine=describe_machine(),
)


def run(server: str, streams: int, late: float, *, voice: bool = False) -> Run:
    """Make a run whose every last word came so late."""
    log = StreamLog(utterances=(Utterance("clip", 0.0, 1.0, ("yes",)),), began=0.0)
    log.show(1.0 + late, "yes", "")
    if voice:
        log.readings.append(Read(1.7, 0.7, final=True, beyond_s=0.188))
    return Run(
        server=server,
        version="1.0",
        command=f"start {server}",
        streams=streams,
        figures=figures_of([log] * streams),
        use=Use(0.5, 400.0),
    )


def report(*runs: Run) -> Report:
    """Make a report of some runs."""
    return Report(terms=TERMS, command="measure", definitions=DEFINITIONS, runs=runs)


def test_a_report_is_gone_on_with(tmp_path: Path) -> None:
    """What was measured is read back; what failed is measured again."""
    path = tmp_path / "out.json"
    assert read_report(path, report()) == report()
    failed = Run(server="whisperlive", version="1", command="", streams=2, failed="no room")
    save(path, report(run("streamser", 1, 0.5), failed))
    found = read_report(path, report())
    assert found.has("streamser", 1)
    assert not found.has("whisperlive", 2)
    assert found.with_run(run("whisperlive", 2, 0.9)).has("whisperlive", 2)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out.json", "out.md"]


def test_other_terms_are_not_mixed_in(tmp_path: Path) -> None:
    """A file of another seed is left alone, in one line."""
    path = tmp_path / "out.json"
    save(path, report())
    with pytest.raises(BenchError, match="was measured with other seed: name another"):
        read_report(path, replace(report(), terms=replace(TERMS, seed=2)))
    with pytest.raises(BenchError, match="cannot be written: No such file or directory"):
        save(tmp_path / "none" / "out.json", report())
    path.write_text("[]", encoding="utf-8")
    with pytest.raises(BenchError, match="is no report of this tool"):
        read_report(path, report())


def test_the_tables_say_who_holds_how_much() -> None:
    """A row a server, a row a run, and what was never in time."""
    found = markdown(
        report(
            run("streamser", 1, 0.5, voice=True),
            run("streamser", 4, 1.2, voice=True),
            run("whisperlive", 1, 1.6),
            Run(server="whisperlivekit", version="1", command="c", streams=1, failed="no room"),
        )
    )
    assert "| streamser 1.0 | **4** | .000 | `start streamser` |" in found
    assert "| WhisperLive 1.0 | none |  | `start whisperlive` |" in found
    assert (
        "| WhisperLive | 1 | 1 | .000 | 0, 0 | 1.60 | 1.60 | 1.60 | 1.60 | 2.60 | 0.50 | 400 |"
        in found
    )
    assert "| WhisperLiveKit | 1 | not measured: no room |" in found
    assert "| 4 | 0.70 | 0.70 | 0.19 | 0 | 0 |" in found
    rows = [line.count("|") for line in found.splitlines() if line.startswith("| WhisperLive")]
    assert set(rows) == {5, 13}
