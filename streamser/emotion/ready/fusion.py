"""Late fusion: what several models say of one clip, joined into one judgement. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.emotion.prototypes import entropy
from streamser.emotion.ready.labels import Part
from streamser.taxonomy import CATEGORIES, DIMENSIONS, UNSURE, Dimensions

__all__ = ["Joined", "join"]

Floats = npt.NDArray[np.float64]

_MODALITIES: Final = ("audio", "text")
# No model is so sure that it may veto.
_LEAST: Final = 1e-4
# From here on a model holds it likelier that the emotion is none of ours.
_MOSTLY: Final = 0.5


class Joined(msgspec.Struct, frozen=True):
    """Hold a judgement: ``scores`` sum to 1; ``weights`` by modality sum to 1, or are none.

    ``outside`` in [0, 1] is the share of what was held likely that is none of ``CATEGORIES``.
    """

    category: str
    scores: dict[str, float]
    dimensions: Dimensions
    weights: dict[str, float]
    outside: float


class _Voice(msgspec.Struct, frozen=True):
    logs: tuple[float, ...]
    confidence: float
    outside: float


def join(parts: Sequence[Part]) -> Joined:
    """Join what models say into one judgement.

    Categories: the models of a modality are averaged in the logarithm (a geometric mean); the
    modalities are then pooled log-linearly, p_k ∝ Π_m p_mk^w_m (Genest & Zidek 1986, §3), where
    w_m is the modality's confidence over the sum of all, and a confidence is
    (1 - H(p_m) / log K) (1 - outside_m). So two models of the voice do not outvote one of the
    words, and a flat answer hardly counts. A dimension is the mean of the modalities' means: its
    models say nothing of how sure they are.

    The category is ``unsure`` without any part that knows categories, and where all modalities
    hold another emotion likelier than ours.
    """
    voices = {name: _voice(parts, name) for name in _MODALITIES}
    heard = {name: voice for name, voice in voices.items() if voice is not None}
    scores = dict.fromkeys(CATEGORIES, 1.0 / len(CATEGORIES))
    weights: dict[str, float] = {}
    if heard:
        sure = np.array([voice.confidence for voice in heard.values()])
        shares = sure / sure.sum() if sure.sum() > 0.0 else np.full(len(sure), 1.0 / len(sure))
        pooled = _probabilities(shares @ np.array([voice.logs for voice in heard.values()]))
        scores = dict(zip(CATEGORIES, pooled.tolist(), strict=True))
        weights = dict(zip(heard, shares.tolist(), strict=True))
    outside = sum(weights[name] * voice.outside for name, voice in heard.items())
    unsure = all(voice.outside > _MOSTLY for voice in heard.values())
    return Joined(
        category=UNSURE if unsure else max(scores, key=scores.__getitem__),
        scores=scores,
        dimensions=_dimensions(parts),
        weights=weights,
        outside=outside,
    )


def _voice(parts: Sequence[Part], modality: str) -> _Voice | None:
    """Average the models of a modality; ``None`` where none knows categories."""
    chosen = [part for part in parts if part.modality == modality and part.scores is not None]
    if not chosen:
        return None
    logs = np.log(np.maximum(np.array([part.scores for part in chosen], np.float64), _LEAST))
    likely = _probabilities(logs.mean(axis=0))
    outside = sum(part.outside for part in chosen) / len(chosen)
    sure = 1.0 - entropy(dict(zip(CATEGORIES, likely.tolist(), strict=True)))
    return _Voice(tuple(np.log(likely).tolist()), sure * (1.0 - outside), outside)


def _probabilities(logs: Floats) -> Floats:
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def _dimensions(parts: Sequence[Part]) -> Dimensions:
    found = {}
    for name in DIMENSIONS:
        means = []
        for modality in _MODALITIES:
            values = [
                value
                for part in parts
                if part.modality == modality
                and (value := getattr(part.dimensions, name)) is not None
            ]
            if values:
                means.append(sum(values) / len(values))
        if means:
            found[name] = sum(means) / len(means)
    return Dimensions(**found)
