"""CREMA-D: a copy of the repository, and ready-made spectrograms."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.acted import CREMAD_ARCHIVE, read_cremad
from tests.data import shared_data
from tests.training.corpora.trees import lay, sounds

TABULATED = """"","A","D","F","H","N","S","fileName","numResponses","agreement","emoVote"
"100001",0,0,0,1,3,0,"1001_IEO_NEU_XX",4,0.75,"N"
"200001",0,0,0,4,0,0,"1001_IEO_NEU_XX",4,1,"H"
"300001",0,0,0,2,2,0,"1001_IEO_NEU_XX",4,0.5,"H:N"
"100002",2,4,0,0,1,0,"1002_DFA_ANG_HI",7,0.571,"D"
"300002",6,1,0,0,0,1,"1002_DFA_ANG_HI",8,0.75,"A"
"100003",0,0,1,0,3,0,"1007_WSI_FEA_XX",4,0.75,"N"
"300003",0,0,4,0,0,0,"1007_WSI_FEA_XX",4,1,"F"
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Lay three clips of the repository's thousands."""
    sounds(
        tmp_path,
        *(
            f"AudioWAV/{name}.wav"
            for name in ("1001_IEO_NEU_XX", "1002_DFA_ANG_HI", "1007_WSI_FEA_XX")
        ),
    )
    return lay(tmp_path, {"processedResults/tabulatedVotes.csv": TABULATED})


@pytest.mark.parametrize(
    ("votes", "expected"),
    [
        ("voice", {"1001": (0.75, 0.25, 0, 0), "1007": (1, 0, 0, 0)}),
        ("face", {"1001": (0, 1, 0, 0)}),
        ("av", {"1001": (0.5, 0.5, 0, 0), "1002": (0, 0, 1 / 7, 6 / 7)}),
        ("intended", {"1001": (1, 0, 0, 0), "1002": (0, 0, 0, 1)}),
    ],
)
def test_votes_are_those_of_the_query_within_the_four(
    corpus: Path,
    votes: Literal["voice", "face", "av", "intended"],
    expected: dict[str, tuple[float, ...]],
) -> None:
    """A clip in which most hear disgust or fear has no category."""
    found = {item.speaker: item.votes for item in read_cremad(corpus, votes=votes)}
    assert found.keys() == expected.keys()
    for speaker, shares in expected.items():
        assert found[speaker] == pytest.approx(shares)


def test_a_copy_of_the_repository_has_words_and_the_projects_split(corpus: Path) -> None:
    """Sentences by their code, actors by the split of the spectrograms, no dimensions."""
    items = read_cremad(corpus, categories="all")
    assert [(item.speaker, item.split, item.text) for item in items] == [
        ("1001", "train", "It's eleven o'clock."),
        ("1002", "dev", "Don't forget a jacket."),
        ("1007", "test", "We'll stop in a couple of minutes."),
    ]
    assert items[0].audio == corpus / "AudioWAV" / "1001_IEO_NEU_XX.wav"
    assert all(math.isnan(value) for item in items for value in item.dimensions)


def test_what_is_missing_or_wrong_is_named(corpus: Path, tmp_path: Path) -> None:
    """Folder, votes, a file's name."""
    with pytest.raises(ConfigError, match=r"no AudioWAV.*github\.com/CheyneyComputerScience"):
        read_cremad(tmp_path / "AudioWAV")
    (corpus / "processedResults/tabulatedVotes.csv").unlink()
    with pytest.raises(ConfigError, match=r"no processedResults/tabulatedVotes\.csv"):
        read_cremad(corpus)
    assert len(read_cremad(corpus, votes="intended")) == 2
    sounds(corpus, "AudioWAV/noise.wav")
    with pytest.raises(ConfigError, match=r"'noise' is not named as CREMA-D's clips are"):
        read_cremad(corpus, votes="intended")


def test_a_table_of_spectrograms_with_a_wrong_number_is_refused(tmp_path: Path) -> None:
    """With its line."""
    np.savez(tmp_path / CREMAD_ARCHIVE, mel=np.zeros((4, 64), np.uint8))
    head = "name,speaker,text,n_frames,offset,split\n"
    lay(tmp_path, {"labels.csv": head + "1001_DFA_ANG_XX,1001,Don't.,many,0,train\n"})
    with pytest.raises(ConfigError, match=r"labels\.csv line 2: n_frames 'many' is not a number"):
        read_cremad(tmp_path, votes="intended", dimensions="none")
    lay(tmp_path, {"labels.csv": head + "1001_DFA_ANG_XX,1001,Well, no.,9,0,train\n"})
    with pytest.raises(ConfigError, match=r"labels\.csv line 2: 7 cells, its header 6"):
        read_cremad(tmp_path, votes="intended", dimensions="none")


def test_the_real_spectrograms_have_91_actors_and_7431_clips() -> None:
    """63, 9 and 19 actors; the intended label of 4,894 clips is one of the four."""
    root = shared_data("cremad_mel")
    items = read_cremad(root, votes="intended", categories="all")
    assert len(items) == 7431
    speakers = {split: set[str]() for split in ("train", "dev", "test")}
    for item in items:
        speakers[item.split].add(item.speaker)
    assert [len(part) for part in speakers.values()] == [63, 9, 19]
    assert Counter(item.category for item in items) == {
        "happy": 1270,
        "sad": 1270,
        "angry": 1268,
        "neutral": 1086,
        None: 2537,
    }
    ends = [(i.mel.offset, i.mel.offset + i.mel.frames) for i in items if i.mel]
    assert len(ends) == 7431
    assert all(end == start for (_, end), (start, _) in pairwise(ends))


def test_the_two_layouts_agree(tmp_path: Path) -> None:
    """The split and the words by a clip's name are those of the spectrograms' table."""
    ready = read_cremad(shared_data("cremad_mel"), votes="intended", categories="all")
    sounds(tmp_path, *(f"AudioWAV/{item.id}.wav" for item in ready))
    made = {item.id: item for item in read_cremad(tmp_path, votes="intended", categories="all")}
    for item in ready:
        twin = made[item.id]
        assert (twin.split, twin.speaker, twin.text, twin.votes) == (
            item.split,
            item.speaker,
            item.text,
            item.votes,
        )


def test_real_votes_by_voice_are_shares_and_proxies_in_the_unit_interval() -> None:
    """The voice alone says neutral most often."""
    items = read_cremad(shared_data("cremad_mel"), votes="voice")
    assert Counter(item.category for item in items).most_common(1) == [("neutral", 3891)]
    assert all(sum(item.votes or ()) == pytest.approx(1) for item in items)
    assert all(0 <= value <= 1 for item in items for value in item.dimensions)
