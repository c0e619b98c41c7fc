"""The utterances that windows are measured with, and how words of them are compared."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import ConfigError

__all__ = ["SETS", "Said", "bare", "beginnings", "joined", "load", "noisy"]

SETS: Final = ("en", "en-noise", "en-joined", "en-joined-noise", "de", "de-noise")
_SNR_DB: Final = 10.0
_PAUSE: Final = SAMPLE_RATE * 3 // 10
_JOINED_S: Final = (6.0, 20.0)
_MISLABELLED: Final = frozenset({"sb_spk2_snt3", "sb_spk2_snt5"})
"""Clips of ``speech`` that say another sentence than their labels: every model hears the same."""
_NUMBERS: Final = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf",
}


class Said(msgspec.Struct, frozen=True, eq=False):
    """Hold an utterance at 16 kHz, what is said in it, and in which language."""

    samples: Samples
    words: tuple[str, ...]
    language: str

    @property
    def seconds(self) -> float:
        """Return how long it is."""
        return len(self.samples) / SAMPLE_RATE


def load(name: str, data: Path, german: int) -> list[Said]:
    """Return a set of ``SETS`` from the folder of recordings.

    ``german``: how many of EmoDB's clips, taken evenly. Raises ``ConfigError`` where a
    recording is missing.
    """
    try:
        language, _, kind = name.partition("-")
        clean = _english(data / "speech") if language == "en" else _german(data / "emodb", german)
        if kind.startswith("joined"):
            clean = joined(clean, seed=1)
        return noisy(clean, _noises(data / "noise_rir"), seed=0) if "noise" in kind else clean
    except (OSError, soundfile.LibsndfileError) as error:
        raise ConfigError(f"the recordings of {name!r} are not all in {data}: {error}") from error


def bare(text: str, language: str) -> tuple[str, ...]:
    """Split a transcript into words in lower case, without punctuation, small numbers spelt out."""
    numbers = _NUMBERS[language].split()
    words = re.sub(r"[^\w\s]", "", text.lower().replace("-", " ")).split()
    return tuple(
        numbers[int(word)] if word.isascii() and word.isdigit() and int(word) < len(numbers)
        else word
        for word in words
    )  # fmt: skip


def joined(clips: Sequence[Said], seed: int) -> list[Said]:
    """Join clips, in an order drawn by the seed, into utterances of 6 to 20 s with short pauses."""
    order = np.random.default_rng(seed).permutation(len(clips))
    utterances: list[Said] = []
    parts: list[Said] = []
    for clip in (clips[i] for i in order):
        if parts and sum(part.seconds for part in parts) + clip.seconds > _JOINED_S[1]:
            utterances.append(_one_of(parts))
            parts = []
        parts.append(clip)
        # Every length in between, not the longest alone.
        goal = _JOINED_S[0] + (len(utterances) * 5.0) % (_JOINED_S[1] - _JOINED_S[0])
        if sum(part.seconds for part in parts) >= goal:
            utterances.append(_one_of(parts))
            parts = []
    return [*utterances, _one_of(parts)] if parts else utterances


def noisy(clips: Sequence[Said], noises: Sequence[Samples], seed: int) -> list[Said]:
    """Add noise to clips, in turn from each recording, at 10 dB below the clip."""
    rng = np.random.default_rng(seed)
    loud: list[Said] = []
    for number, clip in enumerate(clips):
        noise = noises[number % len(noises)]
        places = int(rng.integers(len(noise))) + np.arange(len(clip.samples))
        part = np.take(noise, places, mode="wrap")
        power = float(np.mean(np.square(clip.samples))) / max(float(np.mean(np.square(part))), 1e-9)
        mixed = clip.samples + np.sqrt(power / 10 ** (_SNR_DB / 10)) * part
        mixed = mixed / max(1.0, float(np.abs(mixed).max()))
        loud.append(Said(mixed.astype(np.float32), clip.words, clip.language))
    return loud


def beginnings(clips: Sequence[Said], lengths_s: Sequence[float]) -> list[Said]:
    """Cut clips off where they would be when partials are heard; their words are not known."""
    return [
        Said(clip.samples[: round(seconds * SAMPLE_RATE)], (), clip.language)
        for clip in clips
        for seconds in lengths_s
        if seconds < clip.seconds
    ]


def _one_of(parts: Sequence[Said]) -> Said:
    pause = np.zeros(_PAUSE, np.float32)
    pieces = [piece for part in parts for piece in (part.samples, pause)][:-1]
    words = tuple(word for part in parts for word in part.words)
    return Said(np.concatenate(pieces), words, parts[0].language)


def _english(folder: Path) -> list[Said]:
    return [
        Said(_read(folder / row["path"]), bare(row["text"], "en"), "en")
        for row in _rows(folder)
        if row["text"].strip() and Path(row["path"]).stem not in _MISLABELLED
    ]


def _german(folder: Path, most: int) -> list[Said]:
    rows = [row for row in _rows(folder) if row["source"] == "original"]
    rows = rows[:: max(1, len(rows) // most)][:most]
    return [Said(_read(folder / row["path"]), bare(row["text"], "de"), "de") for row in rows]


def _noises(folder: Path) -> list[Samples]:
    paths = [row["path"] for row in _rows(folder) if "rir" not in Path(row["path"]).stem]
    return [_read(folder / path) for path in paths]


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _read(path: Path) -> Samples:
    samples, _ = soundfile.read(path, dtype="float32")
    return np.asarray(samples, np.float32)
