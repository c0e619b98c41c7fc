"""People and what was recorded of them, for made meetings; who tunes never judges."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import SAMPLE_RATE, Samples, to_samples
from streamser.errors import ConfigError

__all__ = [
    "CORPORA",
    "FRAME",
    "Part",
    "Person",
    "Piece",
    "loud",
    "quietest",
    "read_people",
    "scaled",
    "trimmed",
]

Part: TypeAlias = Literal["tune", "judge"]

CORPORA: Final[Mapping[str, str]] = {
    "emodb": "emodb",
    "speech": "speech",
    "ravdess": "ravdess_eval",
}
# Alternating by number and by name, with men and women on both sides; RAVDESS only judges.
_TUNING: Final[Mapping[str, frozenset[str]]] = {
    "emodb": frozenset({"03", "08", "10", "12", "13"}),
    "speech": frozenset({"LJ", "jfk", "libri2412", "sb_spk1"}),
    "ravdess": frozenset(),
}
# Recordings of more than one voice, or of nobody knows how many.
_NOT_ONE: Final = frozenset({"silero", "sb_vad_train", "sb_vad_valid", "ami_ES2011a"})
_ALIKE: Final = {"calm": "neutral"}

FRAME: Final = SAMPLE_RATE // 50
_BELOW_DB: Final = 35.0
"""What lies this far below a recording's loudest frame of 20 ms is not speech."""
_CLICK: Final = 12
"""Frames (.24 s) of which more than half must be loud where speech begins and ends."""
_LONGEST: Final = 6 * SAMPLE_RATE
_LEVEL: Final = 0.05
"""Root mean square of a person's speech, the mean over all that they say."""


class Piece(msgspec.Struct, frozen=True, eq=False):
    """Hold a piece of speech without silence around, mono at 16 kHz, and how it was meant."""

    samples: Samples
    emotion: str


class Person(msgspec.Struct, frozen=True, eq=False):
    """Hold a person and the pieces that they say, all scaled by one factor."""

    name: str
    pieces: tuple[Piece, ...]


def read_people(data: Path, corpus: str, part: Part) -> tuple[Person, ...]:
    """Read the people of one side, in order of their names.

    ``data`` is the folder of real recordings, ``corpus`` a name of ``CORPORA``. Raises
    ``ConfigError`` where the folder lacks it.
    """
    folder = data / CORPORA[corpus]
    try:
        with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ConfigError(
            f"--data {data}: no {CORPORA[corpus]}/labels.csv ({error.strerror}); name the folder"
            " of real recordings."
        ) from None
    names = sorted({row["speaker"] for row in rows} - _NOT_ONE)
    tuning = _TUNING[corpus]
    wanted = [name for name in names if (name in tuning) == (part == "tune")]
    return tuple(
        _person(folder, f"{corpus} {name}", [row for row in rows if row["speaker"] == name])
        for name in wanted
    )


def loud(samples: Samples) -> npt.NDArray[np.bool_]:
    """Say which whole frames of 20 ms are less than 35 dB below the loudest, [T]."""
    whole = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    power = np.square(whole, dtype=np.float64).mean(axis=1)
    found: npt.NDArray[np.bool_] = power > power.max(initial=0.0) * 10 ** (-_BELOW_DB / 10)
    return found


def scaled(name: str, pieces: Sequence[Piece]) -> Person:
    """Return a person who says pieces, all scaled by the factor that makes their mean level .05."""
    spoken = sum(len(piece.samples) for piece in pieces)
    energy = sum(float(np.sum(np.square(each.samples, dtype=np.float64))) for each in pieces)
    scale = np.float32(_LEVEL / np.sqrt(energy / spoken))
    return Person(name, tuple(Piece(each.samples * scale, each.emotion) for each in pieces))


def _person(folder: Path, name: str, rows: Sequence[Mapping[str, str]]) -> Person:
    return scaled(name, [piece for row in rows for piece in _pieces(folder, row)])


def _pieces(folder: Path, row: Mapping[str, str]) -> Iterator[Piece]:
    import soundfile

    samples, _ = soundfile.read(folder / row["path"], dtype="float32")
    emotion = row.get("emotion") or "neutral"
    rest = trimmed(samples)
    while len(rest) > _LONGEST:
        cut = quietest(rest, _LONGEST // 2, _LONGEST)
        yield Piece(trimmed(rest[:cut]), _ALIKE.get(emotion, emotion))
        rest = trimmed(rest[cut:])
    if len(rest) >= to_samples(600):
        yield Piece(rest, _ALIKE.get(emotion, emotion))


def quietest(samples: Samples, start: int, end: int) -> int:
    """Return where between two places the frame of 20 ms with the least power begins."""
    first, last = start // FRAME, min(end, len(samples)) // FRAME
    frames = samples[first * FRAME : last * FRAME].reshape(-1, FRAME)
    return (first + int(np.square(frames).mean(axis=1).argmin())) * FRAME


def trimmed(samples: Samples) -> Samples:
    """Return the speech without what is around it, clicks among it; maybe nothing."""
    frames = loud(samples)
    if len(frames) < _CLICK:
        return samples[:0]
    # A click before or after speech is loud as well, but not for long.
    busy = np.convolve(frames, np.ones(_CLICK), "valid") > _CLICK / 2
    places = np.flatnonzero(busy)
    if not len(places):
        return samples[:0]
    first, last = places[0], places[-1] + _CLICK
    inside = first + np.flatnonzero(frames[first:last])
    return samples[inside[0] * FRAME : (inside[-1] + 1) * FRAME]
