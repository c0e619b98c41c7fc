"""How measurements report: the same page on a terminal, as Markdown and beside a picture."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from streamser.errors import ConfigError
from streamser.machine import Machine
from tools.reporting import (
    MISSED,
    Files,
    Page,
    Provenance,
    Section,
    Table,
    drawing,
    markdown,
    publish,
    shown_command,
)

MACHINE = Machine(
    cpu="Testium 9",
    cores=2,
    system="Linux x86_64",
    python="CPython 3.11",
    streamser="0.1",
    packages={"numpy": "2.0"},
)


class Report(Provenance, frozen=True, kw_only=True):
    """A measurement of one figure."""

    speed: float


REPORT = Report(command="python -m tools.bench speed", seed=7, machine=MACHINE, speed=1.5)
PAGE = Page(
    title="tools.bench speed",
    sections=(
        Section(
            title="a|b",
            facts=REPORT.origin,
            tables=(Table(("what", "how fast"), (("a|b", f"{MISSED}: 1.5"),), "Speeds", "lr"),),
            verdict="Held: nothing.",
        ),
    ),
    notes=("Speed is how fast it was.",),
    picture="speed by time",
)


def test_a_page_becomes_markdown() -> None:
    """Verdict first, then facts and tables; a bar in a cell stays one."""
    assert markdown(PAGE, Path("s.png")).splitlines() == [
        "# tools.bench speed",
        "",
        "![speed by time](s.png)",
        "",
        "## a|b",
        "",
        "Held: nothing.",
        "",
        "- Testium 9, 2 cores, Linux x86_64, CPython 3.11",
        "- streamser 0.1; numpy 2.0",
        "- Command: python -m tools.bench speed (seed 7)",
        "",
        "### Speeds",
        "",
        "| what | how fast |",
        "| --- | ---: |",
        r"| a\|b | MISSED: 1.5 |",
        "",
        "## What is measured",
        "",
        "- Speed is how fast it was.",
    ]


def test_a_report_is_printed_and_written_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record goes to JSON as it is; the picture's address is seen from the Markdown."""
    (tmp_path / "docs").mkdir()
    files = Files(
        json=tmp_path / "r.json", markdown=tmp_path / "docs" / "r.md", plot=tmp_path / "p.svg"
    )
    drawn: list[Path] = []
    publish(PAGE, files, REPORT, draw=drawn.append)
    printed = capsys.readouterr().out
    assert "Testium 9" in printed
    assert "MISSED: 1.5" in printed
    assert printed.rstrip().endswith("Held: nothing.")
    assert msgspec.json.decode((tmp_path / "r.json").read_bytes(), type=Report) == REPORT
    assert json.loads((tmp_path / "r.json").read_text())["machine"]["cpu"] == "Testium 9"
    assert "![speed by time](../p.svg)" in (tmp_path / "docs" / "r.md").read_text("utf-8")
    assert drawn == [tmp_path / "p.svg"]


def test_a_picture_has_one_style(tmp_path: Path) -> None:
    """Its axes begin at nothing, and what its name asks for is its format."""
    pytest.importorskip("matplotlib")
    with drawing(tmp_path / "p.svg", 4, 3) as figure:
        axes = figure.subplots()
        axes.plot([1, 2], [5, 6])
    assert axes.get_ylim()[0] == 0
    assert (tmp_path / "p.svg").read_text("utf-8").lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    ("files", "why"),
    [
        (Files(json=Path("none/such/r.json")), "--json none/such/r.json: its folder does not"),
        (Files(plot=Path("p.doc")), "--plot p.doc: name a .png, .svg, .pdf file"),
    ],
)
def test_files_that_cannot_be_written_are_refused_before_the_work(files: Files, why: str) -> None:
    """In one line that names the option."""
    with pytest.raises(ConfigError, match=why):
        files.check()


def test_a_command_is_shown_without_its_token() -> None:
    """However it was given."""
    typed = ["load", "--token", "secret", "--token=secret", "--streams", "1"]
    assert shown_command("bench", typed) == "bench load --token '…' '--token=…' --streams 1"
