from __future__ import annotations

import math

import numpy as np
import pytest

from streamser.emotion.hub_models.labels import HubPart
from streamser.emotion.hub_models.model import join
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions

VOICE = HubPart(modality="audio", scores=(0.1, 0.2, 0.1, 0.6))
WORDS = HubPart(modality="text", scores=(0.05, 0.85, 0.05, 0.05))
FLAT = HubPart(modality="text", scores=(0.25,) * 4)


def test_one_model_is_heard_as_it_is() -> None:
    """Nothing is added."""
    joined = join([VOICE])
    assert list(joined.scores.values()) == pytest.approx([0.1, 0.2, 0.1, 0.6])
    assert joined.category == "angry"
    assert joined.weights == {"audio": 1.0}


def test_modalities_are_pooled_log_linearly_by_their_confidence() -> None:
    """Agrees with the formula, written out."""
    sure = [
        1 + sum(p * math.log(p) for p in part.scores or ()) / math.log(4) for part in (VOICE, WORDS)
    ]
    shares = [value / sum(sure) for value in sure]
    pooled = np.array(VOICE.scores) ** shares[0] * np.array(WORDS.scores) ** shares[1]
    joined = join([VOICE, WORDS])
    assert list(joined.scores.values()) == pytest.approx(list(pooled / pooled.sum()))
    assert joined.weights == pytest.approx({"audio": shares[0], "text": shares[1]})
    assert joined.category == "happy"


def test_a_flat_answer_does_not_count() -> None:
    """It has no confidence."""
    assert join([VOICE, FLAT]).scores == pytest.approx(join([VOICE]).scores)


def test_two_models_of_the_voice_do_not_outvote_one_of_the_words() -> None:
    """A modality has one voice, whatever hears it."""
    assert join([VOICE, VOICE, WORDS]).scores == pytest.approx(join([VOICE, WORDS]).scores)


def test_nobody_may_veto() -> None:
    """A zero is as sure as a model can be, not more."""
    never = HubPart(modality="text", scores=(1.0, 0.0, 0.0, 0.0))
    joined = join([never, HubPart(modality="audio", scores=(0.0, 0.0, 0.0, 1.0))])
    assert all(value > 0.0 for value in joined.scores.values())
    assert joined.scores["neutral"] == pytest.approx(joined.scores["angry"])


def test_what_holds_another_emotion_likelier_is_believed_less_and_named_by_nobody() -> None:
    """Fear is not made to sadness."""
    afraid = HubPart(modality="audio", scores=(0.0, 0.1, 0.8, 0.1), outside=0.9)
    joined = join([afraid])
    assert joined.category == UNSURE
    assert joined.outside == pytest.approx(0.9)
    both = join([afraid, WORDS])
    assert both.category == "happy"
    assert both.weights["audio"] < 0.15


def test_dimensions_are_means_of_the_modalities_means() -> None:
    """Each of those that have it."""
    joined = join(
        [
            HubPart(modality="audio", dimensions=Dimensions(valence=0.2, arousal=0.4)),
            HubPart(modality="audio", dimensions=Dimensions(valence=0.4)),
            HubPart(modality="text", dimensions=Dimensions(valence=-0.1)),
            WORDS,
        ]
    )
    assert joined.dimensions.valence == pytest.approx(0.1)
    assert joined.dimensions.arousal == pytest.approx(0.4)
    assert joined.dimensions.dominance is None
    assert joined.category == "happy"


@pytest.mark.parametrize(
    "parts", [[], [HubPart(modality="audio", dimensions=Dimensions(valence=0.5))]]
)
def test_without_categories_all_are_equally_likely(parts: list[HubPart]) -> None:
    """And unsure."""
    joined = join(parts)
    assert joined.category == UNSURE
    assert joined.scores == dict.fromkeys(CATEGORIES, 0.25)
    assert joined.weights == {}
    assert joined.outside == 0.0
