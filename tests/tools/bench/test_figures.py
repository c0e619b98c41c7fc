from __future__ import annotations

import msgspec
import pytest

from streamser.machine import Machine
from tools.bench.figures import PipelineReport, Sections, figures_of, pipeline_page
from tools.bench.memory import MemoryReading, MemorySection
from tools.bench.startup import StartupSection
from tools.reporting import Goal, markdown


def startup(help_s: float, loaded: tuple[str, ...] = ()) -> StartupSection:
    """Make a start-up measurement."""
    return StartupSection(
        launches=7,
        help_s=help_s,
        python_s=0.02,
        import_ms=1.5,
        watched=("torch", "numpy"),
        loaded_by_import=loaded,
    )


def memory(growth: float) -> MemorySection:
    """Make a memory measurement that grew by so many MB."""
    readings = tuple(
        MemoryReading(audio_minutes=minutes, resident_mib=100 + growth * share)
        for minutes, share in ((10, 0), (60, 0.3), (180, 1))
    )
    return MemorySection(
        hours=3,
        input_rate=48_000,
        kind="current",
        at_start_mib=90,
        readings=readings,
        growth_mib=growth,
        utterances=2400,
        events=20_000,
        times_real=100,
    )


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal(30, "ms"), 30.0, True),
        (Goal(30, "ms"), 30.1, False),
        (Goal(30, "ms"), -4.0, True),
        (Goal(150, "×", at_least=True), 150.0, True),
        (Goal(150, "×", at_least=True), 149.9, False),
    ],
)
def test_a_goal_is_kept_up_to_its_limit(goal: Goal, value: float, met: bool) -> None:
    """The limit itself is good enough, anything beyond is not."""
    assert goal.met_by(value) is met


def test_figures_are_judged_against_their_goals() -> None:
    """A slow start, a heavy import and growing memory are called missed, good ones met."""
    good = figures_of(Sections(startup=startup(0.2), memory=memory(1.0)), quick=False)
    bad = figures_of(Sections(startup=startup(0.4, ("torch",)), memory=memory(9.0)), quick=False)
    assert [figure.met for figure in good if figure.goal] == [True, True, True]
    assert [figure.met for figure in bad if figure.goal] == [False, False, False]


def test_numpy_on_import_is_told_but_breaks_no_goal() -> None:
    """Only torch and transformers are forbidden; numpy is named in the value."""
    figures = figures_of(Sections(startup=startup(0.2, ("numpy",))), quick=False)
    assert "loads numpy" in figures[1].value
    assert figures[1].met is True


def test_a_quick_run_judges_nothing() -> None:
    """Goals are shown, verdicts are not."""
    figures = figures_of(Sections(startup=startup(9.9), memory=memory(99)), quick=True)
    assert len(figures) == 6
    assert all(figure.met is None for figure in figures)
    assert any(figure.goal for figure in figures)


def test_markdown_names_the_machine_and_what_was_missed() -> None:
    """The written report has machine, sound, method and a row for each figure."""
    sections = Sections(startup=startup(0.4))
    report = PipelineReport(
        command="python -m tools.bench pipeline",
        seed=1,
        quick=False,
        machine=Machine(
            cpu="Testium 9",
            cores=2,
            system="Linux x86_64",
            python="CPython 3.11",
            streamser="0.1",
            packages={"numpy": "2.0"},
        ),
        recordings="bundled demo",
        lap_s=52.0,
        sections=sections,
        figures=figures_of(sections, quick=False),
    )
    text = markdown(pipeline_page(report))
    for part in ("Testium 9", "2 cores", "numpy 2.0", "bundled demo", "type 7", "MISSED"):
        assert part in text
    assert "QUICK" not in text
    assert text.count("\n|") == 2 + len(report.figures)
    assert msgspec.json.decode(msgspec.json.encode(report), type=PipelineReport) == report
