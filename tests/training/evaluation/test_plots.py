"""Pictures show what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from streamser.training.evaluation.plots import (
    plot_confusion,
    plot_dimensions,
    plot_noise,
    plot_reliability,
    save_plots,
)
from streamser.training.evaluation.report import Condition, Entry
from streamser.training.evaluation.scores import figures, judge, score
from tests.training.planted import table, voices


def entries() -> list[Entry]:
    """Return results without noise, and at two ratios."""
    return [
        Entry(
            Condition(modalities="audio", snr_db=ratio),
            score([judge(voices(0, clearness=clearness))], replicates=50),
        )
        for ratio, clearness in ((None, 2.0), (20.0, 1.0), (0.0, 0.2))
    ]


def test_all_pictures_are_written(tmp_path: Path) -> None:
    """Four PNG files of a size that can be read, and no global state of pyplot."""
    before = "matplotlib.pyplot" in sys.modules
    saved = save_plots([("audio", judge(voices(0)))], entries(), tmp_path)
    assert [file for _, file in saved] == [
        "confusion.png",
        "reliability.png",
        "dimensions.png",
        "noise.png",
    ]
    for _, file in saved:
        content = (tmp_path / file).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_what_is_not_there_is_not_drawn(tmp_path: Path) -> None:
    """Without ratings no plane, without labels no confusion, without noise no curve."""
    made = voices(0)
    unrated = replace(made, truth=np.full_like(made.truth, np.nan))
    saved = save_plots([("audio", judge(unrated))], entries()[:1], tmp_path)
    assert [file for _, file in saved] == ["confusion.png", "reliability.png"]
    assert save_plots([("x", judge(table(np.zeros((5, 4)), [-1] * 5)))], [], tmp_path) == []


def test_the_confusion_matrix_shows_shares_and_counts() -> None:
    """Each cell holds the share of its true class and the number."""
    made = table(np.eye(4)[[0, 0, 1, 2, 3, 3]], [0, 0, 0, 2, 3, 3])
    axes = plot_confusion([("audio, noise", judge(made))]).axes[0]
    cells = [text.get_text() for text in axes.texts]
    assert cells[0] == "67 %\n2"
    assert cells[1] == "33 %\n1"
    assert cells[5] == "0 %\n0"
    assert axes.get_title() == "audio\nnoise"
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "neutral",
        "happy",
        "sad",
        "angry",
    ]


def test_the_reliability_diagram_shows_raw_and_calibrated() -> None:
    """Both curves lie at the mean confidence and accuracy of their bins, with their ECE."""
    made = voices(0)
    axes = plot_reliability([("audio", judge(made))]).axes[0]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text().split(",")[0] for text in legend.get_texts()] == ["raw", "calibrated"]
    diagonal, raw, calibrated = axes.get_lines()
    assert np.array_equal(diagonal.get_xdata(), [0, 1])
    assert np.allclose(np.asarray(raw.get_ydata()), np.asarray(calibrated.get_ydata()))


def test_dimensions_are_drawn_as_rated_and_as_answered() -> None:
    """The plane twice, then each dimension against its rating, with its CCC."""
    made = voices(0)
    panels = plot_dimensions(made).axes
    found = figures(score([judge(made)], replicates=0).overall)
    assert [axes.get_title() for axes in panels] == [
        "ratings",
        "answers",
        f"valence, CCC {found['CCC valence'].value:.3f}",
        f"arousal, CCC {found['CCC arousal'].value:.3f}",
    ]
    shown = sum(len(np.asarray(points.get_offsets())) for points in panels[0].collections)
    assert shown == len(made)


def test_one_dimension_needs_no_plane() -> None:
    """A model of arousal alone gets one panel."""
    made = voices(0)
    alone = replace(
        made, names=("arousal",), truth=made.truth[:, 1:], dimensions=made.dimensions[:, 1:]
    )
    assert len(plot_dimensions(alone).axes) == 1


def test_the_noise_curve_rises_towards_clean() -> None:
    """Points lie at their ratio, the clean one last, with intervals."""
    found = entries()
    axes = plot_noise(found).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "20", "clean"]
    line = axes.get_lines()[0]
    values = [figures(entry.result.overall)["UAR"].value for entry in reversed(found)]
    assert np.allclose(np.asarray(line.get_ydata(), dtype=float), np.array(values, dtype=float))


def test_a_figure_without_an_interval_is_a_point() -> None:
    """Undefined bounds are drawn as none."""
    found = entries()
    bare = [Entry(entry.condition, score([judge(voices(0))], replicates=0)) for entry in found]
    assert figures(bare[0].result.overall)["UAR"].low is None
    assert len(plot_noise(bare).axes) == 3
