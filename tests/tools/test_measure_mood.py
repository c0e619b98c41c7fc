"""How soon a mood follows, counted; and that it does, in the conversation that comes along."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.emotion.compact.model import CompactModel, load_compact
from tests.data import shared_data
from tools.measure_mood import (
    Turn,
    acted,
    conversation,
    delays,
    flips,
    following,
    recordings,
    told_turns,
)
from tools.talk import ASSETS


@pytest.fixture(scope="module")
def model() -> CompactModel:
    """Load what ships."""
    return load_compact(ASSETS / "models" / "compact", "compact")


def turns(text: str) -> list[Turn]:
    """Make turns of ``meant read mood`` each, with commas between."""
    return [Turn(*each.split()) for each in text.split(",")]


def test_a_delay_is_the_turn_of_a_stretch_that_gave_the_mood_its_name() -> None:
    """By what was read, unsure turns left out, or by what was meant; short stretches are none."""
    told = turns(
        "sad sad sad, sad sad sad, sad sad sad,"
        "happy happy sad, happy unsure sad, happy happy happy, happy happy happy,"
        "angry angry happy, angry neutral happy, angry neutral happy, angry neutral happy"
    )
    assert delays(told) == [1, 2, None]
    assert delays(told, meant=True) == [1, 3, None]
    assert following(delays(told)) == "3 | 1 | 1 | 0 | 1"


def test_a_flip_is_a_name_that_a_single_turn_took_away() -> None:
    """Between two sure turns that were read as the mood is called."""
    kept = turns("sad sad sad, sad happy sad, sad unsure sad, sad sad sad")
    lost = turns("sad sad sad, sad happy happy, sad sad sad")
    assert flips(kept) == (1, 0)
    assert flips(lost) == (1, 1)


def test_in_the_bundled_conversation_the_mood_follows_what_is_read(model: CompactModel) -> None:
    """By the third turn at the latest, of everybody and of each speaker."""
    for _, said in conversation(model):
        found = delays(told_turns(model, said))
        assert all(number is not None and number <= 3 for number in found)


def test_the_bundled_conversation_grieves_and_makes_it_up(model: CompactModel) -> None:
    """After the sad turns its mood is sad, and after the happy ones of the end it is happy."""
    _, said = next(conversation(model))
    told = told_turns(model, said)
    last_sad = max(place for place, turn in enumerate(told) if turn.meant == "sad")
    assert told[last_sad].mood == "sad"
    assert told[-1].mood == "happy"


def test_in_streams_of_actors_the_mood_follows_what_is_read(model: CompactModel) -> None:
    """By the third turn at the latest, and no single turn takes a name away."""
    speakers = recordings(model, shared_data("emodb").parent)
    rng = np.random.default_rng(1)
    talks = [told_turns(model, said) for said in acted(speakers, rng, outlier=False)]
    broken = [told_turns(model, said) for said in acted(speakers, rng, outlier=True)]
    found = [each for told in talks for each in delays(told)]
    assert len(found) > 3 * len(speakers)
    assert all(number is not None and number <= 3 for number in found)
    outliers, changed = (sum(column) for column in zip(*map(flips, broken), strict=True))
    assert outliers > len(speakers)
    assert changed == 0
