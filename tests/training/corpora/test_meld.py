"""MELD: three tables, clips where there are any, and friends who are everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.conversations import read_meld
from streamser.training.folds import leave_one_speaker_out
from streamser.training.manifest import read_manifest, write_manifest
from tests.training.corpora.trees import lay, sounds

HEAD = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,"
    "Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
)
ROWS = """1,"Well, he\u2019s lost it.",Phoebe,sadness,negative,0,0,4,7,"00:20:57,256","00:21:00,049"
2,What?,Monica,surprise,negative,0,1,4,7,"00:21:01,927","00:21:03,261"
3,"You\x92re a genius!",Ross,joy,positive,1,0,4,4,"00:12:32,334","00:12:33,960"
4,Hey.,Ross,neutral,neutral,1,1,4,4,"0:12:43,012","0:12:44,074"
5,Fine!,Rachel,anger,negative,1,2,4,4,"0:12:44,074","0:12:45,189"
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Lay the repository's tables and, for training, two unpacked clips."""
    lay(tmp_path, {f"data/MELD/{s}_sent_emo.csv": HEAD + ROWS for s in ("train", "dev", "test")})
    return sounds(
        tmp_path,
        "train_splits/dia0_utt0.mp4",
        "train_splits/dia0_utt0.wav",
        "output_repeated_splits_test/dia1_utt2.mp4",
    )


def test_seven_emotions_become_four(corpus: Path) -> None:
    """Surprise, fear and disgust are none of them."""
    train = [item for item in read_meld(corpus) if item.split == "train"]
    assert [item.category for item in train] == ["sad", "happy", "neutral", "angry"]
    assert len(read_meld(corpus, categories="all")) == 15


def test_quotes_that_were_broken_on_the_way_are_mended(corpus: Path) -> None:
    """Windows-1252 in UTF-8."""
    assert [item.text for item in read_meld(corpus)][:2] == [
        "Well, he\u2019s lost it.",
        "You\u2019re a genius!",
    ]


def test_clips_are_found_and_their_lack_leaves_words(corpus: Path) -> None:
    """A decoded clip goes before its video."""
    named = {
        item.id: item.audio.relative_to(corpus).as_posix()
        for item in read_meld(corpus)
        if item.audio
    }
    assert named == {
        "meld-train-0-0": "train_splits/dia0_utt0.wav",
        "meld-test-1-2": "output_repeated_splits_test/dia1_utt2.mp4",
    }


def test_its_own_splits_name_the_same_actor_anew_in_each(corpus: Path) -> None:
    """Which is what lets the manifest pass, and is told in the reader's docstring."""
    items = read_meld(corpus)
    assert {i.speaker for i in items if i.speaker.endswith("Ross")} == {
        "train/Ross",
        "dev/Ross",
        "test/Ross",
    }
    write_manifest(items, corpus / "m.csv")
    assert len(read_manifest(corpus / "m.csv")) == 12


def test_without_its_splits_folds_by_speaker_are_honest(corpus: Path) -> None:
    """Ross is one person then."""
    items = read_meld(corpus, splits="none")
    assert {item.speaker for item in items} == {"Phoebe", "Ross", "Rachel"}
    assert {item.split for item in items} == {""}
    assert [fold.name for fold in leave_one_speaker_out(items)] == ["Phoebe", "Rachel", "Ross"]


def test_what_is_missing_or_wrong_is_named(corpus: Path) -> None:
    """A table, an emotion."""
    table = corpus / "data/MELD/dev_sent_emo.csv"
    table.write_text(HEAD + ROWS.replace("sadness", "grief"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"dev_sent_emo\.csv line 2: Emotion 'grief' is not one"):
        read_meld(corpus)
    table.unlink()
    with pytest.raises(ConfigError, match=r"it has no dev_sent_emo\.csv or data/MELD/dev"):
        read_meld(corpus)
