"""Turn what was measured of valence and arousal into probabilities of the four categories.

Each category is a Gaussian in valence, arousal and dominance, with the published class means of
IEMOCAP. Valence and arousal are not observed but by proxies (a lexicon's compound, a voice's
percentile), so a category's likelihood is that of the *proxy*: with k = rho sd_proxy / sd_rated,

    proxy | category ~ N(mean + k (mu_category - mu), k^2 sd_category^2 + (1 - rho^2) sd_proxy^2)

which is the linear regression of the proxy on the rating it stands for, at their correlation
rho. A weak proxy (small rho) hardly moves the prior, and a dimension that was not measured is
left out of the product, which marginalises it: the posterior becomes honestly flat.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.taxonomy import CATEGORIES

__all__ = [
    "AROUSAL",
    "PRIOR",
    "VALENCE",
    "Measured",
    "Posterior",
    "Proxy",
    "entropy",
    "is_unsure",
    "posterior",
    "rated_arousal",
]

Array: TypeAlias = npt.NDArray[np.float64]

# Rated 1 to 5, in the order of CATEGORIES (neutral, happy, sad, angry).
_RATED_VALENCE: Final = (2.97, 3.95, 2.25, 1.91)
_RATED_AROUSAL: Final = (2.73, 3.41, 2.56, 3.64)
_RATED_DOMINANCE: Final = (2.83, 3.23, 2.83, 3.95)
# The deviations within a class are known as "about .5 to .8" only: the middle, for all.
_RATED_SD: Final = 0.65

# Neutral's share of IEMOCAP's 5,531 utterances (.31); the rest evenly, not by share: happy is
# frequent there only because excited was added to it, and without words nothing else tells it
# from angry.
PRIOR: Final = {"neutral": 0.31, "happy": 0.23, "sad": 0.23, "angry": 0.23}

# An answer is "unsure" from this normalised entropy on, or with less of a lead than this. The
# lead matters most: a raised voice alone makes angry and happy likely together, entropy .7.
_UNSURE_ENTROPY: Final = 0.9
_SURE_LEAD: Final = 0.15


class Proxy(msgspec.Struct, frozen=True):
    """Describe how a proxy relates to the rating of 1 to 5 that it stands for.

    ``rated`` are the categories' mean ratings; ``mean`` and ``sd`` the proxy's own;
    ``correlation`` joins the two. ``temperature`` divides the log likelihood.
    """

    rated: tuple[float, ...]
    mean: float
    sd: float
    correlation: float
    temperature: float


def rated_arousal(temperature: float) -> tuple[float, ...]:
    """Return the categories' mean rated arousal, angry and happy drawn together.

    A temperature is fitted on how calm differs from aroused; it must not blow up the small
    difference between the two aroused categories, which voices do not show reliably. So their
    distance is multiplied by the temperature that will divide it again.
    """
    neutral, happy, sad, angry = _RATED_AROUSAL
    middle, half = (happy + angry) / 2.0, (angry - happy) / 2.0 * temperature
    return neutral, middle - half, sad, middle + half


_VOICE_TEMPERATURE: Final = 0.4
# Correlation: the mean of Bone et al.'s four databases (Spearman .62, .77, .70, .65). A fused
# percentile score has mean 0 and a deviation of about .5. The temperature is the flatter of the
# two best in EmoDB streams of 70 % neutral utterances: log loss .973 at .3, .975 at .4, 1.066 at 1
# (scripts/evaluate_rules.py --fit).
AROUSAL: Final = Proxy(rated_arousal(_VOICE_TEMPERATURE), 0.0, 0.5, 0.69, _VOICE_TEMPERATURE)
# VADER against the valence of EmoBank's training sentences in which the lexicon knows a word:
# compound .15 +- .49, Pearson .57 (test split: .56). The temperature is again the flatter of the
# two best, in GoEmotions' dev split with classes weighted by PRIOR: log loss 1.109 at .5, 1.112
# at .6, 1.155 at 1.
VALENCE: Final = Proxy(_RATED_VALENCE, 0.15, 0.49, 0.57, 0.6)


class Measured(msgspec.Struct, frozen=True):
    """Hold a proxy's value; ``reliability`` in [0, 1] scales its squared correlation."""

    value: float
    reliability: float = 1.0


class Posterior(msgspec.Struct, frozen=True):
    """Hold a probability for every category, and the dominance in [-1, 1] they let expect.

    Dominance is not measured: it is its conditional expectation in the mixture of classes,
    given what was. ``None`` where nothing was measured at all.
    """

    scores: dict[str, float]
    dominance: float | None


def posterior(
    arousal: Measured | None, valence: Measured | None, strength: float = 1.0
) -> Posterior:
    """Weigh the categories by what was measured; ``strength`` in [0, 1] scales it all down.

    With nothing measured, or strength 0, the prior comes back.
    """
    prior = np.array([PRIOR[name] for name in CATEGORIES])
    logits = np.log(prior)
    for proxy, measured in ((AROUSAL, arousal), (VALENCE, valence)):
        if measured is not None:
            logits = logits + strength * _log_likelihood(proxy, measured, prior)
    weights = np.exp(logits - logits.max())
    weights /= weights.sum()
    scores = {name: float(weight) for name, weight in zip(CATEGORIES, weights, strict=True)}
    if arousal is None and valence is None:
        return Posterior(scores, None)
    return Posterior(scores, (float(weights @ np.array(_RATED_DOMINANCE)) - 3.0) / 2.0)


def entropy(scores: dict[str, float]) -> float:
    """Return the entropy of probabilities over that of a uniform choice, in [0, 1]."""
    total = -sum(p * math.log(p) for p in scores.values() if p > 0.0)
    return min(1.0, max(0.0, total / math.log(len(scores))))


def is_unsure(scores: dict[str, float]) -> bool:
    """Tell whether probabilities are too flat to name a category.

    They are at a normalised entropy of .9 and more, or where the likeliest category leads the
    next by less than .15.
    """
    first, second = sorted(scores.values(), reverse=True)[:2]
    return entropy(scores) >= _UNSURE_ENTROPY or first - second < _SURE_LEAD


def _log_likelihood(proxy: Proxy, measured: Measured, prior: Array) -> Array:
    """Return the log density [categories] of a proxy's value, up to a constant."""
    rated = np.array(proxy.rated)
    overall = float(prior @ rated)
    rated_sd = math.sqrt(float(prior @ (rated - overall) ** 2) + _RATED_SD**2)
    squared = proxy.correlation**2 * measured.reliability
    slope = math.sqrt(squared) * proxy.sd / rated_sd
    variance = (slope * _RATED_SD) ** 2 + (1.0 - squared) * proxy.sd**2
    expected = proxy.mean + slope * (rated - overall)
    return np.asarray(-0.5 * (measured.value - expected) ** 2 / variance / proxy.temperature)
