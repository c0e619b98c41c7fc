"""An evaluation says of planted answers what was planted."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from streamser.emotion.calibration import Calibration, MonotoneMap
from streamser.training.evaluation.metrics import UAR
from streamser.training.evaluation.predictions import Predictions
from streamser.training.evaluation.scores import GroupedScores, figures, judge, score
from streamser.training.validation import fit_calibration
from tests.training.planted import table, voices


def test_everything_is_measured() -> None:
    """Categories, probabilities and dimensions of planted answers, each with its interval."""
    made = voices(0)
    result = score([judge(made)])
    found = figures(result.overall)
    assert set(found) == {"UAR", "WAR", "macro-F1", "CCC valence", "CCC arousal"}
    for each in found.values():
        assert each.value is not None
        assert each.low is not None
        assert each.high is not None
        assert each.low < each.value < each.high
    assert (result.overall.items, result.overall.speakers) == (400, 20)
    assert result.overall.classes is not None
    assert np.sum(result.overall.classes.confusion) == 400
    right = np.trace(np.array(result.overall.classes.confusion)) / 400
    assert result.overall.classes.war.value == pytest.approx(right)


def test_calibrated_figures_stand_beside_the_raw_ones() -> None:
    """A fitted calibration lowers NLL and ECE, and leaves recall as it is."""
    bold = voices(0, speakers=40)
    bold = replace(bold, logits=4 * bold.logits)
    fresh = voices(1, speakers=40)
    fresh = replace(fresh, logits=4 * fresh.logits)
    calibrated = score([judge(fresh, fit_calibration(bold))]).overall.classes
    plain = score([judge(fresh)]).overall.classes
    assert calibrated is not None
    assert plain is not None
    assert plain.raw == plain.calibrated == calibrated.raw
    assert (calibrated.calibrated.nll.value or 9) < (calibrated.raw.nll.value or 0) - 0.2
    assert (calibrated.calibrated.ece.value or 9) < (calibrated.raw.ece.value or 0) / 2
    assert calibrated.uar == plain.uar
    assert plain.coverage.value == 1.0
    assert plain.precision.value == plain.war.value
    assert (calibrated.coverage.value or 1) < 1
    assert (calibrated.precision.value or 0) > (plain.war.value or 1)


def test_a_mapped_dimension_is_measured_both_ways() -> None:
    """The map changes the mapped figures of its dimension alone."""
    made = voices(0)
    halved = replace(made, dimensions=made.dimensions * 0.5)
    doubling = Calibration(maps={"valence": MonotoneMap(x=(0.0, 0.5), y=(0.0, 1.0))})
    found = score([judge(halved, doubling)]).overall.dimensions
    straight = score([judge(made)]).overall.dimensions
    assert found["valence"].mapped_ccc.value == pytest.approx(straight["valence"].ccc.value)
    assert (found["valence"].ccc.value or 1) < 0.7 * (found["valence"].mapped_ccc.value or 0)
    assert found["arousal"].mapped_ccc == found["arousal"].ccc


def two_corpora() -> Predictions:
    """Return a corpus that is answered well and one that is not, with a speaker name in both."""
    good = voices(0, speakers=6, clearness=4.0)
    poor = voices(1, speakers=6, clearness=0.0)
    poor = replace(
        poor, corpora=("poor",) * len(poor), ids=tuple(f"p{i}" for i in range(len(poor)))
    )
    return Predictions.join([good, poor])


def test_corpora_and_speakers_are_told_apart() -> None:
    """Each corpus and each of its speakers has figures; equal names are two people."""
    result = score([judge(two_corpora())])
    assert result.overall.speakers == 12
    assert set(result.corpora) == {"made", "poor"}
    assert len(result.speakers) == 12
    good, poor = (figures(result.corpora[name])["WAR"].value or 0 for name in ("made", "poor"))
    assert good > 0.9
    assert poor < 0.4
    assert figures(result.overall)["WAR"].value == pytest.approx((good + poor) / 2)
    ours = [figures(result.speakers[f"made/s{i}"])["WAR"].value or 0 for i in range(6)]
    assert np.mean(ours) == pytest.approx(good)


def test_a_speaker_has_figures_but_no_interval() -> None:
    """One speaker says nothing of the spread between speakers."""
    for scores in score([judge(voices(0))]).speakers.values():
        for each in figures(scores).values():
            assert (each.low, each.high) == (None, None)


def test_folds_are_pooled_and_averaged() -> None:
    """Pooled figures are over all items; mean and deviation are over the folds, and differ."""
    made = two_corpora()
    folds = [made.select(np.array(made.corpora) == name) for name in ("made", "poor")]
    result = score([judge(fold) for fold in folds], replicates=0)
    values = [figures(score([judge(fold)], replicates=0).overall) for fold in folds]
    for name, spread in result.folds.items():
        each = [value[name].value for value in values]
        assert spread.mean == pytest.approx(np.mean(np.array(each, dtype=float)))
        assert spread.sd == pytest.approx(np.std(np.array(each, dtype=float), ddof=1))
        assert spread.folds == 2
    assert figures(result.overall) == figures(score([judge(made)], replicates=0).overall)


def test_each_fold_has_its_own_calibration() -> None:
    """Thresholds and temperatures of one fold do not touch another's answers."""
    made = voices(0)
    folds = [made.select(np.arange(200)), made.select(np.arange(200, 400))]
    strict = Calibration(unsure_below=2.0)
    result = score([judge(folds[0], strict), judge(folds[1])], replicates=0)
    assert result.overall.classes is not None
    assert result.overall.classes.coverage.value == pytest.approx(0.5)


def test_what_has_no_labels_has_no_figures() -> None:
    """Unlabelled answers are counted and not judged; rated ones without votes in part."""
    bare = table(np.zeros((6, 4)), [-1] * 6)
    result = score([judge(bare)])
    assert result.overall.classes is None
    assert result.overall.dimensions == {}
    made = voices(0)
    rated = replace(made, votes=np.full_like(made.votes, np.nan))
    assert set(figures(score([judge(rated)]).overall)) == {"CCC valence", "CCC arousal"}


def test_single_task_models_are_measured_in_what_they_answer() -> None:
    """Without a classifier there are no classes; without a regressor no dimensions."""
    made = voices(0)
    none = np.empty((len(made), 0))
    ratings = replace(made, categories=(), logits=none, votes=none)
    assert set(figures(score([judge(ratings)]).overall)) == {"CCC valence", "CCC arousal"}
    classes = replace(made, names=(), dimensions=none, truth=none)
    assert set(figures(score([judge(classes)]).overall)) == {"UAR", "WAR", "macro-F1"}


def test_sentences_by_nobody_are_not_listed_as_speakers() -> None:
    """Without speakers there is no table of speakers, but an interval over items."""
    made = voices(0)
    result = score([judge(replace(made, speakers=("",) * 400))])
    assert result.speakers == {}
    assert result.overall.speakers == 400
    alone = replace(made, speakers=tuple(f"reader{i}" for i in range(400)))
    assert score([judge(alone)], replicates=0).speakers == {}
    assert result.overall.classes is not None
    assert result.overall.classes.uar.low is not None


def test_a_result_goes_through_json() -> None:
    """What is written can be read again, undefined figures too."""
    made = voices(0)
    few = replace(made, truth=np.full_like(made.truth, np.nan))
    result = score([judge(few), judge(replace(few, ids=tuple(f"x{i}" for i in range(400))))])
    assert msgspec.json.decode(msgspec.json.encode(result), type=GroupedScores) == result


def test_measured_by_hand() -> None:
    """Three of four right, in a table small enough to count."""
    made = table(5 * np.eye(4)[[0, 1, 2, 2]], [0, 1, 2, 3])
    classes = score([judge(made)], replicates=0).overall.classes
    assert classes is not None
    assert classes.confusion == ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 1, 0))
    assert classes.uar.value == pytest.approx(0.75)
    assert classes.macro_f1.value == pytest.approx((1 + 1 + 2 / 3 + 0) / 4)
    assert UAR.value(UAR.parts(made).sum(axis=0)) == pytest.approx(0.75)
