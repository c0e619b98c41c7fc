"""The measurement of speakers: its report, and its refusal of what is no folder of recordings."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from streamser.machine import describe_machine
from tools.reporting import MISSED, markdown
from tools.speakers.bench import main
from tools.speakers.emotions import WAYS, Recognised
from tools.speakers.meetings import Cell
from tools.speakers.peers.answers import PeerJudged
from tools.speakers.peers.report import PeersReport
from tools.speakers.report import Judged, SpeakersReport, speakers_page, trials_section
from tools.speakers.scoring import Figures, Times


def judged(confused: float, *, emotions: bool) -> Judged:
    """Return a meeting of 100 s of speech, so many of them confused."""
    times = Times(100.0, 0.0, confused, 0.0)
    figures = Figures((times, times), 100.0, confused, 1, 1, 2, 2)
    cell = Cell("emodb", 2, emotions=emotions, noisy=False)
    read = Recognised(
        {way: counts(wrong) for way, wrong in zip(WAYS, (4, 2, 1, 1), strict=True)}, 3
    )
    return Judged("a", cell, 120.0, replace(figures, wrong_s=20.0), figures, read)


def counts(wrong: int) -> tuple[tuple[int, ...], ...]:
    """Return twenty utterances, ten neutral and ten angry, so many of these read as neutral."""
    return ((10, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0), (wrong, 0, 0, 10 - wrong))


def report_of(*several: Judged) -> SpeakersReport:
    """Return a report of meetings."""
    return SpeakersReport(
        command="",
        seed=1,
        machine=describe_machine(),
        part="judge",
        count=1,
        told=False,
        embedder="made",
        judged=several,
    )


def test_a_report_says_which_goals_were_missed() -> None:
    """By kind of meeting, with the goal beside the figure."""
    report = report_of(judged(5.0, emotions=False), judged(19.0, emotions=True))
    page = markdown(speakers_page(report))
    assert "| neutral: DER after correction | 0.050 | ≤ 0.1 DER | met |" in page
    assert f"| emotions: DER after correction | 0.190 | ≤ 0.18 DER | {MISSED} |" in page
    assert "| neutral: emotion to the wrong one | 0.050 | ≤ 0.12 of speech read | met |" in page
    assert "2 meetings, 4 minutes" in page
    assert (
        f"| emotions: UAR below true speakers, at once | 0.050 | ≤ 0.03 of UAR | {MISSED} |" in page
    )
    assert "| emotions: UAR below true speakers, after | 0.000 | ≤ 0.03 of UAR | met |" in page
    assert "| emotions, 2 to 4 people | 20 / 3 | 0.800 | 0.900 | 0.950 | 0.950 |" in page


def test_others_stand_beside_ours_over_the_same_meetings() -> None:
    """What they alone have heard does not count."""
    ours = (judged(5.0, emotions=False), judged(19.0, emotions=True))
    told = [PeerJudged("other", "as it comes", name, ours[0].cell, ours[0].final) for name in "ab"]
    peers = PeersReport(
        command="",
        seed=1,
        machine=describe_machine(),
        part="judge",
        count=1,
        versions={"other": "other 1"},
        judged=tuple(told),
    )
    page = markdown(speakers_page(replace(report_of(*ours[:1]), peers=peers)))
    figures = "1 | 0.050 / 0.050 | 1.00 | 1.00 |"
    assert f"| ours, after correction | {figures}" in page
    assert f"| other 1, as it comes | {figures}" in page


def test_what_was_tried_is_a_row_each() -> None:
    """At once and after correction, for both kinds of meetings."""
    tried = {"so": (judged(5.0, emotions=False), judged(19.0, emotions=True))}
    (table,) = trials_section(tried).tables
    assert table.rows == (("so", "0.050 / 0.050", "1.00", "0.190 / 0.190", "1.00"),)


def test_a_folder_without_recordings_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one line, before anything is heard."""
    assert main(["--data", str(tmp_path)]) == 1
    assert capsys.readouterr().err.strip().count("\n") == 0
