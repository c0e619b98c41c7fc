"""Along which directions emotions differ: found about each speaker's own middle."""

from __future__ import annotations

import numpy as np
import pytest

from streamser.emotion.compact import statistics
from streamser.emotion.compact.encoders import VALUES
from streamser.emotion.compact.speaker_stats import DIRECTIONS, MEASURED, WIDTH, placed
from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES
from tests.tools.compact.tiny_voices import tiny_voices
from tools.compact.directions import fit_directions
from tools.compact.voices import Voices


def voices() -> Voices:
    """Return voices of which each category has numbers of its own among the layers'."""
    made = tiny_voices(speakers=8, width=MEASURED)
    values = made.values.copy()
    rng = np.random.default_rng(1)
    for name in set(made.speakers):
        own = np.array(made.speakers) == name
        # Each speaker and microphone far from all others.
        values[:, own] += 20 * rng.normal(size=MEASURED).astype(np.float32)
    for pool in range(len(CATEGORIES)):
        first = statistics.WIDTH + 100 * pool
        values[:, made.pools == pool, first : first + 30] += 2.0
    return made._replace(values=values)


def test_categories_lie_apart_along_them_whoever_speaks() -> None:
    """About each speaker's middle, more than one category spreads."""
    made = voices()
    directions = fit_directions(made)
    assert directions.shape == (DIRECTIONS, VALUES)
    along = made.placed(directions).of_channel(0)[:, MEASURED:]
    speakers = np.array(made.speakers)
    for name in set(made.speakers):
        own = along[(speakers == name) & (made.pools < len(CATEGORIES))]
        one = along[(speakers == name) & (made.pools == 1)]
        assert (own.std(axis=0) > 2 * one.std(axis=0)).all()


def test_no_speaker_moves_them() -> None:
    """What is added to all that one speaker said is no emotion."""
    made = voices()
    values = made.values.copy()
    values[:, np.array(made.speakers) == "tiny/speaker1"] += 5.0
    found = fit_directions(made._replace(values=values))
    np.testing.assert_allclose(found, fit_directions(made), atol=1e-3)


def test_speakers_without_all_categories_teach_nothing() -> None:
    """Of one mood nobody's middle is known; with nobody left there is nothing to find."""
    made = voices()
    calm = made._replace(pools=np.zeros_like(made.pools))
    with pytest.raises(ConfigError, match="no speaker"):
        fit_directions(calm)


def test_what_was_not_measured_lies_nowhere() -> None:
    """And all else keeps its bits."""
    measured = np.random.default_rng(0).normal(size=(2, MEASURED)).astype(np.float32)
    measured[1, statistics.WIDTH :] = np.nan
    found = placed(measured, np.ones((DIRECTIONS, VALUES), np.float32))
    assert found.shape == (2, WIDTH)
    np.testing.assert_array_equal(found[:, :MEASURED], measured)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1, MEASURED:]).all()
