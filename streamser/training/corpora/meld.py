"""MELD: scenes of the series Friends, words with the emotion of who speaks them."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from streamser.training.corpora.reading import Categories, Source, find, one_hot, read_rows
from streamser.training.manifest import SPLITS, Item, Split

__all__ = ["SOURCE", "Splits", "read"]

Splits = Literal["own", "none"]

SOURCE: Final = Source("MELD", "https://github.com/declare-lab/MELD")
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


def read(root: Path, *, splits: Splits = "own", categories: Categories = "four") -> list[Item]:
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
        table = find(root, (f"{split}_sent_emo.csv", f"data/MELD/{split}_sent_emo.csv"), SOURCE)
        clips = _clips(root, split)
        columns = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
        for row in read_rows(table, columns):
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
                    votes=one_hot(_EMOTIONS.get(emotion)),
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
