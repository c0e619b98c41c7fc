"""Mood: smoothing that knows turns and time, and a name that follows and does not flicker."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.emotion.model import Prediction
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


def reading(confidence: float = 0.7, arousal: float | None = 0.0, **scores: float) -> Prediction:
    """Return a reading; what its scores leave over goes to the other categories evenly.

    It is unsure where its likeliest category is below .45.
    """
    rest = (1.0 - sum(scores.values())) / max(1, len(CATEGORIES) - len(scores))
    everyone = {name: scores.get(name, rest) for name in CATEGORIES}
    likeliest = max(everyone, key=everyone.__getitem__)
    category = likeliest if everyone[likeliest] >= 0.45 else UNSURE
    return Prediction(category, confidence, everyone, Dimensions(arousal=arousal), 0.5, ("audio",))


@st.composite
def readings(draw: st.DrawFn) -> Prediction:
    """Draw any reading."""
    raw = [draw(st.floats(0.001, 1.0)) for _ in CATEGORIES]
    scores = {name: x / sum(raw) for name, x in zip(CATEGORIES, raw, strict=True)}
    dimensions = Dimensions(*(draw(st.none() | unit) for _ in range(3)))
    return Prediction("sad", draw(st.floats(0, 1)), scores, dimensions, 0.5, ("text",))


def body(what: Prediction, end_ms: int) -> EmotionBody:
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


def hear(mood: Mood, *turns: tuple[Prediction, float]) -> list[MoodState]:
    """Update with readings of so many seconds each, one after the other from 0."""
    states, now = [], 0
    for what, seconds in turns:
        now += round(seconds * 1000)
        states.append(mood.update(what, now, round(seconds * 1000)))
    return states


@given(timeline)
def test_a_mood_stays_in_its_ranges(
    turns: list[tuple[Prediction, int, int]],
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
def test_the_same_readings_give_the_same_mood(turns: list[tuple[Prediction, int, int]]) -> None:
    """There is no clock and no chance in it."""
    first, second = Mood(), Mood()
    assert [first.update(*turn) for turn in turns] == [second.update(*turn) for turn in turns]


@given(timeline)
def test_a_mood_can_be_had_again_from_what_was_told(
    turns: list[tuple[Prediction, int, int]],
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


def test_evidence_halves_every_one_and_a_half_turns() -> None:
    """In quick talk: one turn of another kind is .37 of the mood, three are three quarters."""
    turns = [(reading(angry=0.8, arousal=0.0), 4.0)] * 20 + [
        (reading(sad=0.8, arousal=1.0), 4.0)
    ] * 3
    after = [state.dimensions.arousal for state in hear(Mood(), *turns)[-3:]]
    assert after == pytest.approx([0.370, 0.603, 0.750], abs=1e-3)


def test_in_slow_talk_time_ages_evidence() -> None:
    """Turns a minute apart: what is a time constant old counts 1/e, whatever came after it."""
    mood = Mood(seconds=30.0)
    for k in range(10):
        mood.update(reading(arousal=0.0), 60_000 * k, 4_000)
    state = mood.update(reading(arousal=1.0), 60_000 * 10, 4_000)
    assert state.dimensions.arousal == pytest.approx(1.0 - math.exp(-2.0), abs=1e-3)


def test_longer_and_surer_utterances_count_more() -> None:
    """Half a second of voice less than five, and what is unsure less than what is sure."""
    short = hear(Mood(), (reading(arousal=0.0), 10.0), (reading(arousal=1.0), 0.3))[-1]
    long = hear(Mood(), (reading(arousal=0.0), 10.0), (reading(arousal=1.0), 5.0))[-1]
    doubtful = hear(Mood(), (reading(arousal=0.0), 10.0), (reading(0.4, arousal=1.0), 5.0))[-1]
    assert short.dimensions.arousal is not None
    assert long.dimensions.arousal is not None
    assert doubtful.dimensions.arousal is not None
    assert short.dimensions.arousal < doubtful.dimensions.arousal < long.dimensions.arousal


def test_what_is_no_turn_changes_nothing() -> None:
    """Sound in which no voice can be heard has no confidence, and a click no length."""
    mood, nobody = Mood(), reading(0.0, neutral=0.25, arousal=1.0)
    before = mood.update(reading(sad=0.8, arousal=-0.4), 4_000, 4_000)
    for what, duration_ms in ((nobody, 4_000), (reading(angry=0.9), 0)):
        assert mood.update(what, 8_000, duration_ms) == before


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
    assert at_once < 0.6 < 0.8 < later


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
    assert {state.category for state in states[6:]} == {"angry"}
    shifts = [state for state in states if state.shift]
    assert [(state.previous, state.category) for state in shifts] == [("sad", "angry")]


lengths = st.floats(0.3, 20.0)
kinds = st.sampled_from(CATEGORIES)


def sure(category: str, score: float) -> Prediction:
    """Return a reading that names a category, as sure as a score of it."""
    return reading(score, **{category: score})


@given(
    st.lists(st.tuples(readings(), lengths), max_size=40),
    kinds,
    st.lists(st.tuples(st.floats(0.45, 1.0), lengths), min_size=3, max_size=3),
)
def test_after_three_turns_of_an_emotion_the_mood_has_its_name(
    before: list[tuple[Prediction, float]], emotion: str, after: list[tuple[float, float]]
) -> None:
    """Whatever was before, for however long, and however short or faint the three are."""
    states = hear(Mood(), *before, *((sure(emotion, score), length) for score, length in after))
    assert states[-1].category == emotion


def test_after_three_turns_the_scores_say_so_too() -> None:
    """Five minutes of sadness at .98 are outweighed by three happy turns at .6."""
    states = hear(Mood(), *[(sure("sad", 0.98), 6.0)] * 50, *[(sure("happy", 0.6), 3.0)] * 3)
    assert max(states[-1].scores, key=states[-1].scores.__getitem__) == "happy"
    assert states[-1].category == "happy"


@given(
    st.integers(2, 40),
    kinds,
    st.tuples(st.floats(0.45, 1.0), lengths),
    st.tuples(readings(), lengths),
)
def test_one_turn_of_another_kind_takes_no_name_away(
    count: int, emotion: str, usual: tuple[float, float], outcry: tuple[Prediction, float]
) -> None:
    """However sure and long it is, neutral and unsure ones included."""
    score, length = usual
    turn = (sure(emotion, score), length)
    states = hear(Mood(), *[turn] * count, outcry, turn)
    assert {state.category for state in states[1:]} == {emotion}


def test_an_unsure_turn_is_no_witness() -> None:
    """Between three turns of another emotion it does not delay the mood; alone it says nothing."""
    unsure = (reading(neutral=0.3), 3.0)
    sad, happy = (sure("sad", 0.8), 3.0), (sure("happy", 0.6), 3.0)
    assert hear(Mood(), *[sad] * 5, unsure, (sure("neutral", 0.9), 3.0))[-1].category == "sad"
    assert hear(Mood(), *[sad] * 5, happy, unsure, happy, unsure, happy)[-1].category == "happy"


def test_what_no_turn_surely_was_is_no_mood() -> None:
    """Unsure turns that lean to one emotion leave the mood unsure; one that is sure names it."""
    leaning = (reading(angry=0.4, neutral=0.1), 3.0)
    assert {state.category for state in hear(Mood(), *[leaning] * 4)} == {"unsure"}
    assert hear(Mood(), *[leaning] * 2, (sure("angry", 0.9), 3.0))[-1].category == "angry"


def test_a_mood_of_which_nothing_more_is_heard_ends_unsure() -> None:
    """A few unsure turns leave it, many do not."""
    states = hear(Mood(), *[(sure("sad", 0.8), 3.0)] * 5, *[(reading(neutral=0.3), 3.0)] * 20)
    assert states[6].category == "sad"
    assert states[-1].category == UNSURE


def test_calm_is_a_mood_as_any_other() -> None:
    """Three neutral turns end a quarrel, one does not."""
    calm = (sure("neutral", 0.7), 3.0)
    states = hear(Mood(), *[(sure("angry", 0.9), 3.0)] * 6, calm, calm, calm)
    assert states[6].category == "angry"
    assert states[-1].category == "neutral"


def test_a_long_stream_follows_every_change() -> None:
    """Two hundred stretches of five turns: each has named the mood by its third turn."""
    mood, now = Mood(), 0
    rng = np.random.default_rng(0)
    emotion, followed = "neutral", []
    for _ in range(200):
        emotion = str(rng.choice([name for name in CATEGORIES if name != emotion]))
        for place in range(5):
            now += int(rng.integers(1_000, 20_000))
            duration_ms = int(rng.integers(500, 8_000))
            state = mood.update(sure(emotion, float(rng.uniform(0.45, 1))), now, duration_ms)
            followed.append(state.category == emotion or place < 2)
    assert all(followed)
    assert len(mood._turns) < 20


def test_two_who_take_turns_have_no_flickering_mood() -> None:
    """One happy, one angry, by turns: everybody's mood shifts at most once."""
    turns = [(sure("happy", 0.8), 3.0), (sure("angry", 0.9), 4.0)] * 40
    assert sum(state.shift for state in hear(Mood(), *turns)) <= 1


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
    some = Prediction("sad", 0.9, {"sad": 0.8, "bored": 0.2}, Dimensions(), 0.5, ("audio",))
    state = Mood().update(some, 3000, 3000)
    assert state.scores == {**dict.fromkeys(CATEGORIES, 0.0), "sad": 0.8}
