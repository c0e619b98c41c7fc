"""The training-free emotion model: arousal from the voice, valence from the words.

It is explainable, needs no download, and is the floor that every trained model must beat. Angry
and happy are told apart by the words alone, so without a transcript the two come out nearly
equal, and the scores say so.

Words are judged by VADER's lexicon and rules. C. Hutto & E. Gilbert, "VADER: a parsimonious rule-
based model for sentiment analysis of social media text", ICWSM 2014. It was made for written
posts; a transcript has neither capitals nor exclamation marks to trust, and recognisers differ in
them, so both are removed first.

Each category is a Gaussian in valence, arousal and dominance, with the published class means of
IEMOCAP. Valence and arousal are not observed but by proxies (a lexicon's compound, a voice's
percentile), so a category's likelihood is that of the *proxy*: with k = rho sd_proxy / sd_rated,

    proxy | category ~ N(mean + k (mu_category - mu), k^2 sd_category^2 + (1 - rho^2) sd_proxy^2)

which is the linear regression of the proxy on the rating it stands for, at their correlation rho.
A weak proxy (small rho) hardly moves the prior, and a dimension that was not measured is left out
of the product, which marginalises it: the posterior becomes honestly flat.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.emotion.calibration import entropy
from streamser.emotion.model import DAMAGED_STATE, Prediction, Segment
from streamser.emotion.prosody import Arousal, Baseline, Prosody, features_of, measure
from streamser.errors import ModelError
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions

Array: TypeAlias = npt.NDArray[np.float64]

LEAST_VOICED_SECONDS = 0.3  # the median of fewer than 30 frames is a syllable's, not a voice's
_ENOUGH_SPEECH_SECONDS = 1.0  # below, scores are flattened in proportion
_ENOUGH_VOICED_SECONDS = 0.6  # what a second of speech usually has
# On EmoDB the squared rank correlation of the score with the arousal of the labels grows with
# the number n of utterances heard before about as (n + 1) / (n + 1 + .5).
_HALF_KNOWN = 0.5


class RulesFeatures(msgspec.Struct, frozen=True):
    """Hold what was measured of one clip; ``words`` is ``None`` where there was no text."""

    prosody: Prosody
    words: Sentiment | None


class RulesModel:
    """Measure prosody and words; see the module for what they are good for."""

    name = "rules"
    modalities: tuple[str, ...] = ("audio", "text")

    def __init__(self) -> None:
        self._lexicon = Lexicon()

    def extract(self, batch: Sequence[Segment]) -> list[RulesFeatures]:
        """Measure a batch, each item by itself: samples float32 [n] at 16 kHz, n >= 0."""
        return [
            RulesFeatures(measure(spoken.samples), self._lexicon.read(spoken.text))
            for spoken in batch
        ]

    def forget(self, session_id: str) -> None:
        """Forget nothing: there is no state."""

    def new_speaker(self) -> RulesSpeaker:
        """Return a speaker model that has heard nobody yet."""
        return RulesSpeaker()


class RulesSpeaker:
    """Judge a session's features against what its speaker usually sounds like."""

    def __init__(self) -> None:
        self._baseline = Baseline()

    def predict(self, features: RulesFeatures) -> Prediction:
        """Judge features; ``dimensions`` are the proxies' own scores, each in [-1, 1].

        Valence is VADER's compound, arousal the fused percentile score relative to this
        speaker, dominance what the category probabilities let expect. Words without any that
        the lexicon knows have valence 0 and leave the scores alone.
        """
        measured = features_of(features.prosody) if _is_voiced(features.prosody) else None
        arousal = self._baseline.score(measured) if measured is not None else None
        words = features.words
        found = posterior(
            _reliable(arousal, features.prosody, len(self._baseline)),
            _telling(words),
            _strength(features.prosody),
        )
        likeliest = max(found.scores, key=found.scores.__getitem__)
        return Prediction(
            category=UNSURE if is_unsure(found.scores) else likeliest,
            confidence=found.scores[likeliest],
            scores=found.scores,
            dimensions=Dimensions(
                valence=None if words is None else words.valence,
                arousal=None if arousal is None else arousal.score,
                dominance=found.dominance,
            ),
            uncertainty=entropy(found.scores),
            modalities=(("audio",) if arousal else ()) + (("text",) if words else ()),
            evidence=_evidence(features, arousal, len(self._baseline)),
        )

    def adapt(self, features: RulesFeatures) -> None:
        """Take an utterance into the baseline, if enough of it was voiced."""
        measured = features_of(features.prosody)
        if measured is not None and _is_voiced(features.prosody):
            self._baseline = self._baseline.extended(measured)

    def snapshot(self) -> bytes:
        """Return the baseline as JSON, 3 kB at most."""
        return msgspec.json.encode(self._baseline)

    def restore(self, state: bytes) -> None:
        """Go on with a baseline; raises ``ModelError`` for bytes that are none."""
        try:
            self._baseline = msgspec.json.decode(state, type=Baseline)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ModelError(DAMAGED_STATE) from None

    def reset(self) -> None:
        """Forget the speaker."""
        self._baseline = Baseline()


def _is_voiced(prosody: Prosody) -> bool:
    return prosody.voiced_seconds >= LEAST_VOICED_SECONDS


def _reliable(arousal: Arousal | None, prosody: Prosody, heard: int) -> ProxyValue | None:
    if arousal is None:
        return None
    known = (heard + 1) / (heard + 1 + _HALF_KNOWN)
    voiced = min(1.0, prosody.voiced_seconds / _ENOUGH_VOICED_SECONDS)
    return ProxyValue(arousal.score, known * voiced)


def _telling(words: Sentiment | None) -> ProxyValue | None:
    # Plain words have valence 0, but that is no measurement: in EmoBank they are rated like the
    # average sentence. Taken as one, it would decide between angry and happy.
    return ProxyValue(words.valence) if words is not None and words.lexicon_words else None


def _strength(prosody: Prosody) -> float:
    # Text that came without any sound is not a short clip: nothing speaks against it.
    if prosody.duration == 0.0:
        return 1.0
    return min(1.0, prosody.speech_seconds / _ENOUGH_SPEECH_SECONDS)


def _evidence(features: RulesFeatures, arousal: Arousal | None, heard: int) -> dict[str, float]:
    prosody, words = features.prosody, features.words
    evidence: dict[str, float] = {
        "voiced_seconds": prosody.voiced_seconds,
        "speech_seconds": prosody.speech_seconds,
        "baseline_utterances": float(heard),
    }
    measured = features_of(prosody)
    if measured is not None:
        evidence["f0_median_hz"] = math.exp(measured[0])
        evidence["intensity_db"] = measured[1]
        evidence["hf500_db"] = measured[2]
    if arousal is not None:
        for name, score, weight in zip(
            ("f0", "intensity", "hf500"), arousal.feature_scores, arousal.weights, strict=True
        ):
            evidence[f"{name}_score"] = score
            evidence[f"{name}_weight"] = weight
    if words is not None:
        evidence["vader_compound"] = words.valence
        evidence["lexicon_words"] = float(words.lexicon_words)
    return {name: round(value, 3) for name, value in evidence.items()}


_APOSTROPHES: Final = str.maketrans({"’": "'", "‘": "'"})
_PUNCTUATION: Final = re.compile(r"[^\w\s']|_")


class Sentiment(msgspec.Struct, frozen=True):
    """Hold VADER's compound valence in [-1, 1] and how many words the lexicon knew.

    Without any such word ``valence`` is 0.0, which then means little: EmoBank's raters find
    such sentences, two in five, as pleasant as the average one.
    """

    valence: float
    lexicon_words: int


class Lexicon:
    """Read the valence of words; loads VADER's lexicon at the first text."""

    def __init__(self) -> None:
        self._analyzer: Any = None

    def read(self, text: str | None) -> Sentiment | None:
        """Judge a text in any casing, with or without punctuation; ``None`` without a word.

        Raises ``ModelError`` where the package vaderSentiment is missing.
        """
        plain = " ".join(_PUNCTUATION.sub(" ", (text or "").translate(_APOSTROPHES)).split())
        plain = plain.lower()
        if not any(character.isalnum() for character in plain):
            return None
        analyzer = self._load()
        compound = float(analyzer.polarity_scores(plain)["compound"])
        known = sum(word.strip("'") in analyzer.lexicon for word in plain.split())
        # Idioms ("hand to mouth") are judged without any word of theirs being listed.
        return Sentiment(compound, max(known, int(compound != 0.0)))

    def _load(self) -> Any:
        if self._analyzer is None:
            try:
                from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer
            except ImportError as error:
                raise ModelError(
                    "The emotion model 'rules' reads words with vaderSentiment, which is not "
                    "installed: pip install vaderSentiment"
                ) from error
            self._analyzer = SentimentIntensityAnalyzer()
        return self._analyzer


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


class ProxyValue(msgspec.Struct, frozen=True):
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
    arousal: ProxyValue | None, valence: ProxyValue | None, strength: float = 1.0
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


def is_unsure(scores: dict[str, float]) -> bool:
    """Tell whether probabilities are too flat to name a category.

    They are at a normalised entropy of .9 and more, or where the likeliest category leads the
    next by less than .15.
    """
    first, second = sorted(scores.values(), reverse=True)[:2]
    return entropy(scores) >= _UNSURE_ENTROPY or first - second < _SURE_LEAD


def _log_likelihood(proxy: Proxy, measured: ProxyValue, prior: Array) -> Array:
    """Return the log density [categories] of a proxy's value, up to a constant."""
    rated = np.array(proxy.rated)
    overall = float(prior @ rated)
    rated_sd = math.sqrt(float(prior @ (rated - overall) ** 2) + _RATED_SD**2)
    squared = proxy.correlation**2 * measured.reliability
    slope = math.sqrt(squared) * proxy.sd / rated_sd
    variance = (slope * _RATED_SD) ** 2 + (1.0 - squared) * proxy.sd**2
    expected = proxy.mean + slope * (rated - overall)
    return np.asarray(-0.5 * (measured.value - expected) ** 2 / variance / proxy.temperature)
