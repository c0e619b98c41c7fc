"""IEMOCAP: its evaluation files, transcriptions and folders, and the rule of four."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.training.corpora.conversations import read_iemocap
from streamser.training.folds import leave_one_session_out, leave_one_speaker_out
from streamser.training.manifest import Item
from tests.training.corpora.trees import lay

EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral;\t()
C-E4:\tNeutral; Anger;\t(mildly; annoyed)
C-F1:\tSadness;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()
A-F1:\tval 3; act 2; dom  1;\t()

[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[5.5000, 4.0000, 0.5000]
C-E2:\tExcited;\t()
C-E3:\tHappiness;\t()
C-E4:\tSurprise;\t()

[14.8872 - 18.0175]\tSes01F_impro01_F002\tfru\t[2.0000, 3.5000, 3.0000]
C-E2:\tFrustration;\t()
C-E3:\tFrustration;\t()
C-E4:\tAnger;\t()

[19.2900 - 20.7875]\tSes01F_impro01_M003\tang\t[1.5000, 4.0000, 4.5000]
C-E2:\tFrustration;\t()
C-E3:\tAnger; Sadness;\t()
C-E4:\tSadness;\t()

[21.3257 - 24.7400]\tSes01F_impro01_F004\txxx\t[2.0000, 3.0000, 3.0000]
C-E2:\tSadness;\t()
C-E3:\tAnger;\t()
"""
TRANSCRIPT = """Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
Ses01F_impro01_M001 [010.0100-011.3925]: Yeah.
M: [LAUGHTER]
Ses01F_impro01_F002 [014.8872-018.0175]: Is there a problem?
Ses01F_impro01_MXX0 [018.5000-018.9000]: Mmhmm.
Ses01F_impro01_F004 [021.3257-024.7400]: I don't know.
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Lay two sessions, the second with one dialogue whose other actor wears the markers."""
    second = EVALUATION.replace("Ses01F_impro01", "Ses02M_script01_1b")
    lay(
        tmp_path,
        {
            "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt": EVALUATION,
            "Session1/dialog/EmoEvaluation/._Ses01F_impro01.txt": "\x00\x05\x16\x07Mac OS X",
            "Session1/dialog/EmoEvaluation/Categorical/Ses01F_impro01_e2_cat.txt": "other",
            "Session1/dialog/transcriptions/Ses01F_impro01.txt": TRANSCRIPT,
            "Session2/dialog/EmoEvaluation/Ses02M_script01_1b.txt": second,
            "Session2/dialog/transcriptions/Ses02M_script01_1b.txt": "",
        },
    )
    return tmp_path


def _named(items: list[Item]) -> dict[str, Item]:
    return {item.id.partition("_")[2]: item for item in items if item.session == "Ses01"}


def test_the_summary_gives_the_category_and_excited_is_happy(corpus: Path) -> None:
    """Frustration and no majority are none of the four."""
    items = _named(read_iemocap(corpus))
    assert {name: item.category for name, item in items.items()} == {
        "impro01_F000": "neutral",
        "impro01_M001": "happy",
        "impro01_M003": "angry",
    }


def test_outside_evaluators_give_shares_within_the_four(corpus: Path) -> None:
    """Neutral three, anger one; the actor's own sadness and the comment do not count."""
    items = _named(read_iemocap(corpus))
    assert items["impro01_F000"].votes == (0.75, 0.0, 0.0, 0.25)
    assert items["impro01_M001"].votes == (0.0, 1.0, 0.0, 0.0)


def test_the_summary_wins_over_shares_that_contradict_it(corpus: Path) -> None:
    """One vote for anger, two for sadness, but the corpus says anger."""
    assert _named(read_iemocap(corpus))["impro01_M003"].votes == (0.0, 0.0, 0.0, 1.0)


def test_the_summary_alone_can_be_asked_for(corpus: Path) -> None:
    """All votes for it."""
    assert _named(read_iemocap(corpus, votes="summary"))["impro01_F000"].votes == (
        1.0,
        0.0,
        0.0,
        0.0,
    )


def test_ratings_are_valence_activation_dominance_on_1_to_5(corpus: Path) -> None:
    """Means off the scale are clipped."""
    items = _named(read_iemocap(corpus))
    assert items["impro01_F000"].dimensions == (0.375, 0.375, 0.375)
    assert items["impro01_M001"].dimensions == (1.0, 0.75, 0.0)
    assert items["impro01_M003"].dimensions == (0.125, 0.75, 0.875)


def test_the_speaker_is_who_speaks_and_not_who_wears_the_markers(corpus: Path) -> None:
    """The letter of the utterance, not that of the dialogue."""
    items = read_iemocap(corpus)
    assert {item.speaker for item in items} == {"Ses01_F", "Ses01_M", "Ses02_F", "Ses02_M"}
    assert items[0].session == "Ses01"
    assert items[-1].id == "Ses02M_script01_1b_M003"
    assert items[-1].speaker == "Ses02_M"


def test_words_and_sound_are_found_by_the_utterance(corpus: Path) -> None:
    """An utterance without a transcription has no words."""
    items = _named(read_iemocap(corpus))
    assert items["impro01_F000"].text == "Excuse me."
    assert items["impro01_M003"].text is None
    assert items["impro01_F000"].audio == (
        corpus / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
    )


def test_the_others_can_be_kept_for_their_dimensions(corpus: Path) -> None:
    """Without a category."""
    items = _named(read_iemocap(corpus, categories="all"))
    assert len(items) == 5
    assert items["impro01_F002"].votes is None
    assert items["impro01_F002"].dimensions == (0.25, 0.625, 0.5)


def test_five_sessions_give_the_folds_of_the_literature(tmp_path: Path) -> None:
    """Ten folds of 8/1/1 speakers, five of 6/2/2."""
    for session in range(1, 6):
        name = f"Ses0{session}F_impro01"
        lay(
            tmp_path / f"Session{session}" / "dialog",
            {
                f"EmoEvaluation/{name}.txt": EVALUATION.replace("Ses01F_impro01", name),
                f"transcriptions/{name}.txt": TRANSCRIPT.replace("Ses01F_impro01", name),
            },
        )
    items = read_iemocap(tmp_path)
    sizes = [
        [len({item.speaker for item in part}) for part in (fold.train, fold.dev, fold.test)]
        for made in (leave_one_speaker_out(items), leave_one_session_out(items))
        for fold in made
    ]
    assert sizes == [[8, 1, 1]] * 10 + [[6, 2, 2]] * 5


def test_what_is_missing_or_wrong_is_named(corpus: Path, tmp_path: Path) -> None:
    """The folder, the file, the line."""
    with pytest.raises(ConfigError, match=r"no copy of IEMOCAP: it has no Session1 .*sail\.usc"):
        read_iemocap(tmp_path / "Session1")
    labels = corpus / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    labels.write_text("\n[6.2 - 8.2] Ses01F_impro01_F000 neu\n")
    with pytest.raises(ConfigError, match=r"Ses01F_impro01\.txt line 2 is no summary line"):
        read_iemocap(corpus)
    labels.write_text("")
    (corpus / "Session2/dialog/transcriptions/Ses02M_script01_1b.txt").unlink()
    with pytest.raises(ConfigError, match=r"Ses02M_script01_1b\.txt is missing"):
        read_iemocap(corpus)
