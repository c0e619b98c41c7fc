from __future__ import annotations

import numpy as np
import pytest

from streamser.emotion.hub_models.labels import Places, place_dimensions, place_labels
from streamser.emotion.hub_models.registry import HUB_MODELS
from streamser.errors import ModelError
from streamser.taxonomy import CATEGORIES, Dimensions


def test_shares_of_one_category_add_up_and_others_are_outside() -> None:
    """Scores are shares of what is inside."""
    places = place_labels(
        HUB_MODELS["odyssey-wavlm-categorical"],
        ("Angry", "Sad", "Happy", "Surprise", "Fear", "Disgust", "Contempt", "Neutral"),
    )
    scores, outside = places.gather(np.array([0.1, 0.05, 0.2, 0.3, 0.1, 0.05, 0.05, 0.15]))
    assert dict(zip(CATEGORIES, scores, strict=True)) == pytest.approx(
        {"neutral": 0.3, "happy": 0.4, "sad": 0.1, "angry": 0.2}
    )
    assert outside == pytest.approx(0.5)


def test_of_independent_probabilities_the_highest_counts() -> None:
    """Joy and amusement together are no more than the surer of them."""
    ready = HUB_MODELS["samlowe-goemotions"]
    places = place_labels(ready, ready.labels)
    likely = np.full(28, 0.0)
    for name, value in {"joy": 0.6, "amusement": 0.5, "neutral": 0.2, "fear": 0.2}.items():
        likely[ready.labels.index(name)] = value
    scores, outside = places.gather(likely)
    assert scores == pytest.approx((0.25, 0.75, 0.0, 0.0))
    assert outside == pytest.approx(0.2)


def test_nothing_inside_leaves_even_scores() -> None:
    """Whether another emotion is likely or none at all."""
    places = Places((0, -1))
    assert places.gather(np.array([0.0, 1.0])) == ((0.25,) * 4, 1.0)
    assert places.gather(np.array([0.0, 0.0])) == ((0.25,) * 4, 0.0)


@pytest.mark.parametrize("name", ["sensevoice", "samlowe-goemotions"])
def test_a_label_that_no_alias_knows_is_refused_with_the_table(name: str) -> None:
    """Never mapped to something near."""
    with pytest.raises(ModelError, match="'bored'") as caught:
        place_labels(HUB_MODELS[name], ("bored",))
    line = str(caught.value)
    assert "neutral (neu, n, calm" in line
    assert "angry (ang, anger" in line
    assert "none of ours (fear" in line


def test_dimensions_are_brought_from_unit_to_ours_by_name() -> None:
    """And cut off where a linear head went beyond."""
    found = place_dimensions(("Arousal", "dominance", "valence"), (1.2, 0.25, -0.01))
    assert found == Dimensions(valence=-1.0, arousal=1.0, dominance=-0.5)
