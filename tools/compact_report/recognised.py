"""What a recogniser's errors do to the emotion in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamser.audio.clip import Clip
from streamser.emotion.model import Prediction
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from streamser.training.folds import normalise
from tools.compact_report.bench import Bench
from tools.compact_report.clips import Corpus, Labelled
from tools.compact_report.records import Figure, Table
from tools.compact_report.texts import read_texts

__all__ = ["recognised_words", "word_errors"]


def recognised_words(bench: Bench, corpus: Corpus) -> Table:
    """Compare recognised words with transcripts: errors, and what the model makes of both.

    Raises ``ModelError`` without the extra ``words``.
    """
    clips = [clip for clip in corpus.clips if clip.item.text]
    heard = _recognise(bench, clips)
    gold = [clip.item.text or "" for clip in clips]
    errors = [word_errors(said, found) for said, found in zip(gold, heard, strict=True)]
    wrong, said = (sum(column) for column in zip(*errors, strict=True)) if errors else (0, 0)
    # Without words there is nothing that could agree.
    there = [place for place, text in enumerate(heard) if text.strip()]
    pairs = [
        _compared(*each)
        for each in zip(
            read_texts(bench, [gold[place] for place in there]),
            read_texts(bench, [heard[place] for place in there]),
            strict=True,
        )
    ]
    agreed, apart = (
        Figure(value=float(np.mean(column)), ships=column[0]) for column in zip(*pairs, strict=True)
    )
    return Table(
        "Recognised words against transcripts, words alone",
        ("recogniser", "clips", "without words", "WER", "same category", "valence differs by"),
        (
            (
                "Whisper tiny.en",
                len(clips),
                len(clips) - len(there),
                Figure(value=wrong / said if said else None),
                agreed if there else "–",
                apart if there else "–",
            ),
        ),
    )


def word_errors(truth: str, heard: str) -> tuple[int, int]:
    """Return the Levenshtein distance in words, and the number of words of the truth."""
    expected, got = normalise(truth).split(), normalise(heard).split()
    row = list(range(len(got) + 1))
    for i, word in enumerate(expected, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            nearest = min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
            diagonal, row[j] = row[j], nearest
    return row[-1], len(expected)


def _recognise(bench: Bench, clips: Sequence[Labelled]) -> list[str]:
    # In one number format, so that another run hears the same.
    options = WhisperOptions(model="tiny.en", device="cpu", compute_type="int8", offline=True)
    transcriber = WhisperTranscriber(options)
    texts = []
    for number, clip in enumerate(clips):
        samples = bench.samples(clip.item)
        said = transcriber.transcribe([Clip(clip.item.speaker, number, 0, samples, final=True)])
        texts.append(said[0].text)
    return texts


def _compared(gold: Sequence[Prediction], heard: Sequence[Prediction]) -> tuple[float, float]:
    """Return how often the likeliest category is the same, and how far valence is apart."""
    if not gold:
        return float("nan"), float("nan")
    same = [
        max(one.scores, key=one.scores.__getitem__) == max(two.scores, key=two.scores.__getitem__)
        for one, two in zip(gold, heard, strict=True)
    ]
    apart = [
        abs((one.dimensions.valence or 0.0) - (two.dimensions.valence or 0.0))
        for one, two in zip(gold, heard, strict=True)
    ]
    return float(np.mean(same)), float(np.mean(apart))
