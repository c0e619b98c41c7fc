"""Measure the detection of languages: of sentences, of short words, alone and in a talk.

    python -m tools.measure_language --whisper DIR --data DIR [--out FILE]

The folder of the data has emodb/ (German) and speech/ (English). From each German sentence a
piece of .4 to 1 s is cut anywhere. Each clip is a session of its own first; then the pieces come
after one other sentence of the talk; then an English sentence after three German ones, and a
German one again.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber

__all__ = ["main"]

_BEFORE: Final = 3


def sentences(folder: Path, count: int, rng: np.random.Generator) -> list[Samples]:
    """Return some of the clips with a text, chosen by chance."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        # Of EmoDB, those that are whole.
        rows = [
            row["path"]
            for row in csv.DictReader(file)
            if row["text"].strip() and not row["source"].startswith("cropped")
        ]
    chosen = rng.choice(rows, min(count, len(rows)), replace=False)
    return [soundfile.read(folder / path, dtype="float32")[0] for path in chosen]


def piece_of(sentence: Samples, rng: np.random.Generator) -> Samples:
    """Cut .4 to 1 s from anywhere in a sentence."""
    length = int(rng.uniform(0.4, 1.0) * SAMPLE_RATE)
    begin = int(rng.integers(max(1, len(sentence) - length)))
    return sentence[begin : begin + length]


def languages(
    transcriber: WhisperTranscriber, talks: Sequence[Sequence[Samples]]
) -> list[list[str | None]]:
    """Return the language of each utterance of each talk."""
    found = []
    for number, talk in enumerate(talks):
        clips = [Clip(str(number), i, 0, sound, final=True) for i, sound in enumerate(talk, 1)]
        found.append([heard.language for heard in transcriber.transcribe(clips)])
        transcriber.forget(str(number))
    return found


def wrong(found: Sequence[Sequence[str | None]], place: int, language: str) -> str:
    """Word how many utterances at a place of their talks were taken for another language."""
    missed = sum(talk[place] != language for talk in found)
    return f"{missed} of {len(found)}"


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--whisper", required=True, metavar="DIR", help="a multilingual model")
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--sentences", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None, help="else the table is printed")
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    german = sentences(given.data / "emodb", given.sentences, rng)
    english = sentences(given.data / "speech", given.sentences // 2, rng)
    pieces = [piece_of(sentence, rng) for sentence in german]
    options = WhisperOptions(
        model=given.whisper, compute_type="int8", threads=given.threads, offline=True
    )
    transcriber = WhisperTranscriber(options)
    alone = languages(transcriber, [[piece] for piece in pieces])
    # Each after the sentence that follows its own in the list: not after what it was cut from.
    after = languages(
        transcriber, [[german[i - len(german) + 1], piece] for i, piece in enumerate(pieces)]
    )
    switched = languages(
        transcriber,
        [
            [*(german[(i + k) % len(german)] for k in range(_BEFORE)), sentence, german[i]]
            for i, sentence in enumerate(english)
        ],
    )
    lines = [
        "# Detection of languages, measured",
        "",
        f"`python -m tools.measure_language --sentences {given.sentences} --seed {given.seed}`,"
        f" {transcriber.name}, int8.",
        "",
        "| taken for another language | utterances |",
        "|---|---|",
        f"| a German sentence alone | {wrong(after, 0, 'de')} |",
        f"| a piece of one, .4 to 1 s, alone | {wrong(alone, 0, 'de')} |",
        f"| such a piece after one German sentence | {wrong(after, 1, 'de')} |",
        f"| an English sentence after three German ones | {wrong(switched, -2, 'en')} |",
        f"| a German sentence after that | {wrong(switched, -1, 'de')} |",
    ]
    text = "\n".join(lines) + "\n"
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
