"""Who speaks at one microphone, from voices alone: labels, and corrections of them."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE
from streamser.errors import ConfigError
from streamser.speech.diarisation import (
    Diariser,
    DiariserState,
    Part,
    Spoken,
    Telling,
    voice_windows,
)
from tests.speech.voices import SIZE, SPACE, Talk, voice_of


class Told:
    """Follow what stands of each utterance after corrections."""

    def __init__(self, diariser: Diariser) -> None:
        self.diariser = diariser
        self.parts: dict[int, tuple[Part, ...]] = {}
        self.corrected: list[int] = []

    def hear(self, heard: Spoken) -> list[str | None]:
        """Hear an utterance; return the labels of its parts."""
        outcome = self.diariser.hear(heard)
        self.parts[heard.item] = outcome.parts
        for change in outcome.changes:
            assert change.parts != self.parts[change.item]
            self.parts[change.item] = change.parts
            self.corrected.append(change.item)
        return [part.label for part in self.parts[heard.item]]

    def label(self, item: int) -> str | None:
        """Return the label of an utterance of one part."""
        (part,) = self.parts[item]
        return part.label


@pytest.mark.parametrize("seed", range(4))
def test_another_goes_on_from_a_snapshot_and_tells_the_very_same(seed: int) -> None:
    """As it crosses between processes, at any moment; 100 kB hold what is known."""
    rng = np.random.default_rng(seed)
    talk, one = Talk(seed), Diariser(SPACE)
    for _ in range(60):
        people = rng.integers(0, 4, rng.integers(1, 3)).tolist()
        moved = float(rng.uniform(0, 0.6))
        spoken = talk.says(*people, seconds=float(rng.uniform(0.4, 4)), moved=moved)
        line = msgspec.msgpack.encode(one.snapshot())
        assert len(line) < 150_000
        other = Diariser(SPACE)
        other.restore(msgspec.msgpack.decode(line, type=DiariserState))
        assert other.hear(spoken) == one.hear(spoken)
        assert other.labels == one.labels


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_voices_that_lie_apart_are_told_apart(people: list[int], seed: int) -> None:
    """One label each, numbered as they come."""
    talk, told = Talk(seed), Told(Diariser(SPACE))
    expected: dict[int, str] = {}
    for person in people:
        label = expected.setdefault(person, f"speaker {len(expected) + 1}")
        assert told.hear(talk.says(person)) == [label]
    assert told.corrected == []


def test_the_same_utterances_get_the_same_labels() -> None:
    """There is no chance in it."""
    said = [0, 1, 0, 2, 1, 1, 0, 2]
    outcomes = []
    for _ in range(2):
        talk, diariser = Talk(3), Diariser(SPACE)
        outcomes.append([diariser.hear(talk.says(who, moved=0.4)) for who in said])
    assert outcomes[0] == outcomes[1]


def test_a_voice_that_drifts_stays_one_speaker() -> None:
    """Somebody grows hoarse, little by little, beside somebody who does not."""
    talk, told = Talk(), Told(Diariser(SPACE))
    for step in range(12):
        assert told.hear(talk.says(0, moved=step / 22)) == ["speaker 1"]
        assert told.hear(talk.says(1)) == ["speaker 2"]


def test_a_label_is_corrected_when_more_is_heard() -> None:
    """Who sounded like two people is one, when all that lies between has been heard."""
    talk, told = Talk(), Told(Diariser(SPACE))
    first, second = talk.says(0), talk.says(0, moved=0.75)
    assert told.hear(first) == ["speaker 1"]
    assert told.hear(second) == ["speaker 2"]
    for moved in (0.2, 0.5, 0.3, 0.6, 0.4):
        told.hear(talk.says(0, moved=moved))
    assert {told.label(item) for item in told.parts} == {"speaker 1"}
    assert second.item in told.corrected


def test_a_lively_voice_may_be_farther_from_a_calm_one() -> None:
    """What would be two people, did they sound alike in mood, is one who grew loud."""
    plain = SPACE(SIZE)
    strange = voice_of(0, np.random.default_rng(1), moved=1.0).astype(np.float64)
    lively = replace(plain, lively=20 * strange)
    labels = []
    for space in (plain, lively):
        talk, told = Talk(), Told(Diariser({len(strange): space}.__getitem__))
        labels.append([told.hear(talk.says(0, moved=moved)) for moved in (0.0, 0.8, 0.0, 0.8)])
    assert labels[0] == [["speaker 1"], ["speaker 2"]] * 2
    assert labels[1] == [["speaker 1"]] * 4


def test_as_many_speakers_are_found_as_there_are_said_to_be() -> None:
    """Voices that would be taken for one person's are two, if two are known to be there."""
    found = []
    for telling in (Telling(), Telling(most=2, exactly=True)):
        talk, told = Talk(), Told(Diariser(SPACE, telling))
        for moved in (0.0, 0.47) * 3:
            told.hear(talk.says(0, moved=moved))
        found.append(len({told.label(item) for item in told.parts}))
    assert found == [1, 2]


def test_a_change_of_speaker_without_a_pause_cuts_the_utterance() -> None:
    """The parts lie side by side, cover all of it, and the cut is near the change."""
    talk, told = Talk(), Told(Diariser(SPACE))
    told.hear(talk.says(0))
    heard = talk.says(0, 1, seconds=4.0)
    assert told.hear(heard) == ["speaker 1", "speaker 2"]
    one, two = told.parts[heard.item]
    assert (one.start, one.end, two.end) == (heard.start, two.start, heard.end)
    assert abs(one.end - (heard.start + 4 * SAMPLE_RATE)) < SAMPLE_RATE


def test_there_are_never_more_speakers_than_there_is_room_for() -> None:
    """Who comes too late is taken for somebody who is there."""
    talk, told = Talk(), Told(Diariser(SPACE, Telling(most=2)))
    for person in (0, 1, 2, 3, 4):
        told.hear(talk.says(person))
    assert {told.label(item) for item in told.parts} == {"speaker 1", "speaker 2"}


def test_what_is_too_short_founds_no_speaker() -> None:
    """A stranger's half second is nobody's; a known voice's is theirs."""
    talk, told = Talk(), Told(Diariser(SPACE))
    told.hear(talk.says(0))
    assert told.hear(talk.says(1, seconds=0.5)) == [None]
    assert told.hear(talk.says(0, seconds=0.5)) == ["speaker 1"]


def test_an_utterance_without_a_voice_is_nobodys() -> None:
    """As where it is too short to be described, or the embedder failed."""
    heard = Spoken(1, 0, 5_000, ())
    assert voice_windows(0, 5_000) == ()
    assert Diariser(SPACE).hear(heard).parts == (Part(0, 5_000, None),)


def test_somebody_enrolled_is_known_by_name_at_once() -> None:
    """Strangers are numbered beside them."""
    rng = np.random.default_rng(5)
    diariser = Diariser(SPACE)
    diariser.enroll("ann", [voice_of(1, rng) for _ in range(4)])
    told, talk = Told(diariser), Talk()
    assert [told.hear(talk.says(who)) for who in (0, 1, 0)] == [
        ["speaker 1"],
        ["ann"],
        ["speaker 1"],
    ]
    with pytest.raises(ConfigError, match="ann is known already"):
        diariser.enroll("ann", [voice_of(2, rng)])


def test_a_speaker_that_is_renamed_keeps_the_name() -> None:
    """From then on what is hers has the name; a second one of that name is merged with her."""
    talk, told = Talk(), Told(Diariser(SPACE))
    for person in (0, 1, 2):
        told.hear(talk.says(person))
    told.diariser.rename("speaker 2", "ann")
    assert told.hear(talk.says(1)) == ["ann"]
    told.diariser.rename("speaker 3", "ann")
    assert told.hear(talk.says(2)) == ["ann"]
    with pytest.raises(ConfigError, match="nobody is called speaker 3: speaker 1, ann"):
        told.diariser.rename("speaker 3", "bob")


def test_speakers_that_are_merged_stay_one() -> None:
    """Though their voices lie apart, and minutes later as well."""
    talk, told = Talk(), Told(Diariser(SPACE))
    for person in (0, 1, 2):
        told.hear(talk.says(person))
    told.diariser.merge("speaker 3", "speaker 1")
    for wait in (0, 180):
        talk.waits(wait)
        said = [told.hear(talk.says(who)) for who in (0, 1, 2)]
        assert said == [["speaker 1"], ["speaker 2"], ["speaker 1"]]


def test_an_utterance_can_be_given_to_somebody() -> None:
    """It stays hers whatever it sounds like, and like voices follow."""
    talk, told = Talk(), Told(Diariser(SPACE))
    items = [talk.says(who) for who in (0, 1, 0, 1)]
    for heard in items:
        told.hear(heard)
    changes = told.diariser.assign(items[1].item, "ann")
    assert {change.item for change in changes} == {items[1].item, items[3].item}
    assert {part.label for change in changes for part in change.parts} == {"ann"}
    assert told.hear(talk.says(1)) == ["ann"]
    with pytest.raises(ConfigError, match="utterance 99 is not remembered"):
        told.diariser.assign(99, "ann")


def test_forgetting_leaves_no_voice() -> None:
    """Who speaks next is a stranger, and no label means two people."""
    talk, told = Talk(), Told(Diariser(SPACE))
    told.hear(talk.says(0))
    told.hear(talk.says(1))
    told.diariser.forget()
    assert told.diariser.labels == ()
    assert told.hear(talk.says(0)) == ["speaker 3"]


def test_a_voice_is_known_again_hours_later() -> None:
    """Of what is older than two minutes a sum is kept, and no more."""
    talk, diariser = Talk(), Diariser(SPACE)
    told = Told(diariser)
    for round_ in range(40):
        for person in (0, 1):
            assert told.hear(talk.says(person)) == [f"speaker {person + 1}"]
        talk.waits(600 if round_ % 10 == 9 else 0)
    assert told.corrected == []
    assert len(diariser._recent) < 40


def test_room_for_nobody_is_refused() -> None:
    """In one line that says what to do."""
    with pytest.raises(ConfigError, match="room for one"):
        Telling(most=0)


@given(st.integers(0, 400_000), st.integers(1, 400_000))
def test_windows_cover_an_utterance(start: int, length: int) -> None:
    """From its first sample to its last, without a hole, and all of one length or alone."""
    found = voice_windows(start, start + length)
    if length < 6_400:
        assert found == ()
        return
    assert (found[0][0], found[-1][1]) == (start, start + length)
    assert all(two[0] <= one[1] for one, two in pairwise(found))
    assert len({last - first for first, last in found}) == 1


def test_what_goes_out_can_be_sent() -> None:
    """Outcomes are plain records."""
    talk, diariser = Talk(), Diariser(SPACE)
    assert msgspec.json.decode(msgspec.json.encode(diariser.hear(talk.says(0, 1))))
