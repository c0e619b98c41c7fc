"""MSP-Podcast: its label tables in both forms, partitions and unknown speakers."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.conversations import read_msp_podcast
from streamser.training.manifest import read_manifest, write_manifest
from tests.training.corpora.trees import lay

CONSENSUS = """FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
MSP-PODCAST_0001_0008.wav,N,2.2,4.0,3.4,127,Male,Test1
MSP-PODCAST_0001_0019.wav,H,5.5,6.25,4.75,Unknown,Unknown,Train
MSP-PODCAST_0002_0033.wav,A,6.4,1.6,6.0,128,Female,Train
MSP-PODCAST_0003_0001.wav,U,4.0,4.0,4.0,129,Female,Development
MSP-PODCAST_0003_0002.wav,S,1.0,2.5,2.5,129,Female,Development
MSP-PODCAST_0004_0002.wav,X,4.0,4.0,4.0,Unknown,Unknown,Test2
MSP-PODCAST_0005_0002.wav,,,,,Unknown,Unknown,Test3
"""
DETAILED = """FileName,Worker,EmoClass_Major,EmoClass_Second,EmoAct,EmoVal,EmoDom,Gender
MSP-PODCAST_0001_0019.wav,WORKER00000001,Happy,"Happy,Amused",5,6,4,Unknown
MSP-PODCAST_0001_0019.wav,WORKER00000002,Happy,Happy,6,6,5,Unknown
MSP-PODCAST_0001_0019.wav,WORKER00000003,Neutral,Neutral,5,6,5,Unknown
MSP-PODCAST_0001_0019.wav,WORKER00000004,Surprise,Surprise,6,7,5,Unknown
MSP-PODCAST_0002_0033.wav,WORKER00000001,Sad,Sad,6,2,6,Female
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Lay the release's folders with seven files of it."""
    lay(
        tmp_path,
        {
            "Labels/labels_consensus.csv": CONSENSUS,
            "Labels/labels_detailed.csv": DETAILED,
            "Transcripts/MSP-PODCAST_0001_0008.txt": "And that was that.\n",
            "Audios/MSP-PODCAST_0001_0008.wav": "",
        },
    )
    return tmp_path


def test_partitions_become_splits_and_one_test_set_is_taken(corpus: Path) -> None:
    """Test1 unless another is asked for."""
    splits = {item.id[-9:]: item.split for item in read_msp_podcast(corpus)}
    assert splits == {
        "0001_0008": "test",
        "0001_0019": "train",
        "0002_0033": "train",
        "0003_0002": "dev",
    }
    second = read_msp_podcast(corpus, test="test2", categories="all")
    assert [item.id[-9:] for item in second if item.split == "test"] == ["0004_0002"]
    assert len(read_msp_podcast(corpus, test="all", categories="all")) == 7


def test_letters_become_categories_and_others_none(corpus: Path) -> None:
    """Surprise and no agreement keep their ratings only."""
    found = {item.id[-9:]: item.category for item in read_msp_podcast(corpus, categories="all")}
    assert found == {
        "0001_0008": "neutral",
        "0001_0019": "happy",
        "0002_0033": "angry",
        "0003_0001": None,
        "0003_0002": "sad",
    }


def test_raters_give_shares_where_they_agree_with_the_consensus(corpus: Path) -> None:
    """Two happy, one neutral, the surprise left out; one that says sad of an A is not heard."""
    votes = {item.id[-9:]: item.votes for item in read_msp_podcast(corpus)}
    assert votes["0001_0019"] == pytest.approx((1 / 3, 2 / 3, 0, 0))
    assert votes["0002_0033"] == (0.0, 0.0, 0.0, 1.0)
    hard = {item.id[-9:]: item.votes for item in read_msp_podcast(corpus, votes="consensus")}
    assert hard["0001_0019"] == (0.0, 1.0, 0.0, 0.0)


def test_older_releases_keep_the_details_in_one_column(corpus: Path) -> None:
    """WORKER; primary; secondary; A; V; D."""
    detail = "MSP-PODCAST_0001_0019.wav,WORKER0001; {}; Happy,Amused; A:5.0; V:6.0; D:4.0;\n"
    lay(
        corpus,
        {
            "Labels/labels_detailed.csv": "FileName,EmoDetail\n"
            + "".join(
                detail.format(emotion).replace(",WORK", ',"WORK').replace(";\n", ';"\n')
                for emotion in ("Happy", "Happy", "Neutral")
            )
        },
    )
    votes = {item.id[-9:]: item.votes for item in read_msp_podcast(corpus)}
    assert votes["0001_0019"] == pytest.approx((1 / 3, 2 / 3, 0, 0))


def test_ratings_are_on_1_to_7_in_the_order_of_the_manifest(corpus: Path) -> None:
    """The table's order is arousal, valence, dominance; Test3 has none."""
    items = {item.id[-9:]: item for item in read_msp_podcast(corpus, test="all", categories="all")}
    assert items["0001_0019"].dimensions == pytest.approx((0.875, 0.75, 0.625))
    assert all(math.isnan(value) for value in items["0005_0002"].dimensions)


def test_unknown_speakers_are_one_for_each_recording_and_partition(corpus: Path) -> None:
    """So that the table is no leak by name; and it can be written and read back."""
    items = read_msp_podcast(corpus, test="all", categories="all")
    speakers = {item.id[-9:]: item.speaker for item in items}
    assert speakers["0001_0019"] == "unknown-0001-train"
    assert speakers["0004_0002"] == "unknown-0004-test"
    assert speakers["0001_0008"] == "127"
    write_manifest(items, corpus / "m.csv")
    assert len(read_manifest(corpus / "m.csv")) == 7


def test_words_are_read_where_there_are_any(corpus: Path) -> None:
    """Transcripts hold one file for each turn."""
    texts = {item.id[-9:]: item.text for item in read_msp_podcast(corpus)}
    assert texts["0001_0008"] == "And that was that."
    assert texts["0002_0033"] is None


def test_what_is_missing_or_wrong_is_named(corpus: Path, tmp_path: Path) -> None:
    """Folder, table, column, line."""
    table = corpus / "Labels/labels_consensus.csv"
    table.write_text(CONSENSUS.replace("Test1", "Held out"))
    with pytest.raises(ConfigError, match="line 2: Split_Set 'Held out' is none of Train"):
        read_msp_podcast(corpus)
    table.write_text(CONSENSUS.replace(",N,2.2", ",Q,2.2"))
    with pytest.raises(ConfigError, match="line 2: EmoClass 'Q' is none of"):
        read_msp_podcast(corpus)
    table.write_text(CONSENSUS.replace("6.25", "7.25"))
    with pytest.raises(ConfigError, match=r"line 3: valence 7\.25 is off the scale 1:7"):
        read_msp_podcast(corpus)
    table.write_text(CONSENSUS.replace("EmoVal", "Valence"))
    with pytest.raises(ConfigError, match="lacks the column 'EmoVal'"):
        read_msp_podcast(corpus)
    table.unlink()
    with pytest.raises(ConfigError, match=r"no Labels/labels_consensus\.csv"):
        read_msp_podcast(corpus)
