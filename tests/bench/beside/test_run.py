"""``streamser bench beside``, from the command line to the report."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streamser.bench.beside.report import PARTS, BesideReport
from streamser.bench.beside.run import BesidePlan, run_beside, tasks_of
from streamser.bench.beside.tasks import LocksTask
from streamser.errors import ConfigError, StreamserError
from tests.cli.running import refuses, run


def test_chosen_parts_are_tried_out_and_written(tmp_path: Path) -> None:
    """Each has its contenders, with speeds, and a ratio; the files hold the same report."""
    pytest.importorskip("silero_vad")
    json_file, markdown_file = tmp_path / "r.json", tmp_path / "r.md"
    only = ("--quick", "--only", "whisper,vad")
    result = run("bench", "beside", *only, "--json", json_file, "--markdown", markdown_file)
    assert result.exit_code == 0, result.output
    report = msgspec.json.decode(json_file.read_bytes(), type=BesideReport)
    vad, whisper = report.comparisons
    assert (vad.part, whisper.part) == ("vad", "whisper")
    assert all((each.figures["times real time"] or 0) > 1 for each in vad.contenders)
    assert all((each.figures["utterances/s"] or 0) > 0 for each in whisper.contenders)
    assert all(ratio.value is not None for ratio in (vad.ratios[0], *whisper.ratios))
    # The rules of both come to the same where the detector is the same.
    ours, same = (each.figures for each in vad.contenders[:2])
    assert ours["offset p50, clean"] == same["offset p50, clean"] is not None
    assert "## vad: finding utterances" in markdown_file.read_text(encoding="utf-8")


def test_every_part_has_a_task_of_its_own() -> None:
    """In their order, whichever way they are asked for."""
    for quick in (True, False):
        plan = BesidePlan(command="", quick=quick)
        tasks = tasks_of(plan)
        assert len(tasks) == len(PARTS) == len({msgspec.json.encode(task) for task in tasks})
        locks, words, *others = tasks
        assert isinstance(locks, LocksTask)
        assert isinstance(words, LocksTask)
        assert (locks.part, words.part) == PARTS[:2]
        assert [type(task).__struct_config__.tag for task in others] == list(PARTS[2:])
    chosen = tasks_of(BesidePlan(command="", parts=("matrix", "locks")))
    assert [type(task).__struct_config__.tag for task in chosen] == ["locks", "matrix"]


def test_a_package_that_is_missing_is_named_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With what to install, or to leave out."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    told: list[str] = []
    with pytest.raises(ConfigError, match=r"pip install silero-vad, or leave vad out"):
        run_beside(BesidePlan(command="", quick=True), told.append)
    assert told == []


def test_a_comparison_that_fails_says_why(tmp_path: Path) -> None:
    """In one line, from the process in which it was made."""
    plan = BesidePlan(command="", parts=("whisper",), quick=True, whisper=tmp_path)
    with pytest.raises(StreamserError, match=str(tmp_path)):
        run_beside(plan, lambda line: None)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--only", "vad,speed"), "--only speed: there are locks, words, vad"),
        (("--asr-model", "nowhere"), "--asr-model nowhere: it is no folder"),
        (("--json", "nowhere/r.json"), "its folder does not exist"),
    ],
)
def test_wrong_use_is_refused(arguments: tuple[str, ...], why: str) -> None:
    """Before anything is measured."""
    refuses(run("bench", "beside", *arguments), 2, why)
