"""Mood: smoothing that knows time, and a name that does not flicker."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.emotion.model import Reading
from streamser.emotion.mood import Mood, MoodState
from streamser.events import (
    EmotionBody,
    EmotionCompleted,
    Window,
    decode_event,
    encode_event,
)
from streamser.taxonomy import CATEGORIES, UNSURE, Dimensions

unit = st.floats(-1, 1)


def reading(confidence: float = 0.7, arousal: float | None = 0.0, **scores: float) -> Reading:
    """Return a reading; what its scores leave over goes to the other categories evenly."""
    rest = (1.0 - sum(scores.values())) / max(1, len(CATEGORIES) - len(scores))
    everyone = {name: scores.get(name, rest) for name in CATEGORIES}
    likeliest = max(everyone, key=everyone.__getitem__)
    return Reading(likeliest, confidence, everyone, Dimensions(arousal=arousal), 0.5, ("audio",))


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """Draw any reading."""
    raw = [draw(st.floats(0.001, 1.0)) for _ in CATEGORIES]
    scores = {name: x / sum(raw) for name, x in zip(CATEGORIES, raw, strict=True)}
    dimensions = Dimensions(*(draw(st.none() | unit) for _ in range(3)))
    return Reading("sad", draw(st.floats(0, 1)), scores, dimensions, 0.5, ("text",))


def body(what: Reading, end_ms: int) -> EmotionBody:
    """Return a reading as an event tells of it."""
    return EmotionBody(
        category=what.category,
        confidence=round(what.confidence, 4),
        scores={name: round(score, 4) for name, score in what.scores.items()},
        dimensions=what.dimensions,
        uncertainty=what.uncertainty,
        modalities=what.modalities,
        speaker=None,
        window=Window(start_ms=0, end_ms=end_ms),
        model="rules",
    )


timeline = st.lists(st.tuples(readings(), st.integers(0, 60_000), st.integers(0, 30_000)))


def hear(mood: Mood, *turns: tuple[Reading, float]) -> list[MoodState]:
    """Update with readings of so many seconds each, one after the other from 0."""
    states, now = [], 0
    for what, seconds in turns:
        now += round(seconds * 1000)
        states.append(mood.update(what, now, round(seconds * 1000)))
    return states


@given(timeline)
def test_a_mood_stays_in_its_ranges(
    turns: list[tuple[Reading, int, int]],
) -> None:
    """Scores sum to 1 and dimensions keep to [-1, 1], whatever comes at whatever time."""
    mood = Mood()
    for what, at_ms, duration_ms in turns:
        state = mood.update(what, at_ms, duration_ms)
        assert sum(state.scores.values()) == pytest.approx(1.0)
        assert all(0.0 <= score <= 1.0 for score in state.scores.values())
        assert state.category in (*CATEGORIES, UNSURE)
        assert 0.0 <= state.confidence <= 1.0
        for value in (state.dimensions.valence, state.dimensions.arousal):
            assert value is None or -1.0 <= value <= 1.0


@given(timeline)
def test_the_same_readings_give_the_same_mood(turns: list[tuple[Reading, int, int]]) -> None:
    """There is no clock and no chance in it."""
    first, second = Mood(), Mood()
    assert [first.update(*turn) for turn in turns] == [second.update(*turn) for turn in turns]


@given(timeline)
def test_a_mood_can_be_had_again_from_what_was_told(
    turns: list[tuple[Reading, int, int]],
) -> None:
    """Judgements read back from JSON give the same mood, to the last digit."""
    first, second = Mood(), Mood()
    for what, at_ms, duration_ms in turns:
        told = EmotionCompleted(
            event_id="e", session_id="s", seq=1, item_id="i", emotion=body(what, at_ms)
        )
        again = decode_event(encode_event(told))
        assert isinstance(again, EmotionCompleted)
        state = first.update(told.emotion, at_ms, duration_ms)
        assert second.update(again.emotion, at_ms, duration_ms) == state


@given(readings(), readings(), st.floats(0.1, 0.9), st.integers(1_000, 60_000))
def test_how_speech_was_cut_does_not_matter(
    before: Reading, now: Reading, part: float, duration_ms: int
) -> None:
    """Two readings alike of adjoining parts count as one of the whole."""
    whole, cut = Mood(), Mood()
    for mood in (whole, cut):
        mood.update(before, 5_000, 5_000)
    end, middle = 8_000 + duration_ms, 8_000 + round(part * duration_ms)
    one = whole.update(now, end, duration_ms)
    cut.update(now, middle, middle - 8_000)
    two = cut.update(now, end, end - middle)
    assert two.scores == pytest.approx(one.scores, abs=1e-9)
    if one.dimensions.arousal is not None:
        assert two.dimensions.arousal == pytest.approx(one.dimensions.arousal, abs=1e-9)


def test_constant_input_converges_at_the_time_constant() -> None:
    """After another mood, t seconds of a new one leave exp(-t / 30) of the old evidence."""
    mood = Mood(seconds=30.0)
    long_ago = hear(mood, (reading(happy=0.8, arousal=-0.5), 3_000.0))[-1]
    assert long_ago.dimensions.arousal == pytest.approx(-0.5)
    state = mood.update(reading(angry=0.8, arousal=0.5), 3_030_000, 30_000)
    assert state.dimensions.arousal == pytest.approx(0.5 - math.exp(-1.0), abs=1e-6)
    for k in range(20):
        state = mood.update(reading(angry=0.8, arousal=0.5), 3_060_000 + 30_000 * k, 30_000)
    assert state.scores["angry"] == pytest.approx(0.8, abs=1e-6)


def test_longer_and_surer_utterances_count_more() -> None:
    """A long sure reading outweighs a short unsure one of the same age."""
    short = hear(Mood(), (reading(arousal=0.0), 10.0), (reading(arousal=1.0), 1.0))[-1]
    long = hear(Mood(), (reading(arousal=0.0), 10.0), (reading(arousal=1.0), 5.0))[-1]
    doubtful = hear(Mood(), (reading(arousal=0.0), 10.0), (reading(0.3, arousal=1.0), 5.0))[-1]
    assert short.dimensions.arousal is not None
    assert long.dimensions.arousal is not None
    assert doubtful.dimensions.arousal is not None
    assert short.dimensions.arousal < doubtful.dimensions.arousal < long.dimensions.arousal


def test_silence_leaves_a_mood_but_makes_it_easier_to_change() -> None:
    """After a long pause a new reading weighs more than right after speech."""
    states = []
    for pause_ms in (0, 60_000):
        mood = Mood()
        mood.update(reading(arousal=0.0), 20_000, 20_000)
        states.append(mood.update(reading(arousal=1.0), 22_000 + pause_ms, 2_000))
    at_once, later = (state.dimensions.arousal for state in states)
    assert at_once is not None
    assert later is not None
    assert at_once < 0.2 < 0.4 < later


def test_an_unknown_dimension_leaves_the_smoothed_one() -> None:
    """Hours without a measured arousal do not change what was measured; never known stays None."""
    mood = Mood()
    mood.update(reading(arousal=0.4), 1_000, 1_000)
    for hour in range(1, 4):
        state = mood.update(reading(arousal=None), 3_600_000 * hour, 2_000)
        assert state.dimensions.arousal == 0.4
        assert state.dimensions.valence is None


def test_a_late_reading_counts_as_old_as_it_is() -> None:
    """Two readings give the same mood in either order of arrival."""
    early, late = (reading(happy=0.9, arousal=1.0), 2_000), (reading(sad=0.9, arousal=0.0), 60_000)
    moods = []
    for order in ((early, late), (late, early)):
        mood = Mood()
        for what, at_ms in order:
            state = mood.update(what, at_ms, 2_000)
        moods.append(state)
    assert moods[0].scores == pytest.approx(moods[1].scores)


def test_a_lasting_change_shifts_the_mood_once() -> None:
    """Sad, then angry: the first name is no shift, the second one is, with its predecessor."""
    turns = [(reading(sad=0.8), 5.0)] * 4 + [(reading(angry=0.8), 5.0)] * 12
    states = hear(Mood(), *turns)
    assert [state.category for state in states[:4]] == ["sad"] * 4
    assert states[-1].category == "angry"
    shifts = [state for state in states if state.shift]
    assert [(state.previous, state.category) for state in shifts] == [("sad", "angry")]


def test_small_alternation_does_not_flicker() -> None:
    """Readings that sway a little between two categories never shift the mood."""
    sway = [(reading(happy=0.45, angry=0.35), 4.0), (reading(happy=0.35, angry=0.45), 4.0)]
    states = hear(Mood(), (reading(happy=0.7), 10.0), *(sway * 30))
    assert {state.category for state in states} == {"happy"}
    assert not any(state.shift for state in states)


def test_large_quick_alternation_does_not_flicker_either() -> None:
    """Half-second outbursts of opposite emotions leave no row of shifts."""
    sway = [(reading(happy=0.9), 0.5), (reading(angry=0.9), 0.5)]
    states = hear(Mood(), (reading(happy=0.7), 30.0), *(sway * 40))
    assert sum(state.shift for state in states) <= 1


def test_two_equal_successors_are_unsure_not_guessed() -> None:
    """A raised voice without words ends a neutral mood without naming angry or happy."""
    states = hear(
        Mood(), (reading(neutral=0.7), 10.0), *[(reading(angry=0.44, happy=0.42), 5.0)] * 20
    )
    assert states[0].category == "neutral"
    assert states[-1].category == UNSURE
    assert not any(state.shift for state in states)


def test_flat_readings_have_no_mood() -> None:
    """Nothing that leads is nothing to name."""
    flat = reading(neutral=0.25)
    assert {state.category for state in hear(Mood(), *[(flat, 5.0)] * 10)} == {UNSURE}


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf])
def test_a_time_constant_must_be_positive(seconds: float) -> None:
    """Anything else has no meaning."""
    with pytest.raises(ValueError, match="positive"):
        Mood(seconds)


def test_a_category_without_a_score_was_not_heard() -> None:
    """Another program's recording may know others than ours."""
    some = Reading("sad", 0.9, {"sad": 0.8, "bored": 0.2}, Dimensions(), 0.5, ("audio",))
    state = Mood().update(some, 3000, 3000)
    assert state.scores == {**dict.fromkeys(CATEGORIES, 0.0), "sad": 0.8}
