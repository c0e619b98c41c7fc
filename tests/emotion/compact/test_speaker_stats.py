from __future__ import annotations

import numpy as np
import pytest

from streamser.emotion.compact.speaker_stats import (
    LIMIT,
    MEMORY,
    PRIOR,
    WIDTH,
    Norm,
    SpeakerStats,
    read_stats,
)
from streamser.emotion.compact.statistics import Measured
from streamser.errors import ModelError

NORM = Norm(
    mean=np.linspace(-5.0, 5.0, WIDTH),
    variance=np.full(WIDTH, 4.0),
    centre=np.zeros(WIDTH),
    spread=np.full(WIDTH, 3.0),
)


def utterance(value: float, seconds: float = 2.0) -> Measured:
    """Return an utterance all of whose statistics have one value."""
    return Measured(np.full(WIDTH, value, np.float32), seconds)


def after(*utterances: Measured) -> SpeakerStats:
    """Return what is usual after some utterances."""
    usual = SpeakerStats()
    for each in utterances:
        usual = usual.extended(each, NORM)
    return usual


def test_at_first_the_prior_is_what_is_usual() -> None:
    """Somebody must be compared with something."""
    np.testing.assert_allclose(SpeakerStats().mean(NORM), NORM.mean)
    np.testing.assert_allclose(SpeakerStats().deviation(NORM), 2.0)
    assert SpeakerStats().known == 0.0


def test_the_streams_own_past_takes_over_but_never_wholly() -> None:
    """After n utterances the prior counts 3 / (n + 3), and 3 / 53 for ever."""
    usual = after(*[utterance(10.0)] * 3)
    np.testing.assert_allclose(usual.mean(NORM), (NORM.mean + 10.0) / 2)
    usual = after(*[utterance(10.0)] * 400)
    assert usual.weight == pytest.approx(MEMORY)
    share = PRIOR / (PRIOR + MEMORY)
    np.testing.assert_allclose(usual.mean(NORM), share * NORM.mean + (1 - share) * 10.0)


def test_what_was_long_ago_fades() -> None:
    """A new speaker at the same microphone becomes the usual one."""
    usual = after(*[utterance(-20.0)] * 60, *[utterance(10.0)] * 150)
    far = abs(usual.mean(NORM)[WIDTH // 2] - 10.0)
    assert far < 2.5


def test_the_deviation_is_that_of_prior_and_past_together() -> None:
    """The variance of a mixture, by its definition."""
    drawn = np.random.default_rng(0).normal(2.0, 1.5, 20)
    usual = after(*(utterance(value) for value in drawn))
    mean = (drawn.sum() + PRIOR * NORM.mean) / 23
    second = ((drawn**2).sum() + PRIOR * (4.0 + NORM.mean**2)) / 23
    expected = np.sqrt(np.maximum(second - mean**2, 0.4))
    np.testing.assert_allclose(usual.deviation(NORM), expected, rtol=1e-5)


def test_a_monotonous_stream_keeps_some_deviation() -> None:
    """Else the least change would look like an outburst."""
    usual = after(*[utterance(0.0)] * 200)
    assert usual.deviation(NORM).min() >= np.sqrt(0.1 * 4.0) - 1e-9


def test_how_far_a_stream_spreads_is_told_whatever_its_microphone() -> None:
    """All of it may lie far from what is usual: that is no spread."""
    rng = np.random.default_rng(0)
    near, far = SpeakerStats(), SpeakerStats()
    for _ in range(10):
        values = rng.normal(0.0, 0.5, WIDTH).astype(np.float32)
        near = near.extended(Measured(values, 2.0), NORM)
        far = far.extended(Measured(values + np.float32(5.0), 2.0), NORM)
    assert np.allclose(near.against(NORM).variety, far.against(NORM).variety, atol=1e-3)
    assert (far.against(NORM).variety < -0.3).all()


def test_short_utterances_teach_in_proportion_and_silence_nothing() -> None:
    """A second of speech counts fully."""
    assert after(utterance(1.0, 0.25)).weight == pytest.approx(0.25)
    assert after(utterance(1.0, 7.0)).weight == 1.0
    nothing = Measured(np.full(WIDTH, np.nan, np.float32), 0.0)
    assert after(nothing).weight == 0.0


def test_what_could_not_be_measured_counts_as_usual() -> None:
    """In the views, and in what is learnt."""
    usual = after(utterance(3.0), utterance(4.0))
    values = np.full(WIDTH, np.nan, np.float32)
    views = usual.views(values, NORM)
    assert not views.relative.any()
    before = usual.mean(NORM)
    np.testing.assert_allclose(usual.extended(Measured(values, 1.0), NORM).mean(NORM), before)


def test_views_are_relative_absolute_and_context() -> None:
    """Each by its definition, none beyond the limit."""
    usual = after(utterance(2.0))
    views = usual.views(np.full(WIDTH, 100.0, np.float32), NORM)
    assert views.relative.max() == LIMIT
    assert views.absolute.max() == LIMIT
    np.testing.assert_allclose(views.context, usual.mean(NORM) / 3.0, rtol=1e-6)


def test_a_state_survives_being_written_down() -> None:
    """Seventeen kilobytes, and the same readings."""
    usual = after(utterance(2.0), utterance(-1.0, 0.5))
    state = usual.to_bytes()
    assert len(state) < 18_000
    again = read_stats(state)
    np.testing.assert_allclose(again.mean(NORM), usual.mean(NORM), rtol=1e-6)
    np.testing.assert_allclose(again.deviation(NORM), usual.deviation(NORM), rtol=1e-4)


@pytest.mark.parametrize("state", [b"", b"abc", b"\0" * 4, b"\xff" * (4 * (2 * WIDTH + 1))])
def test_anything_else_is_refused(state: bytes) -> None:
    """With one line that says what to do."""
    with pytest.raises(ModelError, match="damaged"):
        read_stats(state)
