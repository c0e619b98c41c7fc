"""How well voices are told apart: equal error rates over pairs of utterances."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import ConfigError
from streamser.speech.speakers import SpeakerEmbedder

__all__ = [
    "LENGTHS",
    "PAIRS",
    "EqualError",
    "Spoken",
    "equal_error",
    "judge",
    "load",
    "neutral",
    "shortened",
]

LENGTHS: Final[Mapping[str, float | None]] = {"whole": None, "2 s": 2.0, "1 s": 1.0}
_AUDIBLE_DB: Final = 40.0
_FRAME: Final = 160
_NEUTRAL: Final = frozenset({"neutral", "calm"})
_CORPORA: Final = {"EmoDB": "emodb", "RAVDESS 1-12": "ravdess_eval"}

Pairs = npt.NDArray[np.bool_]
"""Which pairs of utterances count, [n, n]."""


class Spoken(msgspec.Struct, frozen=True, eq=False):
    """Hold what of a clip is audible at 16 kHz, whose it is, and what was played."""

    samples: Samples
    speaker: str
    emotion: str


def _any(clips: Sequence[Spoken]) -> Pairs:
    return np.ones((len(clips), len(clips)), np.bool_)


def _same(clips: Sequence[Spoken]) -> Pairs:
    emotions = np.array([clip.emotion for clip in clips])
    same: Pairs = emotions[:, None] == emotions[None]
    return same


def _neutral(clips: Sequence[Spoken]) -> Pairs:
    calm = np.array([clip.emotion in _NEUTRAL for clip in clips])
    both: Pairs = calm[:, None] & calm[None]
    return both


PAIRS: Final[Mapping[str, Callable[[Sequence[Spoken]], Pairs]]] = {
    "neutral": _neutral,
    "same emotion": _same,
    "any emotion": _any,
}


def load(data: Path) -> dict[str, list[Spoken]]:
    """Return the clips of each corpus; raises ``ConfigError`` where a recording is missing."""
    try:
        return {name: list(_read(data / folder)) for name, folder in _CORPORA.items()}
    except (OSError, soundfile.LibsndfileError) as error:
        raise ConfigError(f"the recordings are not all in {data}: {error}") from error


def shortened(clips: Sequence[Spoken], seconds: float | None) -> list[Spoken]:
    """Return the middle of each clip, at most so many seconds; ``None``: all of it."""
    if seconds is None:
        return list(clips)
    return [
        msgspec.structs.replace(clip, samples=_middle(clip.samples, round(seconds * SAMPLE_RATE)))
        for clip in clips
    ]


class EqualError(NamedTuple):
    """Tell the rate, in [0, 1], and the score from which on pairs pass for one speaker's there."""

    rate: float
    threshold: float


def neutral(clips: Sequence[Spoken]) -> list[Spoken]:
    """Return those without emotion, or calm."""
    return [clip for clip in clips if clip.emotion in _NEUTRAL]


def judge(embedder: SpeakerEmbedder, clips: Sequence[Spoken]) -> dict[str, EqualError]:
    """Return the equal error of each kind of ``PAIRS``."""
    voices = np.stack(embedder.embed([clip.samples for clip in clips]))
    speakers = np.array([clip.speaker for clip in clips])
    once = np.triu(np.ones((len(clips), len(clips)), np.bool_), k=1)
    scores, same = voices @ voices.T, speakers[:, None] == speakers[None]
    found = {}
    for name, choose in PAIRS.items():
        counted = once & choose(clips)
        found[name] = equal_error(scores[counted & same], scores[counted & ~same])
    return found


def equal_error(own: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> EqualError:
    """Find the rate at which as many own pairs are missed as others are let through.

    ``own`` and ``others`` are scores of pairs of one speaker, and of two; higher is more alike.
    """
    scores = np.concatenate([own, others])
    order = np.argsort(scores, kind="stable")
    is_own = np.concatenate([np.ones(len(own)), np.zeros(len(others))])[order]
    missed = np.cumsum(is_own) / len(own)
    passed = 1.0 - np.cumsum(1.0 - is_own) / len(others)
    nearest = int(np.argmin(np.abs(missed - passed)))
    rate = float(missed[nearest] + passed[nearest]) / 2
    return EqualError(rate, float(scores[order[nearest]]))


def _read(folder: Path) -> Iterator[Spoken]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            samples, _ = soundfile.read(folder / row["path"], dtype="float32")
            yield Spoken(_audible(samples), row["speaker"], row["emotion"])


def _audible(samples: Samples) -> Samples:
    """Cut off what is 40 dB softer than the loudest 10 ms, at both ends."""
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    power = np.square(frames).mean(axis=1)
    heard = np.flatnonzero(power >= power.max() * 10 ** (-_AUDIBLE_DB / 10))
    return samples[heard[0] * _FRAME : (heard[-1] + 1) * _FRAME]


def _middle(samples: Samples, most: int) -> Samples:
    first = max(0, (len(samples) - most) // 2)
    return samples[first : first + most]
