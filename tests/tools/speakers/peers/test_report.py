"""What others told, in the same table as ours, over the same meetings."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from streamser.errors import ConfigError
from streamser.machine import describe_machine
from tools.speakers.meetings import Cell
from tools.speakers.peers.__main__ import PEERS, main
from tools.speakers.peers.answers import PeerJudged
from tools.speakers.peers.report import PeersReport, compared, heard_by_all, peers_rows, read_peers
from tools.speakers.scoring import Figures, Times


def told(name: str, wrong: float, *, emotions: bool) -> PeerJudged:
    """Return a meeting of two with 100 s of speech, in which somebody heard three."""
    times = Times(100.0, 0.0, wrong, 0.0)
    figures = Figures((times, times), 0.0, 0.0, 1, 0, 3, 2)
    cell = Cell("emodb", 2, emotions=emotions, noisy=False)
    return PeerJudged("other", "as it comes", name, cell, figures)


def report() -> PeersReport:
    """Return three meetings."""
    return PeersReport(
        command="",
        seed=1,
        machine=describe_machine(),
        part="judge",
        count=1,
        versions={"other": "other 1.0"},
        judged=(
            told("a", 10.0, emotions=False),
            told("b", 30.0, emotions=True),
            told("c", 50.0, emotions=True),
        ),
    )


def test_a_row_is_a_program_with_a_setting() -> None:
    """Neutral meetings, then those with emotions, of those that are asked for."""
    (row,) = peers_rows(report(), {"a", "b"}.__contains__)
    table = compared([each.cell for each in report().judged], [row], "")
    assert table.heads[0] == "2 people"
    assert len(table.heads) == len(row)
    assert row[:5] == ("other 1.0, as it comes", "2", "0.100 / 0.100", "0.00", "1.50")
    assert row[5] == "0.300 / 0.300"


def test_programs_are_compared_over_meetings_that_all_have_heard() -> None:
    """Where a run was broken off, those of the one that is behind."""
    (first, *_), whole = report().judged, report()
    behind = replace(first, setting="threshold 0.5")
    assert heard_by_all(whole) == {"a", "b", "c"}
    assert heard_by_all(replace(whole, judged=(*whole.judged, behind))) == {"a"}
    assert heard_by_all(replace(whole, judged=())) == frozenset()


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Anything else is refused in one line."""
    file = tmp_path / "peers.json"
    file.write_bytes(msgspec.json.encode(report()))
    assert read_peers(file, "judge", 1) == report()
    with pytest.raises(ConfigError, match="these judge, seed 2"):
        read_peers(file, "judge", 2)
    file.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match="no report of"):
        read_peers(file, "judge", 1)
    with pytest.raises(ConfigError, match="No such file"):
        read_peers(tmp_path / "none.json", "judge", 1)


def test_what_is_judged_was_tried_on_the_voices_that_tune() -> None:
    """Or it is how the program comes; a longer latency is no threshold."""
    for peer in PEERS.values():
        for setting in peer.judged:
            assert {key: setting[key] for key in setting if key != "latency"} in peer.tried
        assert next(iter(peer.settings("judge"))) == "as it comes"


def test_a_folder_without_recordings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, before any program is asked."""
    given = ["--data", str(tmp_path), "--weights", str(tmp_path), "--keep", str(tmp_path / "kept")]
    assert main(given) == 1
    assert capsys.readouterr().err.strip().count("\n") == 0
