"""A picture of a soak: memory and counts over minutes of audio."""

from __future__ import annotations

from pathlib import Path

from tools.bench.load_plot import check_plotting, save_figure
from tools.bench.soak_report import SoakReport

__all__ = ["plot_soak"]


def plot_soak(report: SoakReport, file: Path) -> None:
    """Draw memory, threads, descriptors and tasks; raises ``StreamserError``."""
    check_plotting()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 7.0), layout="constrained")
    FigureCanvasAgg(figure)
    memory, counts = figure.subplots(2, 1, sharex=True)
    readings = report.readings
    minutes = [reading.minutes for reading in readings]
    for axes, name, colour, values in (
        (memory, "resident, all processes", "#0072B2", [each.rss_mib for each in readings]),
        (memory, "private, all processes", "#56B4E9", [each.private_mib for each in readings]),
        (counts, "threads", "#E69F00", [each.threads for each in readings]),
        (counts, "file descriptors", "#009E73", [each.descriptors for each in readings]),
        (counts, "asyncio tasks", "#D55E00", [each.tasks for each in readings]),
    ):
        shown = [float("nan") if value is None else float(value) for value in values]
        axes.plot(minutes, shown, color=colour, label=name, linewidth=1)
    for axes in (memory, counts):
        axes.axvspan(0, report.warm_minutes, color="grey", alpha=0.15, label="warm-up")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(loc="lower right", frameon=False)
    memory.set_ylabel("MiB")
    counts.set_ylabel("count")
    counts.set_xlabel("minutes of audio a stream")
    save_figure(figure, file)
