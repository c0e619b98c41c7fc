"""Dimensions of the voice, against proxies: nobody has rated any of these voices."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from streamser.taxonomy import DIMENSIONS
from streamser.training.evaluation.metrics import ccc_of
from streamser.training.evaluation.predictions import Predictions
from tools.compact_report.bench import Bench
from tools.compact_report.clips import Corpus
from tools.compact_report.figures import answers_of, figures, pearson_of
from tools.compact_report.play import Played
from tools.compact_report.records import Cell, Section, Table

__all__ = ["dimension_proxies"]

_GOALS: Final = {"cold": (None, None, None), "warm": (0.66, 0.84, 0.72)}
_LEVELS: Final = {
    **dict.fromkeys(("anger", "happiness", "happy", "fear", "fearful"), 2),
    **dict.fromkeys(("neutral", "calm"), 1),
    **dict.fromkeys(("sadness", "sad", "boredom"), 0),
}
"""An ordering of labels by arousal, as in ``scripts/evaluate_rules.py``."""
_AROUSAL: Final = DIMENSIONS.index("arousal")


def dimension_proxies(bench: Bench) -> Section:
    """Measure valence, arousal and dominance of the voice."""
    cremad: list[tuple[Cell, ...]] = []
    corpus, played = bench.corpus("cremad"), bench.played("cremad")
    measures = {name: ccc_of(column) for column, name in enumerate(DIMENSIONS)}
    for time, goals in _GOALS.items():
        runs = [answers_of(corpus, each, getattr(each, time)) for each in played]
        found = figures(runs, measures, bench.plan)
        aimed = (found[name].aimed(goal) for name, goal in zip(DIMENSIONS, goals, strict=True))
        cremad.append((corpus.title, time, *aimed))
    ordered: list[tuple[Cell, ...]] = []
    for name in ("emodb", "ravdess"):
        corpus, played = bench.corpus(name), bench.played(name)
        for time in _GOALS:
            runs = [_ranked(corpus, each, getattr(each, time)) for each in played]
            found = figures(runs, {"arousal": pearson_of(_AROUSAL)}, bench.plan)
            ordered.append((corpus.title, time, found["arousal"]))
    return Section(
        title="Dimensions of the voice, against proxies",
        text="No freely licensed speech is rated for valence, arousal and dominance. The proxies "
        "of CREMA-D are its listeners' votes on the voice times published values of the emotion "
        "words times rated intensity: concordance (CCC) with those, all six emotions. For EmoDB "
        "and RAVDESS: Spearman's correlation of arousal with an ordering of the labels (anger, "
        "happiness, fear above neutral and calm, those above sadness and boredom; others left "
        "out; intervals keep the ranks of the whole). These are proxies, not ratings.",
        tables=(
            Table("CCC with CREMA-D's proxies", ("corpus", "heard", *DIMENSIONS), tuple(cremad)),
            Table("Spearman with the labels", ("corpus", "heard", "arousal"), tuple(ordered)),
        ),
    )


def _ranked(corpus: Corpus, played: Played, keep: npt.NDArray[np.bool_]) -> Predictions:
    """Return answers whose arousal and true arousal are ranks within [0, 1]."""
    found = answers_of(corpus, played, keep)
    emotions = [corpus.clips[place].emotion for place in played.clip[keep]]
    levels = np.array([_LEVELS.get(emotion, math.nan) for emotion in emotions], np.float64)
    given = found.dimensions[:, _AROUSAL]
    known = ~(np.isnan(levels) | np.isnan(given))
    truth, dimensions = found.truth.copy(), found.dimensions.copy()
    truth[:, _AROUSAL] = _ranks(levels, known)
    dimensions[:, _AROUSAL] = _ranks(given, known)
    return replace(found, truth=truth, dimensions=dimensions)


def _ranks(
    values: npt.NDArray[np.float64], known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Return mean ranks within [0, 1] of the known values, ``nan`` elsewhere."""
    ranks = np.full(len(values), math.nan)
    _, inverse, counts = np.unique(values[known], return_inverse=True, return_counts=True)
    ranks[known] = (np.cumsum(counts) - (counts - 1) / 2)[inverse] / max(1, int(known.sum()))
    return ranks
