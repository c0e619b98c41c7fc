from __future__ import annotations

import numpy as np
import pytest

from streamser.training.evaluation.metrics import ECE, UAR, ece, uar
from streamser.training.evaluation.predictions import Predictions
from tools.compact_report.bench import Bench
from tools.compact_report.figures import (
    ALARM,
    PRECISION,
    UNSURE_SHARE,
    answers,
    answers_of,
    figures,
    pearson_of,
    recall_of,
    said_share,
    uar_lost,
)
from tools.compact_report.plan import Plan


def made(labels: list[int], said: list[int], named: list[bool]) -> Predictions:
    """Return answers that put .7 on what was said."""
    scores = np.full((len(said), 4), 0.1)
    scores[np.arange(len(said)), said] = 0.7
    values = np.linspace(-1, 1, 3 * len(said)).reshape(-1, 3)
    return answers(
        scores,
        values,
        np.array(named),
        labels=np.array(labels),
        ids=[str(i) for i in range(len(said))],
        speakers=[str(i % 2) for i in range(len(said))],
        corpus="made",
        truth=1 - (values + 1) / 2,
    )


def test_measures_count_what_they_say() -> None:
    """Unlabelled items count only where said so; runs have each their own unsure."""
    first = made([0, 0, 1, 3, -1], [0, 1, 1, 3, 3], [True, True, False, True, True])
    second = made([0, 0, 1, 3, -1], [0, 0, 1, 3, 0], [False] * 5)
    measures = {
        **{"unsure": UNSURE_SHARE, "precision": PRECISION, "alarm": ALARM},
        **{"recall": recall_of("neutral"), "said": said_share("angry"), "r": pearson_of(0)},
    }
    one = {name: each.value for name, each in figures([first], measures, Plan.small()).items()}
    assert one == pytest.approx(
        {"unsure": 1 / 4, "precision": 2 / 3, "alarm": 3 / 5, "recall": 0.5, "said": 0.4, "r": -1}
    )
    both = figures([first, second], measures, Plan.small())
    assert both["unsure"].value == pytest.approx(5 / 8)
    assert both["unsure"].ships == pytest.approx(1 / 4)
    assert both["recall"].value == pytest.approx(0.75)


def test_figures_agree_with_the_plain_metrics(bench: Bench) -> None:
    """On what a model says of a corpus, through the bootstrap and without."""
    corpus, played = bench.corpus("emodb"), bench.played("emodb")[0]
    run = answers_of(corpus, played, played.warm)
    found = figures([run], {"UAR": UAR, "ECE": ECE}, bench.plan)
    labels, scores = corpus.labels[played.clip[played.warm]], played.scores[played.warm]
    assert found["UAR"].value == pytest.approx(uar(labels, scores.argmax(axis=1), 4))
    assert found["ECE"].value == pytest.approx(ece(labels, scores))


def test_what_is_lost_is_the_difference_of_two_uars() -> None:
    """Of the first rows and the others."""
    first = made([0, 0, 1, 3], [0, 1, 1, 3], [True] * 4)
    second = made([0, 1, 2, 3], [0, 0, 0, 0], [True] * 4)
    both = Predictions.join([first, second])
    lost = figures([both], {"lost": uar_lost(4)}, Plan.small())["lost"]
    assert lost.value == pytest.approx((0.5 + 1 + 1) / 3 - 0.25)


def test_nothing_to_measure_gives_no_figure(bench: Bench) -> None:
    """No warm utterance, say."""
    corpus, played = bench.corpus("emodb"), bench.played("emodb")[0]
    run = answers_of(corpus, played, np.zeros(len(played.clip), np.bool_))
    found = figures([run], {"UAR": UAR, "r": pearson_of(1), "unsure": UNSURE_SHARE}, bench.plan)
    assert {figure.value for figure in found.values()} == {None}
