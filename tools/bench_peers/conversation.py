"""Conversations whose words and times are known: recorded clips, joined with pauses."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from tools.bench_peers.errors import BenchError
from tools.bench_peers.words import spoken_words

__all__ = [
    "FLOOR",
    "Clip",
    "Conversation",
    "Plan",
    "Utterance",
    "converse",
    "read_clips",
    "speech_bounds",
]

LEFT_OUT: Final = {
    "ps_cards": "single commands of two or three words, far from a conversation",
}
"""Speakers left out, and why."""
MISLABELLED: Final = frozenset({"audio/sb_spk2_snt5.flac"})
"""The label is the text of another recording."""
_WINDOW = SAMPLE_RATE // 50
_RANGE_DB = 25.0
_MARGIN = SAMPLE_RATE // 5
_LEAD_S = 1.0
FLOOR = 10 ** (-66 / 20)
"""A faint noise under all of it, as every microphone has: RMS, re full scale."""


class Clip(msgspec.Struct, frozen=True, eq=False):
    """Hold a recording, cut to its speech and 200 ms around: float32, 16 kHz, and its words.

    ``begin`` and ``end`` are the samples between which it is spoken.
    """

    name: str
    samples: Samples
    begin: int
    end: int
    text: str


class Utterance(msgspec.Struct, frozen=True):
    """Hold what is said from when to when, in seconds of the stream."""

    clip: str
    start_s: float
    end_s: float
    words: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Say how conversations are made; pauses in seconds, drawn evenly between the two."""

    seed: int
    seconds: float
    pause_s: tuple[float, float] = (0.8, 2.5)
    stagger_s: float = 4.0


class Conversation(msgspec.Struct, frozen=True, eq=False):
    """Hold one stream: PCM16 at 16 kHz, what is said in it, and how late it begins, in s."""

    pcm: bytes
    utterances: tuple[Utterance, ...]
    delay_s: float

    @property
    def seconds(self) -> float:
        """Return how long it is."""
        return len(self.pcm) / 2 / SAMPLE_RATE


def read_clips(data: Path) -> list[Clip]:
    """Read the recordings of ``data/speech`` whose words are known, by name.

    Raises ``BenchError`` where the folder is not there, or holds none.
    """
    labels = data / "speech" / "labels.csv"
    try:
        with labels.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError:
        raise BenchError(
            f"{labels} cannot be read: name the folder of recordings with --data DIR or"
            " STREAMSER_DATA (it has speech/labels.csv and the clips)"
        ) from None
    wanted = [
        row
        for row in rows
        if row["text"].strip() and row["speaker"] not in LEFT_OUT and row["path"] not in MISLABELLED
    ]
    if not wanted:
        raise BenchError(f"{labels} names no clip with a transcript")
    return [
        _clip(labels.parent / row["path"], row["text"])
        for row in sorted(wanted, key=lambda row: row["path"])
    ]


def converse(clips: Sequence[Clip], plan: Plan, stream: int) -> Conversation:
    """Make the conversation of a stream: always the same for a seed, another for each stream.

    Every clip comes once before any comes again. It ends with the first clip that ends after
    ``plan.seconds``.
    """
    draw = np.random.default_rng([plan.seed, stream])
    pieces = [_floor(draw, round(_LEAD_S * SAMPLE_RATE))]
    length = len(pieces[0])
    utterances: list[Utterance] = []
    deck: list[int] = []
    while length < plan.seconds * SAMPLE_RATE:
        deck = deck or [int(each) for each in draw.permutation(len(clips))]
        clip = clips[deck.pop()]
        utterances.append(
            Utterance(
                clip=clip.name,
                start_s=(length + clip.begin) / SAMPLE_RATE,
                end_s=(length + clip.end) / SAMPLE_RATE,
                words=tuple(spoken_words(clip.text)),
            )
        )
        pause = _floor(draw, round(draw.uniform(*plan.pause_s) * SAMPLE_RATE))
        pieces += [clip.samples, pause]
        length += len(clip.samples) + len(pause)
    # The last pause belongs to the silence that follows.
    sound = np.concatenate(pieces[:-1])
    return Conversation(
        pcm=(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes(),
        utterances=tuple(utterances),
        delay_s=float(draw.uniform(0, plan.stagger_s)),
    )


def speech_bounds(samples: Samples) -> tuple[int, int]:
    """Return where speech begins and ends: windows of 20 ms within 25 dB of the loudest."""
    count = len(samples) // _WINDOW
    windows = samples[: count * _WINDOW].reshape(count, _WINDOW)
    level = 10 * np.log10(np.mean(np.square(windows, dtype=np.float64), axis=1) + 1e-12)
    loud = np.flatnonzero(level > level.max() - _RANGE_DB)
    return int(loud[0]) * _WINDOW, (int(loud[-1]) + 1) * _WINDOW


def _clip(path: Path, text: str) -> Clip:
    try:
        samples, rate = soundfile.read(path, dtype="float32")
    except (OSError, soundfile.LibsndfileError) as error:
        raise BenchError(f"{path} cannot be read: {error}") from None
    if rate != SAMPLE_RATE or samples.ndim != 1:
        raise BenchError(f"{path} is not 16 kHz mono")
    begin, end = speech_bounds(samples)
    first = max(0, begin - _MARGIN)
    return Clip(path.stem, samples[first : end + _MARGIN], begin - first, end - first, text)


def _floor(draw: np.random.Generator, length: int) -> Samples:
    return (draw.standard_normal(length) * FLOOR).astype(np.float32)
