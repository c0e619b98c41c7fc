"""A picture of load reports: latency and cost by streams, one line a configuration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamser.errors import ModelError, StreamserError
from tools.bench.load_report import LoadReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["check_plotting", "plot_load", "save_figure"]

_DPI = 120
# Okabe & Ito: told apart by readers with any colour vision.
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
_MARKS: Final = "osv^Dxp"


def check_plotting() -> None:
    """Raise ``ModelError`` where nothing can be drawn, before minutes are spent on it."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ModelError("--plot needs matplotlib: run pip install matplotlib.") from None


def plot_load(reports: Sequence[LoadReport], file: Path) -> None:
    """Draw p95 beyond the hangover and the cores used; raises ``StreamserError``."""
    check_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.0, 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    late, cost = figure.subplots(1, 2)
    for number, report in enumerate(reports):
        colour = _COLOURS[number % len(_COLOURS)]
        mark = _MARKS[number % len(_MARKS)]
        held = f"{report.label} (held: {report.largest_held or 'none'})"
        latency = [
            (step.streams, step.figures.emotion_beyond.p95)
            for step in report.steps
            if step.figures.emotion_beyond is not None
        ]
        late.plot(*_columns(latency), color=colour, marker=mark, label=held)
        used = [(step.streams, step.use.cores) for step in report.steps if step.use.cores]
        cost.plot(*_columns(used), color=colour, marker=mark)
    for bound in sorted({report.bound_ms for report in reports}):
        late.axhline(bound, color="grey", linestyle="--", linewidth=1)
        late.annotate(f"{bound:g} ms", (1.0, bound), xycoords=("axes fraction", "data"), ha="right")
    late.set(ylabel="speech end → emotion, p95 beyond the hangover, ms", ylim=(0, None))
    cost.set(ylabel="processor cores used by the server", ylim=(0, None))
    counts = sorted({step.streams for report in reports for step in report.steps})
    for axes in (late, cost):
        _count_streams(axes, counts)
    figure.legend(loc="outside lower center", ncols=1, frameon=False)
    save_figure(figure, file)


def save_figure(figure: Figure, file: Path) -> None:
    """Write a picture in the format its name asks for; raises ``StreamserError``."""
    try:
        figure.savefig(file, dpi=_DPI, format=file.suffix.lstrip(".").lower() or "png")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise StreamserError(f"--plot {file}: {why}.", code="output_failed") from None


def _count_streams(axes: Axes, counts: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("streams")
    axes.grid(alpha=0.3)


def _columns(points: Sequence[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]
