"""Corpora of dialogues: IEMOCAP, acted by five pairs of actors, and MELD, scenes of Friends."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES
from streamser.training.corpora import reading
from streamser.training.manifest import SPLITS, Item, RatingScale, Split

IemocapVotes = Literal["raters", "summary"]

MeldSplits = Literal["own", "none"]

_IEMOCAP: Final = reading.Source("IEMOCAP", "https://sail.usc.edu/iemocap/ (on request)")
_SCALE: Final = RatingScale(1.0, 5.0)
_SUMMARY: Final = {"neu": "neutral", "hap": "happy", "exc": "happy", "sad": "sad", "ang": "angry"}
_RATED: Final = {
    "neutral": "neutral",
    "neutral state": "neutral",
    "happiness": "happy",
    "excited": "happy",
    "sadness": "sad",
    "anger": "angry",
}
_TURN: Final = re.compile(
    r"\[\s*([\d.]+) - ([\d.]+)\]\s+(Ses\d\d[FM]_\w+_([FM])\w+)\s+(\w+)\s+"
    r"\[\s*(\d+(?:\.\d+)?),\s*(\d+(?:\.\d+)?),\s*(\d+(?:\.\d+)?)\]"
)
# C-E2 is an outside evaluator; C-F1 and C-M1 are the actors on themselves.
_VOTE: Final = re.compile(r"C-E\w*:\s*([^()]*)")
_SPOKEN: Final = re.compile(r"(Ses\d\d[FM]_\w+_[FM]\w+)\s+\[[\d.]+-[\d.]+\]:?\s*(.*)")


class _IemocapTurn(NamedTuple):
    id: str
    gender: str
    label: str
    ratings: tuple[float, float, float]
    counts: Mapping[str, float]


def read_iemocap(
    root: Path, *, votes: IemocapVotes = "raters", categories: reading.Categories = "four"
) -> list[Item]:
    """Read IEMOCAP (Busso et al., LREC 2008): its full release, or any of its sessions.

    ``SessionN/dialog/EmoEvaluation/*.txt`` (labels), ``dialog/transcriptions/*.txt`` (words),
    ``sentences/wav/DIALOG/UTTERANCE.wav``.

    Category: that of the summary line, which is the evaluators' majority: ``neu`` neutral,
    ``hap`` and ``exc`` happy, ``sad``, ``ang``; the customary 5,531 utterances (1,708, 1,636,
    1,084, 1,103). The others (``fru``, ``sur``, ``fea``, ``dis``, ``oth``, and ``xxx`` without a
    majority) are left out, or kept without a category by ``categories="all"``. ``votes="raters"``
    gives the shares of the outside evaluators' votes (lines ``C-E…``; an evaluator may give
    several; the actors' own are not counted) within the four; where these do not favour the
    summary's category, and with ``"summary"``, the summary has all votes. So the hard label is
    always the summary's.

    Dimensions: the summary's means, in its order valence, activation, dominance, on 1 to 5. A
    few lie outside, from .5 to 5.5, and are clipped. Split: none; see ``folds``. Speaker: session
    and gender of who speaks, such as ``Ses01_F``; the letter before the dialogue's name only says
    who wore the markers.

    Raises ``ConfigError`` for a folder without sessions, and files that are not as described.
    """
    reading.find(root, ("Session1", "Session2", "Session3", "Session4", "Session5"), _IEMOCAP)
    items = []
    for session in sorted(path for path in root.glob("Session[1-5]") if path.is_dir()):
        folder = reading.find(session, ("dialog/EmoEvaluation",), _IEMOCAP)
        for path in _texts(folder):
            words = _words(session / "dialog" / "transcriptions" / path.name)
            for turn in _turns(path):
                category = _SUMMARY.get(turn.label)
                if category is None and categories == "four":
                    continue
                items.append(
                    Item(
                        id=turn.id,
                        corpus="iemocap",
                        speaker=f"{turn.id[:5]}_{turn.gender}",
                        session=turn.id[:5],
                        audio=session / "sentences" / "wav" / path.stem / f"{turn.id}.wav",
                        text=words.get(turn.id),
                        votes=_label(category, turn.counts if votes == "raters" else {}),
                        dimensions=reading.rated(*turn.ratings, _SCALE, clip=True),
                    )
                )
    if not items:
        raise ConfigError(f"{root}: no utterance in Session*/dialog/EmoEvaluation/*.txt.")
    return items


def _texts(folder: Path) -> list[Path]:
    # The release carries macOS's ._ files, which are no text.
    return sorted(path for path in folder.glob("*.txt") if not path.name.startswith("."))


def _turns(path: Path) -> Iterator[_IemocapTurn]:
    """Read the summary lines, each with the evaluators' lines that follow it."""
    found = None
    counts: dict[str, float] = defaultdict(float)
    for number, line in enumerate(reading.read_text(path).splitlines(), 1):
        if line.startswith("["):
            if found is not None:
                yield _rated_turn(found, counts)
            found = _TURN.match(line)
            if found is None:
                raise ConfigError(
                    f"{path} line {number} is no summary line "
                    "`[start - end] turn label [valence, activation, dominance]`."
                )
            counts = defaultdict(float)
        elif vote := _VOTE.match(line):
            for name in vote[1].split(";"):
                if name.strip():
                    emotion = name.strip().casefold()
                    counts[_RATED.get(emotion, emotion)] += 1
    if found is not None:
        yield _rated_turn(found, counts)


def _rated_turn(found: re.Match[str], counts: Mapping[str, float]) -> _IemocapTurn:
    valence, activation, dominance = (float(found[group]) for group in (6, 7, 8))
    return _IemocapTurn(found[3], found[4], found[5], (valence, activation, dominance), counts)


def _label(category: str | None, counts: Mapping[str, float]) -> tuple[float, ...] | None:
    if category is None:
        return None
    votes = [counts.get(name, 0.0) for name in CATEGORIES]
    most = max(votes)
    if votes.count(most) > 1 or votes[CATEGORIES.index(category)] < most:
        return reading.one_hot(category)
    return tuple(vote / sum(votes) for vote in votes)


def _words(path: Path) -> dict[str, str]:
    """Read what was said in a dialogue, by utterance."""
    if not path.exists():
        raise ConfigError(
            f"{path} is missing: {_IEMOCAP.title}'s transcriptions are read with its labels."
        )
    spoken = (_SPOKEN.match(line) for line in reading.read_text(path).splitlines())
    return {found[1]: found[2].strip() for found in spoken if found and found[2].strip()}


_MELD: Final = reading.Source("MELD", "https://github.com/declare-lab/MELD")
_EMOTIONS: Final = {"neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry"}
_OTHERS: Final = ("surprise", "fear", "disgust")
_FOLDERS: Final = {
    "train": ("train_splits", "train"),
    "dev": ("dev_splits_complete", "dev"),
    "test": ("output_repeated_splits_test", "test"),
}
_SOUND: Final = (".wav", ".flac", ".mp4")
# Windows-1252 quotes that became control characters on their way into UTF-8.
_MENDED: Final = str.maketrans(
    {0x85: "…", 0x91: "‘", 0x92: "’", 0x93: "“", 0x94: "”", 0x96: "–", 0x97: "—"}
)


def read_meld(
    root: Path, *, splits: MeldSplits = "own", categories: reading.Categories = "four"
) -> list[Item]:
    """Read MELD (Poria et al., ACL 2019): words, and sound where it has been unpacked.

    ``train_sent_emo.csv``, ``dev_sent_emo.csv``, ``test_sent_emo.csv`` at the top or in
    ``data/MELD/``; clips ``diaD_uttU`` (.wav, .flac or the original .mp4) in ``train_splits/``,
    ``dev_splits_complete/`` and ``output_repeated_splits_test/``, or ``train/``, ``dev/``,
    ``test/``. An utterance whose clip is not there is kept as words.

    Category: neutral, joy (happy), sadness (sad), anger (angry); surprise, fear and disgust are
    none of the four: left out, or kept without a category by ``categories="all"``. No
    dimensions. The session is the dialogue.

    MELD's splits part dialogues, not people: the six friends speak in all three. A manifest
    refuses a speaker in two splits, so the choice has to be made in the open. ``splits="own"``
    keeps MELD's, as its published figures do, and records the same actor as another speaker in
    each (``train/Ross``, ``test/Ross``): such figures are *not* speaker-independent.
    ``splits="none"`` records ``Ross`` and no split, for folds by speaker (see ``folds``), where
    names such as ``All`` or ``Woman`` are not one person.

    Raises ``ConfigError`` for missing files and unknown emotions.
    """
    items = []
    for split in SPLITS:
        table = reading.find(
            root, (f"{split}_sent_emo.csv", f"data/MELD/{split}_sent_emo.csv"), _MELD
        )
        clips = _clips(root, split)
        columns = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
        for row in reading.read_rows(table, columns):
            emotion = row["Emotion"].strip().casefold()
            if emotion not in (*_EMOTIONS, *_OTHERS):
                raise row.fault(f"Emotion {emotion!r} is not one of MELD's seven")
            text = row["Utterance"].translate(_MENDED).strip()
            clip = clips.get(f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}")
            if (emotion in _OTHERS and categories == "four") or not (text or clip):
                continue
            own = splits == "own"
            speaker = row["Speaker"].translate(_MENDED).strip()
            items.append(
                Item(
                    id=f"meld-{split}-{row['Dialogue_ID']}-{row['Utterance_ID']}",
                    corpus="meld",
                    speaker=f"{split}/{speaker}" if own else speaker,
                    session=f"{split}-{row['Dialogue_ID']}",
                    split=split if own else "",
                    audio=clip,
                    text=text or None,
                    votes=reading.one_hot(_EMOTIONS.get(emotion)),
                )
            )
    return items


def _clips(root: Path, split: Split) -> dict[str, Path]:
    """Find the clips of a split by dialogue and utterance; a decoded one before its video."""
    found: dict[str, Path] = {}
    for name in _FOLDERS[split]:
        for suffix in _SOUND:
            for path in sorted((root / name).glob(f"dia*_utt*{suffix}")):
                found.setdefault(path.stem, path)
    return found
