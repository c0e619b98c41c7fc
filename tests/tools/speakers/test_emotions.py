"""Emotions read against one past for all, each voice's own, or the true speakers'."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.compact.model import CompactFeatures
from streamser.emotion.compact.statistics import Measured
from streamser.emotion.model import Prediction
from streamser.pipeline.session_config import VoicesApart
from streamser.speech.diarisation import Spoken
from streamser.taxonomy import CATEGORIES, Dimensions
from tests.speech.voices import LIKENESS, Talk
from tools.speakers.emotions import (
    AFTER,
    APART,
    ONE,
    TRUE,
    KeptFeatures,
    Recognised,
    lost,
    meant,
    read_emotions,
    recognised,
    uar,
)
from tools.speakers.meetings import Cell, Meeting, Said

SECOND = SAMPLE_RATE
PEOPLE = {"ann": 0, "bob": 1}
TOLD_APART = VoicesApart(embedder="made", likeness=LIKENESS)


class Level(NamedTuple):
    """Hold what one utterance measures."""

    value: float


class Listener:
    """Call angry what is louder than usual for whoever spoke so far, else neutral."""

    def __init__(self) -> None:
        self.heard: list[float] = []

    def predict(self, features: Level) -> Prediction:
        usual = np.mean(self.heard) if self.heard else features.value
        category = "angry" if features.value > usual + 0.5 else "neutral"
        scores = {each: 0.7 if each == category else 0.1 for each in CATEGORIES}
        return Prediction(category, 0.7, scores, Dimensions(), 0.5, ("audio",))

    def adapt(self, features: Level) -> None:
        self.heard.append(features.value)

    def snapshot(self) -> bytes:
        return np.array(self.heard).tobytes()

    def restore(self, state: bytes) -> None:
        self.heard = np.frombuffer(state).tolist()

    def reset(self) -> None:
        self.heard = []


def meeting(*turns: tuple[str, str]) -> Meeting:
    """Return turns of three seconds, a second apart, of people and how they meant them."""
    said = tuple(
        Said(4 * number * SECOND, (4 * number + 3) * SECOND, *turn)
        for number, turn in enumerate(turns)
    )
    sound = np.zeros(4 * len(turns) * SECOND, np.float32)
    return Meeting("", Cell("emodb", 2, emotions=True, noisy=False), sound, said)


def spoken(given: Meeting) -> list[Spoken]:
    """Return an utterance a turn, in voices that are told apart without a doubt."""
    talk = Talk()
    return [talk.says(PEOPLE[each.person]) for each in given.said]


def test_a_quiet_person_is_judged_by_their_own_past() -> None:
    """Bob shouts as loud as Ann speaks: only who knows them apart hears it."""
    turns = [("ann", "neutral"), ("bob", "neutral")] * 3 + [("bob", "anger"), ("ann", "neutral")]
    given = meeting(*turns)
    loud = {("ann", "neutral"): 3.0, ("bob", "neutral"): 1.0, ("bob", "anger"): 2.0}
    levels = [Level(loud[turn]) for turn in turns]
    found = read_emotions(given, spoken(given), levels, Listener, TOLD_APART)
    assert found.utterances == len(turns)
    for way in (APART, AFTER, TRUE):
        assert uar(found.counts[way]) == 1.0
    assert uar(found.counts[ONE]) < 0.7


def test_what_is_no_category_is_learnt_from_and_not_counted() -> None:
    """Fear has no right answer here."""
    given = meeting(("ann", "fear"), ("ann", "neutral"))
    found = read_emotions(given, spoken(given), [Level(5.0), Level(1.0)], Listener, TOLD_APART)
    assert (found.utterances, found.others) == (1, 1)


def test_an_utterance_is_the_turns_that_has_most_of_it() -> None:
    """Where nobody speaks it is nobody's."""
    given = meeting(("ann", "anger"), ("bob", "sadness"))
    first, second = given.said
    assert meant(given.said, SECOND, 5 * SECOND) == first
    assert meant(given.said, 5 * SECOND // 2, 6 * SECOND) == second
    assert meant(given.said, 3 * SECOND, 4 * SECOND) is None


def counts(right: int, wrong: int) -> tuple[tuple[int, ...], ...]:
    """Return neutral utterances, some of them read as happy."""
    return ((right, wrong, 0, 0), *((0, 0, 0, 0),) * 3)


def test_recalls_are_of_all_utterances_together() -> None:
    """Of categories that nobody meant there is none."""
    both = recognised([Recognised({TRUE: counts(1, 0)}), Recognised({TRUE: counts(1, 2)}, 3)])
    assert uar(both.counts[TRUE]) == 0.5
    assert (both.utterances, both.others) == (4, 3)


def test_what_is_lost_has_an_interval_over_meetings() -> None:
    """Nothing where all meetings are alike."""
    alike = [Recognised({TRUE: counts(4, 0), ONE: counts(3, 1)})] * 5
    assert lost(alike, ONE, seed=1) == (0.25, 0.25, 0.25)
    value, low, high = lost([*alike, Recognised({TRUE: counts(0, 4), ONE: counts(4, 0)})], ONE, 1)
    assert low < value < high


class Counting:
    """Measure next to nothing, and count how often."""

    def __init__(self) -> None:
        self.asked = 0

    def extract(self, batch: list[Any]) -> list[CompactFeatures]:
        self.asked += len(batch)
        assert all(each.text is None for each in batch)
        values = np.full(3, len(batch[0].samples), np.float32)
        return [CompactFeatures(Measured(values, 1.5), None)]


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    """Unless utterances are other ones than they were."""
    given = meeting(("ann", "neutral"), ("bob", "neutral"))
    model: Any = Counting()
    features, heard = KeptFeatures(model, tmp_path), spoken(given)
    first = features.of("one", given, heard)
    again = features.of("one", given, heard)
    assert model.asked == 2
    assert [each.measured.speech_seconds for each in again] == [1.5, 1.5]
    np.testing.assert_array_equal(first[1].measured.values, again[1].measured.values)
    features.of("one", given, heard[:1])
    assert model.asked == 3


def test_nothing_is_kept_where_nobody_asks() -> None:
    """Each time it is measured anew."""
    given = meeting(("ann", "neutral"))
    model: Any = Counting()
    features = KeptFeatures(model, None)
    features.of("one", given, spoken(given))
    features.of("one", given, spoken(given))
    assert model.asked == 2
