"""Pictures of a session for papers: PNG for screens, SVG for print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from streamser.errors import ModelError, StreamserError
from streamser.report.charts import extent_of
from streamser.report.figures import Figures
from streamser.saving import replacing
from streamser.taxonomy import UNSURE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI: Final = 200
# Okabe & Ito, as on the page: told apart by readers with any colour vision.
_CATEGORIES: Final = {
    "neutral": ("#009E73", "o"),
    "happy": ("#E69F00", "*"),
    "sad": ("#0072B2", "v"),
    "angry": ("#D55E00", "^"),
    UNSURE: ("#8A8F98", "x"),
}
_OTHER: Final = ("#CC79A7", "D")
_SPEAKERS: Final = ("#6741C9", "#0B7A55", "#B5287A", "#1769A6", "#846400", "#B0432A")
_STYLES: Final = ("-", "--", ":", "-.")


def check_plotting() -> None:
    """Raise ``ModelError`` where nothing can be drawn, before anything else is done."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ModelError("--plots needs matplotlib: run pip install 'streamser[plots]'.") from None


def save_plots(figures: Figures, folder: Path) -> list[Path]:
    """Draw what there is to draw, each as PNG and as SVG; return the files.

    The same figures give the same files, for their owner's eyes only. Raises
    ``StreamserError`` where they cannot be written.
    """
    check_plotting()
    import matplotlib

    # Ids of SVG elements are random otherwise; text stays text that can be edited.
    written = []
    with matplotlib.rc_context():
        matplotlib.rcParams["svg.hashsalt"] = "streamser"
        matplotlib.rcParams["svg.fonttype"] = "none"
        matplotlib.rcParams["font.size"] = 9
        # A name with $ in it is no formula.
        matplotlib.rcParams["text.parse_math"] = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, figure in _drawn(figures):
                for ending, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
                    path = folder / f"{name}.{ending}"
                    with replacing(path, private=True) as file:
                        figure.savefig(file, dpi=_DPI, format=ending, metadata=metadata)
                    written.append(path)
        except OSError as error:
            why = error.strerror or error
            raise StreamserError(f"--plots {folder}: {why}.", code="output_failed") from None
    return written


def _drawn(figures: Figures) -> list[tuple[str, Figure]]:
    drawn = []
    if figures.said:
        drawn.append(("timeline", _plot_timeline(figures)))
    if any(each.valence is not None and each.arousal is not None for each in figures.said):
        drawn.append(("plane", _plot_plane(figures)))
    if figures.categories:
        drawn.append(("categories", _plot_categories(figures)))
    if figures.uncertainty is not None:
        drawn.append(("uncertainty", _plot_uncertainty(figures)))
    if figures.latencies:
        drawn.append(("latency", _plot_latency(figures)))
    return drawn


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _look(category: str | None) -> tuple[str, str]:
    return _CATEGORIES.get(category or UNSURE, _OTHER)


def _plot_timeline(figures: Figures) -> Figure:
    talkers = len(figures.talkers)
    figure = _figure(7.2, 3.6 + 0.25 * talkers)
    heights = [max(1.0, 0.35 * talkers), 2, 2]
    lanes, valence, arousal = figure.subplots(3, 1, sharex=True, height_ratios=heights)
    for each in figures.said:
        span = (each.start_ms / 1000, max(each.length_ms, 1) / 1000)
        colour, _ = _look(each.category)
        lanes.broken_barh([span], (each.talker - 0.38, 0.76), facecolors=colour)
    lanes.set_yticks(range(talkers), [each.name or "Speaker" for each in figures.talkers])
    lanes.set_ylim(talkers - 0.5, -0.5)
    extent = extent_of(figures)
    for axes, dimension in ((valence, "valence"), (arousal, "arousal")):
        _plot_dimension(axes, figures, dimension)
        axes.set(ylabel=dimension, ylim=(-extent, extent))
    arousal.set(xlabel="time, s", xlim=(0, max(1, figures.length_ms) / 1000))
    _legend(lanes, figures)
    if talkers > 1:
        valence.legend(loc="upper right", ncols=4, fontsize=7, frameon=False)
    return figure


def _plot_dimension(axes: Axes, figures: Figures, dimension: str) -> None:
    axes.axhline(0, color="0.7", linewidth=0.8)
    lines = [("everybody", figures.everybody, "black", "-", 1.8)]
    if len(figures.talkers) > 1:
        lines += [
            (
                each.name or "Speaker",
                each.line,
                _SPEAKERS[number % len(_SPEAKERS)],
                _STYLES[(number + 1) % len(_STYLES)],
                1.2,
            )
            for number, each in enumerate(figures.talkers)
        ]
    for name, line, colour, style, width in lines:
        known = [
            (each.at_ms / 1000, value)
            for each in line
            if (value := getattr(each, dimension)) is not None
        ]
        axes.plot(*_columns(known), color=colour, linestyle=style, linewidth=width, label=name)
    for number in range(len(figures.talkers)):
        dots = [
            ((each.start_ms + each.end_ms) / 2000, value)
            for each in figures.said
            if each.talker == number and (value := getattr(each, dimension)) is not None
        ]
        axes.plot(*_columns(dots), ".", color=_SPEAKERS[number % len(_SPEAKERS)], markersize=5)


def _columns(pairs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def _legend(axes: Axes, figures: Figures) -> None:
    from matplotlib.patches import Patch

    patches = [
        Patch(color=_look(each.category)[0], label=each.category) for each in figures.categories
    ]
    if patches:
        axes.legend(
            handles=patches,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=len(patches),
            fontsize=7,
            frameon=False,
        )


def _plot_plane(figures: Figures) -> Figure:
    figure = _figure(4.2, 3.8)
    axes = figure.subplots()
    for share in figures.categories:
        dots = [
            (each.valence, each.arousal)
            for each in figures.said
            if each.category == share.category
            and each.valence is not None
            and each.arousal is not None
        ]
        colour, mark = _look(share.category)
        axes.scatter(*_columns(dots), color=colour, marker=mark, s=26, label=share.category)
    extent = extent_of(figures)
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.axvline(0, color="0.7", linewidth=0.8)
    axes.set(xlabel="valence", ylabel="arousal", xlim=(-extent, extent), ylim=(-extent, extent))
    axes.legend(fontsize=7, frameon=False)
    return figure


def _plot_categories(figures: Figures) -> Figure:
    rows = [("everybody", figures.categories)] if len(figures.talkers) > 1 else []
    rows += [(each.name or "Speaker", each.categories) for each in figures.talkers]
    figure = _figure(6.0, 0.9 + 0.36 * len(rows))
    axes = figure.subplots()
    for place, (_, shares) in enumerate(rows):
        left = 0.0
        for each in shares:
            axes.barh(place, 100 * each.share, left=left, height=0.7, color=_look(each.category)[0])
            left += 100 * each.share
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set(xlabel="share of the speaking time, %", xlim=(0, 100), ylim=(len(rows) - 0.5, -0.5))
    _legend(axes, figures)
    return figure


def _plot_uncertainty(figures: Figures) -> Figure:
    figure = _figure(4.2, 2.6)
    axes = figure.subplots()
    values = [each.uncertainty for each in figures.said if each.uncertainty is not None]
    axes.hist(values, bins=20, range=(0, 1), color="#0072B2")
    axes.set(xlabel="uncertainty (normalised entropy)", ylabel="utterances", xlim=(0, 1))
    return figure


def _plot_latency(figures: Figures) -> Figure:
    figure = _figure(4.8, 0.9 + 0.36 * len(figures.latencies))
    axes = figure.subplots()
    for place, each in enumerate(figures.latencies):
        axes.barh(place, each.median, height=0.6, color="#0072B2")
        axes.plot([each.median, each.p95], [place, place], color="black", linewidth=1.2)
    axes.set_yticks(range(len(figures.latencies)), [each.name for each in figures.latencies])
    axes.set(xlabel="ms after the last sound: median, line to 95 %", xlim=(0, None))
    axes.invert_yaxis()
    return figure
