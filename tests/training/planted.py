"""Answers made up by a rule that is known, so that what is measured of them is known too."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamser.training.evaluation.predictions import Predictions

__all__ = ["table", "voices"]

CATEGORIES = ("neutral", "happy", "sad", "angry")
NAMES = ("valence", "arousal")


def table(
    logits: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    dimensions: npt.ArrayLike | None = None,
    truth: npt.ArrayLike | None = None,
    speakers: tuple[str, ...] | None = None,
    corpora: tuple[str, ...] | None = None,
) -> Predictions:
    """Return predictions of logits [N, 4] and labels [N] (-1: none), dimensions if given."""
    scores = np.asarray(logits, dtype=np.float64)
    true = np.asarray(labels, dtype=np.int64)
    votes = np.full(scores.shape, math.nan)
    votes[true >= 0] = np.eye(scores.shape[1])[true[true >= 0]]
    count = len(scores)
    none = np.full((count, 2), math.nan)
    return Predictions(
        categories=CATEGORIES[: scores.shape[1]],
        names=NAMES,
        ids=tuple(f"u{i}" for i in range(count)),
        speakers=speakers or tuple(f"s{i % 10}" for i in range(count)),
        corpora=corpora or ("made",) * count,
        logits=scores,
        dimensions=np.full((count, 2), 0.5) if dimensions is None else np.asarray(dimensions),
        votes=votes,
        truth=none if truth is None else np.asarray(truth),
    )


def voices(
    seed: int, *, speakers: int = 20, each: int = 20, clearness: float = 1.5, spread: float = 0.5
) -> Predictions:
    """Draw speakers, some easier to read than others, and ``each`` utterances of them.

    ``clearness`` is how much the logit of the truth stands out, ``spread`` by how much that
    differs between speakers. Ratings follow the category; answers follow ratings, with noise.
    """
    rng = np.random.default_rng(seed)
    count = speakers * each
    who = np.repeat(np.arange(speakers), each)
    labels = rng.integers(4, size=count)
    ease = clearness + spread * rng.normal(size=speakers)[who]
    logits = rng.normal(size=(count, 4)) + ease[:, None] * np.eye(4)[labels]
    middle = np.array([[0.5, 0.4], [0.8, 0.7], [0.3, 0.3], [0.2, 0.8]])[labels]
    truth = np.clip(middle + rng.normal(scale=0.08, size=(count, 2)), 0, 1)
    given = np.clip(truth + rng.normal(scale=0.12, size=(count, 2)), 0, 1)
    return table(
        logits,
        labels,
        dimensions=given,
        truth=truth,
        speakers=tuple(f"s{i}" for i in who),
    )
