"""Folds: who trains, who validates and who tests are never the same people."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from streamser.errors import ConfigError
from streamser.training.corpora.acted import read_cremad
from streamser.training.folds import (
    Fold,
    folds,
    leave_one_session_out,
    leave_one_speaker_out,
    own_splits,
    speaker_groups,
)
from streamser.training.manifest import Item, Split
from tests.data import shared_data


def _item(name: str, speaker: str, session: str = "", split: Split = "") -> Item:
    return Item(id=name, corpus="c", speaker=speaker, session=session, split=split, text=name)


def _dialogues() -> list[Item]:
    """Five sessions of two speakers each, three utterances a speaker, as in IEMOCAP."""
    return [
        _item(f"Ses0{s}{g}_{i}", f"Ses0{s}_{g}", f"Ses0{s}")
        for i in range(3)
        for s in range(1, 6)
        for g in "FM"
    ]


def _who(part: tuple[Item, ...]) -> set[str]:
    return {item.speaker for item in part}


def test_ten_folds_hold_eight_speakers_to_train_one_for_dev_one_to_test() -> None:
    """Each speaker is tested once, and nothing is lost."""
    made = leave_one_speaker_out(_dialogues())
    assert sorted(fold.name for fold in made) == sorted(_who(tuple(_dialogues())))
    for fold in made:
        assert [len(_who(part)) for part in (fold.train, fold.dev, fold.test)] == [8, 1, 1]
        assert _who(fold.test) == {fold.name}
        assert len(fold.train) + len(fold.dev) + len(fold.test) == 30


def test_the_partner_of_the_test_speaker_is_dev() -> None:
    """So that the other half of the dialogue is not trained on."""
    for fold in leave_one_speaker_out(_dialogues()):
        assert {item.session for item in fold.dev} == {item.session for item in fold.test}
        assert not {item.session for item in fold.train} & {item.session for item in fold.test}


def test_without_partners_dev_is_the_next_speaker() -> None:
    """By name, the first after the last."""
    made = leave_one_speaker_out([_item(f"{s}{i}", s) for s in "abcd" for i in range(2)])
    assert {fold.name: _who(fold.dev) for fold in made} == {
        "a": {"b"},
        "b": {"c"},
        "c": {"d"},
        "d": {"a"},
    }


def test_five_folds_hold_whole_sessions() -> None:
    """Three to train, one for dev, one to test; no dialogue is cut."""
    made = leave_one_session_out(_dialogues())
    assert [fold.name for fold in made] == [f"Ses0{s}" for s in range(1, 6)]
    for fold in made:
        assert [len(_who(part)) for part in (fold.train, fold.dev, fold.test)] == [6, 2, 2]
        sessions = [{item.session for item in part} for part in (fold.train, fold.dev, fold.test)]
        assert sum(map(len, sessions)) == len(set.union(*sessions)) == 5


def test_groups_of_speakers_are_seeded_and_each_is_tested_once() -> None:
    """Dev is another group than test."""
    items = [_item(f"{s}{i}", f"s{s}") for s in range(11) for i in range(2)]
    made = speaker_groups(items, 4, seed=0)
    tested = [speaker for fold in made for speaker in _who(fold.test)]
    assert sorted(tested) == sorted(_who(tuple(items)))
    assert made == speaker_groups(list(reversed(items))[::-1], 4, seed=0)
    assert [_who(f.test) for f in made] != [_who(f.test) for f in speaker_groups(items, 4, seed=1)]
    assert [_who(f.dev) for f in made] == [_who(f.test) for f in (*made[1:], made[0])]


@pytest.mark.parametrize(
    "scheme", [leave_one_speaker_out, leave_one_session_out, lambda x: speaker_groups(x, 3, 0)]
)
def test_no_speaker_is_in_two_parts(scheme: Callable[[list[Item]], list[Fold]]) -> None:
    """The promise, whatever the scheme."""
    made = scheme(_dialogues())
    assert made
    for fold in made:
        parts = [_who(part) for part in (fold.train, fold.dev, fold.test)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set.union(*parts))


def test_own_splits_are_one_fold() -> None:
    """Items without a split are in no part."""
    items = [_item("1", "a", split="train"), _item("2", "b", split="dev")]
    items += [_item("3", "c", split="test"), _item("4", "d")]
    (fold,) = own_splits(items)
    assert [item.id for part in (fold.train, fold.dev, fold.test) for item in part] == list("123")


def test_own_splits_that_leak_are_refused() -> None:
    """Also for items that no manifest has checked."""
    items = [_item("1", "a", split="train"), _item("2", "b", split="dev")]
    with pytest.raises(ConfigError, match="speaker 'a' of c is in train and in test"):
        own_splits([*items, _item("3", "a", split="test")])
    with pytest.raises(ConfigError, match="no utterance has the split test"):
        own_splits(items)


def test_what_is_too_small_is_refused() -> None:
    """Three speakers, sessions or groups are the least."""
    two = [_item("1", "a", "s"), _item("2", "b", "t")]
    with pytest.raises(ConfigError, match="2 speakers are too few"):
        leave_one_speaker_out(two)
    with pytest.raises(ConfigError, match="2 sessions are too few"):
        leave_one_session_out(two)
    with pytest.raises(ConfigError, match="2 groups of speakers are too few"):
        speaker_groups(two, 2, 0)
    with pytest.raises(ConfigError, match="2 speakers do not fill 3 groups"):
        speaker_groups(two, 3, 0)
    with pytest.raises(ConfigError, match="1 of 3 utterances have no session"):
        leave_one_session_out([*two, _item("3", "c")])


def test_a_speaker_in_two_sessions_is_refused_for_folds_of_sessions() -> None:
    """Leaving one session out would leave the speaker in."""
    items = [_item(str(i), s, t) for i, (s, t) in enumerate(zip("abca", "1234", strict=True))]
    with pytest.raises(ConfigError, match="speaker 'a' is in sessions '1' and '4'"):
        leave_one_session_out(items)


def test_a_fold_can_be_written_as_splits() -> None:
    """For pairing and manifests, which go by the split."""
    fold = leave_one_speaker_out(_dialogues())[0]
    splits = {item.id: item.split for item in fold.as_splits()}
    assert len(splits) == 30
    assert {splits[item.id] for item in fold.dev} == {"dev"}
    assert {splits[item.id] for item in fold.test} == {"test"}


def test_folds_are_chosen_by_name() -> None:
    """As a configuration file says it."""
    assert len(folds(_dialogues(), "speaker")) == 10
    assert len(folds(_dialogues(), "session")) == 5
    assert len(folds(_dialogues(), "groups", k=4, seed=1)) == 4


def test_cremads_own_split_has_63_9_and_19_actors() -> None:
    """On the real labels."""
    (fold,) = own_splits(read_cremad(shared_data("cremad_mel"), votes="intended"))
    assert [len(_who(part)) for part in (fold.train, fold.dev, fold.test)] == [63, 9, 19]


def test_a_paired_text_in_two_parts_is_refused() -> None:
    """Its words would tell the label; that fixed sentences come back does no harm."""
    voices = [
        Item(id=f"v{i}", corpus="c", speaker=f"s{i}", text="It's eleven o'clock.") for i in range(6)
    ]
    assert len(speaker_groups(voices, 3, 0)) == 3
    paired = [replace(item, id=f"{item.id}+t{i % 5}") for i, item in enumerate(voices)]
    with pytest.raises(ConfigError, match="the text 't0' was paired with voices that are in"):
        leave_one_speaker_out(paired)
    once = [replace(item, id=f"{item.id}+t{i}") for i, item in enumerate(voices)]
    assert len(leave_one_speaker_out(once)) == 6


def test_nobody_waits_for_thousands_of_folds() -> None:
    """Sentences without a speaker are each their own."""
    with pytest.raises(ConfigError, match="leaving out each of 201 speakers"):
        leave_one_speaker_out([_item(f"{i}", f"s{i}") for i in range(201)])
