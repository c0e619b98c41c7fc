"""Pictures of an evaluation: confusion, reliability, the valence–arousal plane, noise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from streamser.emotion.calibration import probabilities
from streamser.saving import replacing
from streamser.training.evaluation.bootstrap import Estimate
from streamser.training.evaluation.metrics import ccc, confusion, ece, reliability
from streamser.training.evaluation.predictions import Predictions
from streamser.training.evaluation.scores import Answers, figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from streamser.training.evaluation.report import Entry

_DPI = 120
# Okabe & Ito: told apart by readers with any colour vision.
_COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
_MANY = 3000


def save_plots(
    named: Sequence[tuple[str, Answers]], entries: Sequence[Entry], folder: Path
) -> list[tuple[str, str]]:
    """Draw what there is to draw as PNG files in a folder; return titles and file names.

    ``named`` are the answers under each condition without added noise, with its title, the
    headline first; ``entries`` are the results under all conditions.
    """
    labelled = [(title, answers) for title, answers in named if (answers.raw.labels >= 0).any()]
    drawn: list[tuple[str, str, Figure]] = []
    if labelled:
        drawn.append(("Confusion", "confusion.png", plot_confusion(labelled)))
        drawn.append(("Reliability", "reliability.png", plot_reliability(labelled)))
    headline = named[0][1].calibrated
    if not np.isnan(headline.truth).all() and headline.names:
        drawn.append(("Dimensions", "dimensions.png", plot_dimensions(headline)))
    if any(entry.condition.snr_db is not None for entry in entries):
        drawn.append(("Noise", "noise.png", plot_noise(entries)))
    for _, name, figure in drawn:
        with replacing(folder / name) as file:
            figure.savefig(file, dpi=_DPI)
    return [(title, name) for title, name, _ in drawn]


def plot_confusion(named: Sequence[tuple[str, Answers]]) -> Figure:
    """Draw a confusion matrix for each of some titled answers: shares of each true class."""
    figure, panels = _panels(len(named), width=4.0, height=4.0)
    for axes, (title, answers) in zip(panels, named, strict=True):
        raw = answers.raw
        counts = confusion(raw.labels, raw.logits.argmax(axis=1), len(raw.categories))
        support = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row, column in np.ndindex(*counts.shape):
            axes.text(
                column,
                row,
                f"{100 * shares[row, column]:.0f} %\n{counts[row, column]}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if shares[row, column] > 0.55 else "black",
            )
        places = np.arange(len(raw.categories))
        axes.set_xticks(places, raw.categories, rotation=30)
        axes.set_yticks(places, raw.categories)
        axes.set(title=_wrapped(title), xlabel="answered", ylabel="true")
    return figure


def plot_reliability(named: Sequence[tuple[str, Answers]]) -> Figure:
    """Draw how often answers of each confidence are right, raw and calibrated."""
    figure, panels = _panels(len(named), width=4.0, height=4.2)
    for axes, (title, answers) in zip(panels, named, strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        kinds = (("raw", answers.raw, "o"), ("calibrated", answers.calibrated, "s"))
        for (name, predictions, marker), colour in zip(kinds, _COLOURS[:2], strict=True):
            scores = probabilities(predictions.logits)
            bins = [each for each in reliability(predictions.labels, scores) if each.answers]
            error = ece(predictions.labels, scores)
            axes.plot(
                [each.confidence for each in bins],
                [each.accuracy for each in bins],
                color=colour,
                linewidth=1.2,
                label=f"{name}, ECE {error:.3f}",
            )
            # The area of a mark shows how many answers stand behind it.
            most = max(each.answers for each in bins)
            axes.scatter(
                [each.confidence for each in bins],
                [each.accuracy for each in bins],
                s=[8 + 60 * each.answers / most for each in bins],
                color=colour,
                marker=marker,
            )
        axes.set(
            title=_wrapped(title),
            xlabel="probability of the answer",
            ylabel="share that is right",
            xlim=(0, 1),
            ylim=(0, 1.02),
        )
        axes.legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def plot_dimensions(predictions: Predictions) -> Figure:
    """Draw ratings against answers per dimension, and both in the valence–arousal plane."""
    rated = [
        column
        for column in range(len(predictions.names))
        if not np.isnan(predictions.truth[:, column]).all()
    ]
    names = [predictions.names[column] for column in rated]
    plane = {"valence", "arousal"} <= set(names)
    figure, panels = _panels(len(rated) + 2 * plane, width=3.8, height=4.2)
    some = _sample(predictions)
    if plane:
        places = [predictions.names.index(name) for name in ("valence", "arousal")]
        for axes, table, title in zip(
            panels, (some.truth, some.dimensions), ("ratings", "answers"), strict=False
        ):
            _scatter_plane(axes, table[:, places], some)
            axes.set(title=title, xlabel="valence", ylabel="arousal", xlim=(0, 1), ylim=(0, 1))
        if (some.labels >= 0).any():
            panels[0].legend(loc="lower left", fontsize=8, frameon=False, handletextpad=0.1)
    for axes, column, name in zip(panels[2 * plane :], rated, names, strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        axes.scatter(
            some.truth[:, column],
            some.dimensions[:, column],
            s=6,
            alpha=0.35,
            linewidths=0,
            color=_COLOURS[0],
        )
        score = ccc(predictions.truth[:, column], predictions.dimensions[:, column])
        axes.set(
            title=f"{name}, CCC {score:.3f}",
            xlabel="rating",
            ylabel="answer",
            xlim=(0, 1),
            ylim=(0, 1),
        )
    return figure


def plot_noise(entries: Sequence[Entry]) -> Figure:
    """Draw the headline figures of each condition against the signal-to-noise ratio."""
    noisy = [entry for entry in entries if entry.condition.snr_db is not None]
    names = [name for name in figures(noisy[0].result.overall) if name not in ("WAR", "macro-F1")]
    figure, panels = _panels(len(names), width=4.2, height=3.8)
    ratios = sorted({float(entry.condition.snr_db or 0) for entry in noisy})
    for axes, name in zip(panels, names, strict=True):
        for number, modalities in enumerate(dict.fromkeys(e.condition.modalities for e in noisy)):
            line = [entry for entry in noisy if entry.condition.modalities == modalities]
            text = line[0].condition.text
            clean = [
                entry
                for entry in entries
                if entry.condition.snr_db is None
                and (entry.condition.modalities, entry.condition.text) == (modalities, text)
            ]
            # Without noise stands one step to the right of the highest ratio.
            points = [
                (_step(ratios, entry.condition.snr_db), found)
                for entry in (*line, *clean)
                if (found := figures(entry.result.overall).get(name)) is not None
            ]
            points.sort(key=lambda point: point[0])
            _draw_line(
                axes,
                # Side by side, so that intervals do not hide each other.
                [(place + 0.06 * number, found) for place, found in points],
                _COLOURS[number],
                modalities.replace("+", " + "),
            )
        axes.set_xticks(range(len(ratios) + 1), [*(f"{ratio:g}" for ratio in ratios), "clean"])
        axes.set(title=name, xlabel="signal-to-noise ratio, dB")
        axes.grid(axis="y", color="0.9")
        axes.legend(fontsize=8, frameon=False)
    return figure


def _draw_line(
    axes: Axes, points: Sequence[tuple[float, Estimate]], colour: str, label: str
) -> None:
    """Draw figures with their intervals, where they have them."""
    known = [(place, each) for place, each in points if each.value is not None]
    values = np.array([each.value for _, each in known], dtype=np.float64)
    lows = np.array([each.low for _, each in known], dtype=np.float64)
    highs = np.array([each.high for _, each in known], dtype=np.float64)
    reach = np.nan_to_num(np.stack([values - lows, highs - values])).clip(min=0)
    axes.errorbar(
        [place for place, _ in known],
        values,
        yerr=reach,
        marker="o",
        markersize=4,
        capsize=2,
        color=colour,
        label=label,
    )


def _step(ratios: Sequence[float], ratio: float | None) -> int:
    return len(ratios) if ratio is None else ratios.index(ratio)


def _scatter_plane(axes: Axes, points: npt.NDArray[np.float64], predictions: Predictions) -> None:
    labels = predictions.labels
    if not (labels >= 0).any():
        axes.scatter(points[:, 0], points[:, 1], s=6, alpha=0.35, linewidths=0, color=_COLOURS[0])
    for number, category in enumerate(predictions.categories):
        chosen = points[labels == number]
        axes.scatter(
            chosen[:, 0],
            chosen[:, 1],
            s=8,
            alpha=0.4,
            linewidths=0,
            color=_COLOURS[number % len(_COLOURS)],
            label=category,
        )
    axes.axhline(0.5, color="0.85", linewidth=0.8, zorder=0)
    axes.axvline(0.5, color="0.85", linewidth=0.8, zorder=0)


def _sample(predictions: Predictions) -> Predictions:
    """Return at most so many answers that single points can be seen."""
    if len(predictions) <= _MANY:
        return predictions
    return predictions.select(np.linspace(0, len(predictions) - 1, _MANY).astype(np.int64))


def _panels(count: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(1, count, place + 1) for place in range(count)]


def _wrapped(title: str) -> str:
    return title.replace(", ", "\n", 1)
