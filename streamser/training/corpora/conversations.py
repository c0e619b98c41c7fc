"""Corpora of conversations: IEMOCAP, acted by five pairs, MELD, scenes of Friends, and MSP-Podcast.

The last is natural emotional speech, cut from podcasts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES
from streamser.training.corpora import reading
from streamser.training.manifest import SPLITS, Item, RatingScale, Split

IemocapVotes = Literal["raters", "summary"]

MeldSplits = Literal["own", "none"]

_IEMOCAP: Final = reading.Source("IEMOCAP", "https://sail.usc.edu/iemocap/ (on request)")
_IEMOCAP_SCALE: Final = RatingScale(1.0, 5.0)
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

MspVotes = Literal["raters", "consensus"]
MspTest = Literal["test1", "test2", "test3", "all"]

_MSP: Final = reading.Source(
    "MSP-Podcast", "https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html"
)
_MSP_SCALE: Final = RatingScale(1.0, 7.0)
_MSP_CLASSES: Final = {"N": "neutral", "H": "happy", "S": "sad", "A": "angry"}
_MSP_OTHERS: Final = frozenset("UFDCOX")
_MSP_PRIMARY: Final = {"neutral": "neutral", "happy": "happy", "sad": "sad", "angry": "angry"}
_MSP_SPLITS: Final[Mapping[str, Split]] = MappingProxyType(
    {
        "Train": "train",
        "Development": "dev",
        "Validation": "dev",
        "Test": "test",
        "Test1": "test",
        "Test2": "test",
        "Test3": "test",
    }
)
_MSP_DETAIL: Final = re.compile(r"\s*WORKER\w*\s*;\s*([^;]*);", re.IGNORECASE)


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
            words = _iemocap_words(session / "dialog" / "transcriptions" / path.name)
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
                        votes=_iemocap_label(category, turn.counts if votes == "raters" else {}),
                        dimensions=reading.rated(*turn.ratings, _IEMOCAP_SCALE, clip=True),
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


def _iemocap_label(category: str | None, counts: Mapping[str, float]) -> tuple[float, ...] | None:
    if category is None:
        return None
    votes = [counts.get(name, 0.0) for name in CATEGORIES]
    most = max(votes)
    if votes.count(most) > 1 or votes[CATEGORIES.index(category)] < most:
        return reading.one_hot(category)
    return tuple(vote / sum(votes) for vote in votes)


def _iemocap_words(path: Path) -> dict[str, str]:
    """Read what was said in a dialogue, by utterance."""
    if not path.exists():
        raise ConfigError(
            f"{path} is missing: {_IEMOCAP.title}'s transcriptions are read with its labels."
        )
    spoken = (_SPOKEN.match(line) for line in reading.read_text(path).splitlines())
    return {found[1]: found[2].strip() for found in spoken if found and found[2].strip()}


_MELD: Final = reading.Source("MELD", "https://github.com/declare-lab/MELD")
_MELD_EMOTIONS: Final = {"neutral": "neutral", "joy": "happy", "sadness": "sad", "anger": "angry"}
_MELD_OTHERS: Final = ("surprise", "fear", "disgust")
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
            if emotion not in (*_MELD_EMOTIONS, *_MELD_OTHERS):
                raise row.fault(f"Emotion {emotion!r} is not one of MELD's seven")
            text = row["Utterance"].translate(_MENDED).strip()
            clip = clips.get(f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}")
            if (emotion in _MELD_OTHERS and categories == "four") or not (text or clip):
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
                    votes=reading.one_hot(_MELD_EMOTIONS.get(emotion)),
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


def read_msp_podcast(
    root: Path,
    *,
    votes: MspVotes = "raters",
    categories: reading.Categories = "four",
    test: MspTest = "test1",
) -> list[Item]:
    """Read MSP-Podcast (Lotfian & Busso, IEEE Trans. Affective Computing 10, 2019).

    ``Labels/labels_consensus.csv`` (columns FileName, EmoClass, EmoAct, EmoVal, EmoDom, SpkrID,
    Split_Set), ``Labels/labels_detailed.csv`` where present, sound in ``Audios/`` or ``Audio/``,
    words in ``Transcripts/*.txt`` where present.

    Category: the consensus by plurality: N neutral, H happy, S sad, A angry. U (surprise), F, D,
    C (contempt), O (other) and X (no agreement) are left out, or kept without a category by
    ``categories="all"``. ``votes="raters"`` gives the shares of the raters' primary emotions
    within the four where there is a detailed file and it favours the same category; else, and
    with ``"consensus"``, the consensus has all votes.

    Dimensions: means of 1 to 7. Split: the corpus's partitions; of its test sets the one named
    by ``test`` (before version 1.8 there is one, ``Test1``), the other test sets left out. The
    labels of Test3 are not published: its rows may have none.

    Speaker: ``SpkrID``. An ``Unknown`` becomes one speaker for each recording and partition
    (``unknown-0153-train``): two recordings may be by the same person, which nobody knows.

    Raises ``ConfigError`` for missing files, and rows that are not as described.
    """
    table = reading.find(root, ("Labels/labels_consensus.csv", "labels_consensus.csv"), _MSP)
    audio = reading.find(root, ("Audios", "Audio"), _MSP)
    detailed = table.with_name("labels_detailed.csv")
    counts = _primary_votes(detailed) if votes == "raters" and detailed.exists() else {}
    columns = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Split_Set")
    items = []
    for row in reading.read_rows(table, columns):
        split = row.split("Split_Set", _MSP_SPLITS)
        if split == "test" and test != "all" and row["Split_Set"] not in ("Test", test.title()):
            continue
        category = _msp_category(row)
        if category is None and categories == "four":
            continue
        name = row["FileName"]
        items.append(
            Item(
                id=Path(name).stem,
                corpus="msp-podcast",
                speaker=_msp_speaker(row, split),
                split=split,
                audio=audio / name,
                text=_msp_words(root / "Transcripts" / f"{Path(name).stem}.txt"),
                votes=_msp_label(category, counts.get(name, {})),
                dimensions=row.rated("EmoVal", "EmoAct", "EmoDom", scale=_MSP_SCALE),
            )
        )
    if not items:
        raise ConfigError(f"{table} has no row of the partitions Train, Development and {test}.")
    return items


def _msp_category(row: reading.Row) -> str | None:
    label = row["EmoClass"].strip()
    if label and label not in _MSP_CLASSES and label not in _MSP_OTHERS:
        raise row.fault(
            f"EmoClass {label!r} is none of {', '.join((*_MSP_CLASSES, *sorted(_MSP_OTHERS)))}"
        )
    return _MSP_CLASSES.get(label)


def _msp_speaker(row: reading.Row, split: Split) -> str:
    if row["SpkrID"].strip().casefold() not in ("unknown", ""):
        return row["SpkrID"].strip()
    # MSP-PODCAST_0153_0027.wav: recording, turn.
    recording = Path(row["FileName"]).stem.split("_")[1:2]
    return "-".join(("unknown", *recording, split))


def _msp_label(category: str | None, counts: Mapping[str, float]) -> tuple[float, ...] | None:
    shares = reading.vote_shares(counts) if counts and category else None
    hard = reading.one_hot(category)
    if shares is None or hard is None:
        return hard
    return shares if shares.index(max(shares)) == hard.index(1.0) else hard


def _primary_votes(path: Path) -> Mapping[str, Mapping[str, float]]:
    """Count the raters' primary emotions by file, in either form that releases have had."""
    counts: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in reading.read_rows(path, ("FileName",)):
        if "EmoClass_Major" in row.cells:
            emotion = row["EmoClass_Major"]
        elif "EmoDetail" in row.cells:
            found = _MSP_DETAIL.match(row["EmoDetail"])
            if found is None:
                raise row.fault("EmoDetail is not `WORKER…; primary; secondary; A:…; V:…; D:…`")
            emotion = found[1]
        else:
            raise row.fault("neither EmoClass_Major nor EmoDetail")
        emotion = emotion.strip().casefold()
        counts[row["FileName"]][_MSP_PRIMARY.get(emotion, emotion)] += 1
    return counts


def _msp_words(path: Path) -> str | None:
    return reading.read_text(path).strip() or None if path.exists() else None
