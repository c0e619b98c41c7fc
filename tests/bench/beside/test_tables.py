"""The report of ``streamser bench beside``."""

from __future__ import annotations

import io
from typing import Any

from msgspec.structs import replace
from rich.console import Console

from streamser.bench.beside.report import BesideReport, Comparison, Contender, Ratio
from streamser.bench.beside.tables import beside_markdown, print_beside
from streamser.bench.machine import describe_machine

COMPARISON = Comparison(
    part="vad",
    title="finding utterances",
    conditions=("ten seconds",),
    contenders=(
        Contender("ours", {"speed": 2.5, "faults": 0.0}),
        Contender("theirs", {"speed": 1234.5, "onset": None}),
    ),
    ratios=(
        Ratio(name="speed", value=0.5, goal=1.0),
        Ratio(name="faults", value=2.0, goal=1.0),
        Ratio(name="memory", value=None, goal=1.0),
        Ratio(name="share", value=0.25),
    ),
)


def report(**changes: Any) -> BesideReport:
    """Return a report of one comparison."""
    whole = BesideReport(
        command="streamser bench beside",
        quick=False,
        seed=7,
        machine=describe_machine(),
        comparisons=(COMPARISON,),
    )
    return replace(whole, **changes)


def printed(of: BesideReport) -> str:
    """Return what a terminal would show."""
    out = io.StringIO()
    print_beside(of, Console(file=out, width=160))
    return out.getvalue()


def test_tables_have_every_figure_that_any_contender_has() -> None:
    """What one lacks is a dash."""
    text = beside_markdown(report())
    assert "|  | speed | faults | onset |" in text
    assert "| ours | 2.5 | 0 | – |" in text
    assert "| theirs | 1234 | – | – |" in text
    assert "1234" in printed(report())


def test_ratios_are_judged_by_their_goals() -> None:
    """One without a value, or without a goal, is not judged."""
    for text in (beside_markdown(report()), printed(report())):
        assert "speed: 0.50 (goal ≥ 1) MISSED" in text
        assert "faults: 2.00 (goal ≥ 1) met" in text
        assert "memory: not measured (goal ≥ 1)" in text
        assert "share: 0.25" in text
        assert text.count("MISSED") == text.count(" met") == 1


def test_a_quick_run_judges_nothing() -> None:
    """And says so first."""
    for text in (beside_markdown(report(quick=True)), printed(report(quick=True))):
        assert "QUICK RUN" in text
        assert "MISSED" not in text
