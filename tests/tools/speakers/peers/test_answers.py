"""What programs of others answer: asked in another process, kept, and judged."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from streamser.audio.clip import SAMPLE_RATE
from streamser.errors import ConfigError, ModelError
from tools.speakers.meetings import Cell, Meeting, Said
from tools.speakers.peers.answers import Answer, KeptAnswers, asked, judged, parsed

ANSWER = Answer("as it comes", "a.wav", ((0.0, 10.0, "x"), (8.0, 20.0, "y")))
PROGRAM = """
import json, sys
for file in sys.argv[3:]:
    for name in json.loads(sys.argv[2]):
        turns = [[0, 1.5, "x"]]
        print(json.dumps({"setting": name, "file": file, "turns": turns}))
"""


def test_two_at_once_may_both_be_named() -> None:
    """As those do who hear overlaps; the truth has no errors."""
    said = (
        Said(0, 10 * SAMPLE_RATE, "ann", "neutral"),
        Said(8 * SAMPLE_RATE, 20 * SAMPLE_RATE, "bob", "neutral"),
    )
    cell = Cell("speech", 2, emotions=False, noisy=False)
    meeting = Meeting("a", cell, np.zeros(20 * SAMPLE_RATE, np.float32), said)
    pytest.importorskip("pyannote.metrics", reason="the extra dev brings pyannote.metrics")
    found = judged("other", meeting, ANSWER)
    assert [times.der for times in found.figures.times] == [0, 0]
    assert (found.figures.labels, found.figures.counted) == (2, 1)


def test_every_file_is_answered_for_each_setting(tmp_path: Path) -> None:
    """By a program that knows nothing of this one."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    settings = {"one": {}, "two": {"threshold": 0.5}}
    files = [Path("a.wav"), Path("b.wav")]
    found = list(asked(Path(sys.executable), script, tmp_path, settings, files))
    assert [(each.file, each.setting) for each in found] == [
        ("a.wav", "one"),
        ("a.wav", "two"),
        ("b.wav", "one"),
        ("b.wav", "two"),
    ]
    assert found[0].turns == ((0, 1.5, "x"),)


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    """In its last line; one that is not installed is asked for."""
    script = tmp_path / "program.py"
    script.write_text("raise SystemExit('no such network')", encoding="utf-8")
    with pytest.raises(ModelError, match="program failed with 1: no such network"):
        list(asked(Path(sys.executable), script, tmp_path, {}, []))
    with pytest.raises(ConfigError, match="bench-speakers-peers"):
        list(asked(tmp_path / "python", script, tmp_path, {}, []))


@pytest.mark.parametrize(
    "line",
    [
        "loading…",
        '{"setting": "a", "file": "a.wav", "turns": [[1, "x"]]}',
        '{"setting": "a", "file": "a.wav", "turns": [[2, 1, "x"]]}',
    ],
)
def test_what_is_no_answer_is_refused(line: str) -> None:
    """Rather than judged."""
    with pytest.raises(ModelError):
        parsed(line)


def test_answers_are_kept_by_program_setting_and_meeting(tmp_path: Path) -> None:
    """Others are asked for."""
    kept = KeptAnswers(tmp_path)
    kept.write("other", "judge 1 a", ANSWER)
    assert kept.read("other", "as it comes", "judge 1 a") == ANSWER
    assert kept.read("other", "threshold 0.5", "judge 1 a") is None
