from __future__ import annotations

from streamser.machine import describe_machine
from tools.compact_report.records import (
    Figure,
    ModelPrint,
    Provenance,
    Report,
    Section,
    Table,
    verdicts,
)
from tools.compact_report.render import markdown


def report(*cells: Figure, models: int = 1) -> str:
    """Render a report of one table with one row."""
    provenance = Provenance(
        command="do it",
        data="data",
        quick=False,
        stream_seeds=5,
        replicates=1000,
        models=tuple(ModelPrint(f"m{i}", {"judge.onnx": "0" * 64}) for i in range(models)),
        machine=describe_machine(),
    )
    heads = ("corpus", *(f"f{i}" for i in range(len(cells))))
    table = Table("", heads, (("X|Y", *cells),))
    return markdown(Report(provenance, {"voice": Section("Voice", "Shown.", (table,))}))


def test_goals_are_met_or_missed_by_how_much() -> None:
    """At least and at most; what has no goal or no value is not judged."""
    good = Figure(value=0.8).aimed(0.72)
    bad = Figure(value=0.12).aimed(0.08, at_most=True)
    none = Figure(value=None).aimed(0.5)
    table = Table(
        "", ("corpus", "UAR", "ECE", "F1", "WAR"), (("X", good, bad, none, good.aimed(None)),)
    )
    assert verdicts((table,)) == [
        "X, UAR 0.800 (goal 0.72): met",
        "X, ECE 0.120 (goal at most 0.08): missed by 0.040",
    ]


def test_a_goal_reached_as_shown_is_met() -> None:
    """.7196 is shown as .720."""
    table = Table("", ("corpus", "UAR"), (("X", Figure(value=0.7196).aimed(0.72)),))
    assert verdicts((table,))[0].endswith(": met")


def test_cells_show_interval_goal_and_floor() -> None:
    """And no bar can break a table."""
    text = report(Figure(value=0.731, low=0.7, high=0.76).aimed(0.72, floor=0.7))
    assert "| X\\|Y | .731 [.700, .760] (goal .72, floor .70) |" in text
    assert "Goals met: 1 of 1." in text


def test_the_model_that_ships_is_shown_where_there_are_several() -> None:
    """One model is the mean of itself."""
    figure = Figure(value=-0.5, ships=-0.25)
    assert "-.500 · -.250" in report(figure, models=2)
    assert "·" not in report(figure).split("## ")[1]


def test_undefined_figures_are_dashes() -> None:
    """Also where there is a goal."""
    assert "| – |" in report(Figure(value=None).aimed(0.5))
