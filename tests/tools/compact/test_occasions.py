from __future__ import annotations

import numpy as np
import pytest

from streamser.taxonomy import CATEGORIES
from tests.tools.compact.tiny_voices import tiny_texts, tiny_voices
from tools.compact.occasions import OccasionBatch, Occasions, OccasionSettings
from tools.compact.streams import Streams, StreamSettings
from tools.compact.voices import OTHER, fit_norm

VOICES, TEXTS = tiny_voices(), tiny_texts()
NEUTRAL = CATEGORIES.index("neutral")


def drawn(settings: OccasionSettings, seed: int = 0) -> OccasionBatch:
    """Draw one batch of small voices and texts."""
    rng = np.random.default_rng(seed)
    streams = Streams(VOICES, fit_norm(VOICES), StreamSettings(), rng)
    return Occasions(VOICES, streams, TEXTS, settings, rng).draw()


def test_a_batch_holds_voices_words_and_pairs() -> None:
    """As many of each as asked; pairs of other emotions stay without words."""
    batch = drawn(OccasionSettings(voices=12, words=8, pairs=18))
    assert batch.source.tolist() == [0] * 12 + [2] * 18 + [1] * 8
    assert batch.has_audio.tolist() == [True] * 30 + [False] * 8
    assert (batch.texts[:12] == -1).all()
    assert (batch.texts[30:] >= 0).all()
    pools = VOICES.pools[batch.voice.places[12:30]]
    np.testing.assert_array_equal(batch.texts[12:30] >= 0, pools != OTHER)


@pytest.mark.parametrize(
    ("agree", "plain_words", "plain_voice"), [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)]
)
def test_pairs_are_of_the_kinds_asked_for(
    agree: float, plain_words: float, plain_voice: float
) -> None:
    """Agreeing, neutral words, or conflicting; the target follows from the kind."""
    settings = OccasionSettings(
        voices=0, words=0, pairs=120, agree=agree, plain_words=plain_words, plain_voice=plain_voice
    )
    batch = drawn(settings)
    for row in np.flatnonzero(batch.texts >= 0):
        pool = int(VOICES.pools[batch.voice.places[row]])
        said = int(TEXTS.votes[batch.texts[row]].argmax())
        if pool == NEUTRAL:
            continue
        target = batch.categories[row]
        if agree:
            assert said == pool
        elif plain_words:
            assert said == NEUTRAL
        else:
            assert said not in (pool, NEUTRAL)
            assert sorted(target.tolist()) == [0.0, 0.0, 0.5, 0.5]
            continue
        assert target[pool] == 1.0


def test_emotional_words_in_a_neutral_voice_count_mostly() -> None:
    """Less than if the voice agreed."""
    settings = OccasionSettings(
        voices=0, words=0, pairs=300, agree=0.0, plain_words=0.0, plain_voice=1.0
    )
    batch = drawn(settings)
    rows = [
        row
        for row in np.flatnonzero(batch.texts >= 0)
        if VOICES.pools[batch.voice.places[row]] == NEUTRAL
    ]
    assert rows
    for row in rows:
        said = int(TEXTS.votes[batch.texts[row]].argmax())
        assert batch.categories[row, said] == pytest.approx(0.7)
        assert batch.categories[row, NEUTRAL] == pytest.approx(0.3)


def test_dimensions_of_pairs_lie_between_voice_and_words() -> None:
    """Valence half and half, arousal mostly the voice's."""
    batch = drawn(OccasionSettings(voices=0, words=0, pairs=60))
    for row in np.flatnonzero(batch.texts >= 0):
        voice = VOICES.dimensions[batch.voice.places[row]]
        words = TEXTS.dimensions[batch.texts[row]]
        expected = np.array([0.5, 0.8, 0.7]) * voice + np.array([0.5, 0.2, 0.3]) * words
        np.testing.assert_allclose(batch.dimensions[row], expected, rtol=1e-5)


def test_other_emotions_have_dimensions_and_no_category() -> None:
    """Fear and disgust teach what they can."""
    batch = drawn(OccasionSettings(voices=120, words=0, pairs=0))
    other = VOICES.pools[batch.voice.places] == OTHER
    assert other.any()
    assert not batch.categories[other].any()
    assert np.isfinite(batch.dimensions[other]).all()


def test_votes_can_take_the_place_of_labels() -> None:
    """Whose they are is a setting."""
    voices = VOICES._replace(votes=np.full_like(VOICES.votes, 0.25))
    rng = np.random.default_rng(0)
    streams = Streams(voices, fit_norm(voices), StreamSettings(), rng)
    half = OccasionSettings(voices=60, words=0, pairs=0, intended=0.5)
    batch = Occasions(voices, streams, TEXTS, half, rng).draw()
    named = batch.categories.sum(axis=1) > 0
    assert set(np.round(batch.categories[named].max(axis=1), 3)) == {0.625}
