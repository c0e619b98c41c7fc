"""The training-free emotion model: arousal from the voice, valence from the words.

It is explainable, needs no download, and is the floor that every trained model must beat.
Angry and happy are told apart by the words alone, so without a transcript the two come out
nearly equal, and the scores say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from streamser.emotion.baseline import Arousal, Baseline, features_of
from streamser.emotion.lexicon import Lexicon, Words
from streamser.emotion.model import DAMAGED_STATE, Prediction, Segment
from streamser.emotion.prosody import Prosody, measure
from streamser.emotion.prototypes import Measured, entropy, is_unsure, posterior
from streamser.errors import ModelError
from streamser.taxonomy import UNSURE, Dimensions

__all__ = ["LEAST_VOICED_SECONDS", "RulesFinding", "RulesModel", "RulesSpeaker"]

LEAST_VOICED_SECONDS = 0.3  # the median of fewer than 30 frames is a syllable's, not a voice's
_ENOUGH_SPEECH_SECONDS = 1.0  # below, scores are flattened in proportion
_ENOUGH_VOICED_SECONDS = 0.6  # what a second of speech usually has
# On EmoDB the squared rank correlation of the score with the arousal of the labels grows with
# the number n of utterances heard before about as (n + 1) / (n + 1 + .5).
_HALF_KNOWN = 0.5


class RulesFinding(msgspec.Struct, frozen=True):
    """Hold what was measured of one clip; ``words`` is ``None`` where there was no text."""

    prosody: Prosody
    words: Words | None


class RulesModel:
    """Measure prosody and words; see the module for what they are good for."""

    name = "rules"
    modalities: tuple[str, ...] = ("audio", "text")

    def __init__(self) -> None:
        self._lexicon = Lexicon()

    def extract(self, batch: Sequence[Segment]) -> list[RulesFinding]:
        """Measure a batch, each item by itself: samples float32 [n] at 16 kHz, n >= 0."""
        return [
            RulesFinding(measure(spoken.samples), self._lexicon.read(spoken.text))
            for spoken in batch
        ]

    def forget(self, session_id: str) -> None:
        """Forget nothing: there is no state."""

    def new_speaker(self) -> RulesSpeaker:
        """Return a listener that has heard nobody yet."""
        return RulesSpeaker()


class RulesSpeaker:
    """Judge a session's findings against what its speaker usually sounds like."""

    def __init__(self) -> None:
        self._baseline = Baseline()

    def predict(self, finding: RulesFinding) -> Prediction:
        """Judge a finding; ``dimensions`` are the proxies' own scores, each in [-1, 1].

        Valence is VADER's compound, arousal the fused percentile score relative to this
        speaker, dominance what the category probabilities let expect. Words without any that
        the lexicon knows have valence 0 and leave the scores alone.
        """
        features = features_of(finding.prosody) if _is_voiced(finding.prosody) else None
        arousal = self._baseline.score(features) if features is not None else None
        words = finding.words
        found = posterior(
            _reliable(arousal, finding.prosody, len(self._baseline)),
            _telling(words),
            _strength(finding.prosody),
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
            evidence=_evidence(finding, arousal, len(self._baseline)),
        )

    def adapt(self, finding: RulesFinding) -> None:
        """Take an utterance into the baseline, if enough of it was voiced."""
        features = features_of(finding.prosody)
        if features is not None and _is_voiced(finding.prosody):
            self._baseline = self._baseline.extended(features)

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


def _reliable(arousal: Arousal | None, prosody: Prosody, heard: int) -> Measured | None:
    if arousal is None:
        return None
    known = (heard + 1) / (heard + 1 + _HALF_KNOWN)
    voiced = min(1.0, prosody.voiced_seconds / _ENOUGH_VOICED_SECONDS)
    return Measured(arousal.score, known * voiced)


def _telling(words: Words | None) -> Measured | None:
    # Plain words have valence 0, but that is no measurement: in EmoBank they are rated like the
    # average sentence. Taken as one, it would decide between angry and happy.
    return Measured(words.valence) if words is not None and words.lexicon_words else None


def _strength(prosody: Prosody) -> float:
    # Text that came without any sound is not a short clip: nothing speaks against it.
    if prosody.duration == 0.0:
        return 1.0
    return min(1.0, prosody.speech_seconds / _ENOUGH_SPEECH_SECONDS)


def _evidence(finding: RulesFinding, arousal: Arousal | None, heard: int) -> dict[str, float]:
    prosody, words = finding.prosody, finding.words
    evidence: dict[str, float] = {
        "voiced_seconds": prosody.voiced_seconds,
        "speech_seconds": prosody.speech_seconds,
        "baseline_utterances": float(heard),
    }
    features = features_of(prosody)
    if features is not None:
        evidence["f0_median_hz"] = math.exp(features[0])
        evidence["intensity_db"] = features[1]
        evidence["hf500_db"] = features[2]
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
