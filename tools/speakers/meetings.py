"""Make meetings at one microphone: who speaks when, with which emotion, is known."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples, to_samples
from streamser.training.augment.sound import (
    SoundFile,
    Variation,
    draw_room,
    list_noises,
    list_rooms,
    to_full_scale,
    vary_sound,
)
from tools.speakers.voices import Part, Person, Piece, quietest, read_people

__all__ = ["FEW", "PEOPLE", "Cell", "Meeting", "Said", "cells", "make_meetings"]

PEOPLE: Final = (2, 3, 4, 6)
FEW: Final = 4
"""People up to which the goals hold."""
NOISE_DB: Final = 15.0

_TURN_S: Final = (1.0, 8.0)
_GAP_S: Final = (0.0, 1.5)
_OVERLAP_S: Final = (0.0, 0.5)
_OVERLAPPED: Final = 0.1
"""Share of changes of turn at which the next begins before the last is over."""
_PAUSE_S: Final = (0.1, 0.3)
"""Between two pieces of one turn: no pause that anybody would note as one."""
_LONGEST_S: Final = 180.0
_LEAST_S: Final = 7.0
"""Speech that there must be of whoever takes part."""
_NEAR_DB: Final = 3.0
"""People sit nearer and farther: a level each, that many dB louder or quieter at most."""


class Cell(msgspec.Struct, frozen=True):
    """Hold what is alike in a row of meetings."""

    corpus: str
    people: int
    emotions: bool
    """Whether each turn has an emotion of its own; else all are neutral."""
    noisy: bool
    """Whether it is in a room with noise at 15 dB."""


class Said(msgspec.Struct, frozen=True):
    """Hold a turn: its samples from ``start`` to just before ``end``, who, and how it was meant."""

    start: int
    end: int
    person: str
    emotion: str


class Meeting(msgspec.Struct, frozen=True, eq=False):
    """Hold a meeting: mono sound at 16 kHz, and the turns in order of their beginning."""

    name: str
    cell: Cell
    samples: Samples
    said: tuple[Said, ...]

    @property
    def people(self) -> int:
        """Return how many people speak in it."""
        return len({each.person for each in self.said})


def cells(part: Part) -> list[Cell]:
    """List the kinds of meetings of one side, always in one order.

    RAVDESS judges only, for it may not teach; plain speech has no emotions.
    """
    found = []
    for corpus, most in (("ravdess", 6), ("emodb", 4), ("speech", 4)):
        if corpus == "ravdess" and part == "tune":
            continue
        for emotions in (False, True) if corpus != "speech" else (False,):
            found += [
                Cell(corpus, people, emotions, noisy)
                for people in PEOPLE
                if people <= most
                for noisy in (False, True)
            ]
    return found


def make_meetings(
    data: Path,
    part: Part,
    count: int,
    seed: int,
    chosen: Sequence[Cell] | None = None,
    people: Mapping[str, tuple[Person, ...]] | None = None,
) -> Iterator[Meeting]:
    """Make ``count`` meetings of each kind; each is drawn by its own name and the seed alone.

    ``people`` are those of a corpus that is none of ``CORPORA``. Nothing that anybody says is
    heard twice in a meeting. Raises ``ConfigError`` where ``data`` lacks what is needed.
    """
    sounds = data / "noise_rir" / "audio"
    noises = tuple(each for each in list_noises(sounds) if not each.path.name.startswith("rir"))
    rooms = tuple(each for each in list_rooms(sounds) if each.path.name.startswith("rir"))
    known = dict(people or {})
    for cell in cells(part) if chosen is None else chosen:
        if cell.corpus not in known:
            known[cell.corpus] = read_people(data, cell.corpus, part)
        for number in range(1, count + 1):
            kind = "emotions" if cell.emotions else "neutral"
            where = "room" if cell.noisy else "clean"
            name = f"{cell.corpus} {cell.people} {kind} {where} {number}"
            rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
            yield _meeting(name, cell, known[cell.corpus], noises, rooms, rng)


def _meeting(
    name: str,
    cell: Cell,
    people: Sequence[Person],
    noises: tuple[SoundFile, ...],
    rooms: tuple[SoundFile, ...],
    rng: np.random.Generator,
) -> Meeting:
    able = [each for each in people if _spoken(each, cell.emotions) >= _LEAST_S]
    chosen = [able[index] for index in rng.permutation(len(able))[: cell.people]]
    left = {each.name: _Left(each, cell.emotions, rng) for each in chosen}
    parts: list[tuple[int, Samples]] = []
    said: list[Said] = []
    end, last = to_samples(500), None
    waiting = [each.name for each in chosen]
    while end < _LONGEST_S * SAMPLE_RATE:
        # Everybody has spoken once before chance decides; nobody goes on after themselves.
        seconds = {n: left[n].seconds for n in left if n != last and left[n].seconds >= _TURN_S[0]}
        if not seconds:
            break
        weights = np.array(list(seconds.values()))
        drawn = int(rng.choice(len(seconds), p=weights / weights.sum()))
        who = waiting.pop(0) if waiting else list(seconds)[drawn]
        turn, emotion = left[who].turn(rng)
        overlaps = said and rng.random() < _OVERLAPPED
        gap = -rng.uniform(*_OVERLAP_S) if overlaps else rng.uniform(*_GAP_S)
        start = end + round(gap * SAMPLE_RATE)
        parts.append((start, turn))
        said.append(Said(start, start + len(turn), who, emotion))
        end, last = start + len(turn), who
    sound = np.zeros(end + SAMPLE_RATE, np.float32)
    for start, turn in parts:
        sound[start : start + len(turn)] += turn
    variation = Variation()
    if cell.noisy:
        variation = Variation(room=draw_room(rooms, rng), snr_db=NOISE_DB)
    else:
        # A microphone's own faint hiss: digital silence would be no microphone.
        sound += rng.standard_normal(len(sound), dtype=np.float32) * np.float32(1e-4)
    varied = to_full_scale(vary_sound(sound, variation, noises, rng)).astype(np.float32)
    return Meeting(name, cell, varied, tuple(sorted(said, key=lambda each: each.start)))


def _spoken(person: Person, emotions: bool) -> float:
    return sum(
        len(each.samples) / SAMPLE_RATE
        for each in person.pieces
        if emotions or each.emotion == "neutral"
    )


class _Left:
    """Keep what a person has not said yet."""

    def __init__(self, person: Person, emotions: bool, rng: np.random.Generator) -> None:
        self._gain = np.float32(10 ** (rng.uniform(-_NEAR_DB, _NEAR_DB) / 20))
        pieces = [each for each in person.pieces if emotions or each.emotion == "neutral"]
        self._pieces = [pieces[index] for index in rng.permutation(len(pieces))]

    @property
    def seconds(self) -> float:
        return sum(len(each.samples) for each in self._pieces) / SAMPLE_RATE

    def turn(self, rng: np.random.Generator) -> tuple[Samples, str]:
        """Say pieces of one emotion for about as long as is drawn."""
        wanted = rng.uniform(*_TURN_S) * SAMPLE_RATE
        emotion = self._pieces[0].emotion
        parts: list[Samples] = []
        length = 0
        for piece in [each for each in self._pieces if each.emotion == emotion]:
            pause = round(rng.uniform(*_PAUSE_S) * SAMPLE_RATE) if parts else 0
            if parts and length + pause + len(piece.samples) / 2 > wanted:
                break
            self._pieces.remove(piece)
            said = self._shortened(piece, wanted) if not parts else piece.samples
            parts += [np.zeros(pause, np.float32), said]
            length += pause + len(said)
        return np.concatenate(parts) * self._gain, emotion

    def _shortened(self, piece: Piece, wanted: float) -> Samples:
        """Cut a piece that is much too long where it is quietest; the rest is said later."""
        spare = to_samples(400)
        if len(piece.samples) < wanted + 2 * spare:
            return piece.samples
        cut = quietest(piece.samples, max(round(wanted) - spare, 0), round(wanted) + spare)
        rest = Piece(piece.samples[cut:], piece.emotion)
        if len(rest.samples) >= to_samples(600):
            self._pieces.append(rest)
        return piece.samples[:cut]
