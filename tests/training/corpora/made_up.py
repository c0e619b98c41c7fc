"""Whole corpora of tones, laid out as their makers do: enough to train on, in a second."""

from __future__ import annotations

from pathlib import Path

import soundfile

from streamser.audio.clip import SAMPLE_RATE
from streamser.taxonomy import CATEGORIES
from tests.training.corpora.trees import lay
from tests.training.tiny import voice

__all__ = ["lay_iemocap", "lay_msp_podcast"]

_WORDS = ("the table stands here", "what a lovely day", "he is gone now", "get out of here")


def lay_iemocap(root: Path) -> Path:
    """Five sessions of two actors; each says a sentence of each category, twice."""
    labels = ("neu", "hap", "sad", "ang")
    for session in range(1, 6):
        dialogue = f"Ses0{session}F_impro01"
        folder = root / f"Session{session}"
        lines, words = [], []
        for number in range(16):
            place, who = number % 4, "FM"[number // 8]
            name = f"{dialogue}_{who}{number:03d}"
            lines.append(
                f"[{number}.0000 - {number}.5000]\t{name}\t{labels[place]}"
                f"\t[{1 + place}.5000, {4 - place}.2500, {2 + place % 2}.0000]\nC-E2:\tOther;\t()\n"
            )
            words.append(f"{name} [00{number}.0000-00{number}.5000]: {_WORDS[place]} {number}")
            _sound(folder / "sentences" / "wav" / dialogue / f"{name}.wav", place, number)
        texts = {
            f"dialog/EmoEvaluation/{dialogue}.txt": "\n".join(lines),
            f"dialog/transcriptions/{dialogue}.txt": "\n".join(words),
        }
        lay(folder, texts)
    return root


def lay_msp_podcast(root: Path) -> Path:
    """Two speakers for each partition, with four utterances each."""
    rows = ["FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"]
    for part, split in enumerate(("Train", "Train", "Development", "Test1", "Test2")):
        for number in range(8):
            place = number % 4
            name = f"MSP-PODCAST_{part:04d}_{number:04d}"
            rows.append(
                f"{name}.wav,{'NHSA'[place]},{2 + place},{5 - place},4.5,"
                f"{10 * part + number // 4},Male,{split}"
            )
            lay(root / "Transcripts", {f"{name}.txt": f"{_WORDS[place]} {number}\n"})
            _sound(root / "Audios" / f"{name}.wav", place, number)
    lay(root, {"Labels/labels_consensus.csv": "\n".join(rows) + "\n"})
    return root


def _sound(path: Path, place: int, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(CATEGORIES[place], seed, 0.3), SAMPLE_RATE)
