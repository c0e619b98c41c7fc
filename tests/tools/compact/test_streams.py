from __future__ import annotations

import numpy as np
import pytest

from streamser.emotion.compact.speaker_stats import LIMIT, WIDTH, Norm, SpeakerStats
from streamser.emotion.compact.statistics import Measured
from tests.tools.compact.tiny_voices import tiny_voices
from tools.compact.streams import (
    Streams,
    StreamSettings,
    heard_before,
    judged_against,
)
from tools.compact.voices import OTHER, Voices, corpus_means

NORM = Norm(
    mean=np.zeros(WIDTH),
    variance=np.ones(WIDTH),
    centre=np.full(WIDTH, 0.5),
    spread=np.full(WIDTH, 2.0),
)


@pytest.fixture(scope="module")
def voices() -> Voices:
    """Three speakers, two channels."""
    return tiny_voices()


def test_what_was_heard_before_is_what_the_live_listener_learns(voices: Voices) -> None:
    """Training and the microphone see the same numbers."""
    values = voices.of_channel(0)[:7]
    live = SpeakerStats()
    for row in values:
        live = live.extended(Measured(row, 2.0), NORM)
    drawn = heard_before(values, NORM)
    np.testing.assert_allclose(drawn.mean(NORM), live.mean(NORM), rtol=1e-6)
    np.testing.assert_allclose(drawn.deviation(NORM), live.deviation(NORM), rtol=1e-6)
    batch = judged_against(values, drawn, NORM, np.arange(7))
    np.testing.assert_allclose(batch.views.relative[2], live.views(values[2], NORM).relative)
    assert batch.known[0, 0] == pytest.approx(live.known)


def test_streams_follow_from_their_seed(voices: Voices) -> None:
    """And hold utterances of their speaker, none beyond the limit."""
    settings = StreamSettings()
    first, again = (
        Streams(voices, NORM, settings, np.random.default_rng(5)).draw(6, 4) for _ in range(2)
    )
    np.testing.assert_array_equal(first.places, again.places)
    np.testing.assert_array_equal(first.views.relative, again.views.relative)
    for start in range(0, 24, 4):
        assert len({voices.speakers[place] for place in first.places[start : start + 4]}) == 1
    assert np.abs(first.views.relative).max() <= LIMIT


def test_streams_of_one_emotion_are_judged_on_that_emotion(voices: Voices) -> None:
    """A balanced judgement would teach that a lasting anger does not exist."""
    single = StreamSettings(even=0.0, neutral=0.0, any=0.0)
    streams = Streams(voices, NORM, single, np.random.default_rng(0))
    for _ in range(10):
        pools = voices.pools[streams.draw(1, 12).places]
        most = np.bincount(pools, minlength=OTHER + 1).max()
        assert most >= 8


def test_even_streams_have_all_emotions(voices: Voices) -> None:
    """As acted corpora have."""
    even = StreamSettings(even=1.0, neutral=0.0, any=0.0)
    batch = Streams(voices, NORM, even, np.random.default_rng(0)).draw(40, 6)
    shares = np.bincount(voices.pools[batch.places], minlength=OTHER + 1) / 240
    assert shares[:OTHER].min() > 0.08
    assert shares[OTHER] > 0.2


def test_streams_come_over_microphones_that_nobody_has(voices: Voices) -> None:
    """All of a stream of one mood is moved alike: what it is relative to moves with it."""
    single = StreamSettings(even=0.0, neutral=0.0, any=0.0, move=4.0)
    still, moved = (
        Streams(voices, NORM, single._replace(moved=share), np.random.default_rng(3)).draw(30, 4)
        for share in (0.0, 1.0)
    )
    known = moved.known[:, 0] > 0.9
    assert known.any()
    assert np.abs(moved.views.context[known]).mean() > 1.5 * np.abs(still.views.context).mean()
    relative = np.abs(moved.views.relative[known]).mean()
    assert relative < 1.3 * np.abs(still.views.relative[still.known[:, 0] > 0.9]).mean()


def test_an_unknown_stream_is_set_against_some_mixture_of_the_corpora() -> None:
    """Never against one prior alone: on a new microphone none will be right."""
    one, other = tiny_voices(seed=0), tiny_voices(seed=1)
    both = Voices(
        values=np.concatenate([one.values, other.values + 6.0], axis=1),
        pools=np.concatenate([one.pools, other.pools]),
        votes=np.concatenate([one.votes, other.votes]),
        dimensions=np.concatenate([one.dimensions, other.dimensions]),
        speakers=(*one.speakers, *(name.replace("tiny", "far") for name in other.speakers)),
        ids=(*one.ids, *other.ids),
    )
    far, near = corpus_means(both).mean(axis=1)
    assert far == pytest.approx(near + 6.0, abs=0.1)
    settings = StreamSettings(moved=0.0, plain=1.0)
    batch = Streams(both, NORM, settings, np.random.default_rng(0)).draw(200, 4)
    priors = batch.views.context[batch.known[:, 0] == 0.0].mean(axis=1)
    assert priors.min() < 0.5 < 2.0 < priors.max()
    assert ((priors > 0.8) & (priors < 1.8)).any()


def test_silence_has_no_place(voices: Voices) -> None:
    """Rows without a voice are zeros, and told apart."""
    batch = Streams(voices, NORM, StreamSettings(), np.random.default_rng(0)).draw(1, 4)
    longer = batch.with_silence(3)
    assert longer.places.tolist() == [*batch.places.tolist(), -1, -1, -1]
    assert not longer.views.relative[4:].any()
    np.testing.assert_array_equal(longer.select(np.arange(4)).known, batch.known)
