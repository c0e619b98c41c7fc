"""Microphones, rooms and lines that a corpus was never recorded with.

A speaker's whole stream goes through one channel, as it does in life: what is usual for the
stream must take the channel out again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.emotion.frontend import Frames
from streamser.training.augment.bands import MEL, MelGrid, Response, Telephone, draw_equaliser
from streamser.training.augment.mel import vary_mel
from streamser.training.augment.sound import (
    SoundFile,
    Variation,
    draw_room,
    list_noises,
    list_rooms,
)

__all__ = ["Channel", "Studio", "draw_channel", "open_studio", "through"]

_EQUALISER: Final = 0.9
_TELEPHONE: Final = 0.1
_ROOM: Final = 0.35
_NOISE: Final = 0.6
_SNR_DB: Final = (3.0, 35.0)
_SPEED: Final = (0.9, 1.1)  # of the speaker: another voice
_UTTERANCE_SPEED: Final = (0.97, 1.03)  # of one utterance
_DRY: Final = (-0.2, 0.6)
_SMOOTH_SECONDS: Final = 0.144
_CROPPED: Final = 0.25
_CROP_SECONDS: Final = (0.8, 2.0)


class Studio(NamedTuple):
    """Hold the noises and room responses that channels are made of."""

    noises: tuple[SoundFile, ...]
    rooms: tuple[SoundFile, ...]


class Channel(NamedTuple):
    """Hold what happens to all utterances of a stream.

    ``dryness`` strengthens (above 0) or weakens fast changes of level: the corpus was recorded
    in a live room, and a close microphone in a dry one hears what no added echo can show.
    """

    speed: float = 1.0
    dryness: float = 0.0
    room: npt.NDArray[np.float32] | None = None
    snr_db: float | None = None
    responses: tuple[Response, ...] = ()


def open_studio(folder: Path) -> Studio:
    """Open a folder of noises (``noise*``, ``office*``) and room responses (``rir*``).

    Raises ``ConfigError`` where there is none.
    """
    found = list_noises(folder)
    rooms = tuple(each for each in list_rooms(folder) if each.path.name.startswith("rir"))
    return Studio(tuple(each for each in found if each not in rooms), rooms)


def draw_channel(studio: Studio, rng: np.random.Generator) -> Channel:
    """Draw a channel: equaliser ± 10 dB, telephone, room, noise, speed, dryness."""
    responses: list[Response] = []
    if rng.random() < _EQUALISER:
        responses.append(draw_equaliser(rng))
    if rng.random() < _TELEPHONE:
        responses.append(Telephone(narrow=bool(rng.random() < 0.5)))
    room = None
    if rng.random() < _ROOM:
        room = draw_room(studio.rooms if rng.random() < 0.5 else (), rng)
    return Channel(
        speed=float(rng.uniform(*_SPEED)) if rng.random() < 0.5 else 1.0,
        dryness=float(rng.uniform(*_DRY)) if room is None and rng.random() < 0.7 else 0.0,
        room=room,
        snr_db=float(rng.uniform(*_SNR_DB)) if rng.random() < _NOISE else None,
        responses=tuple(responses),
    )


def through(
    decibels: Frames,
    channel: Channel,
    studio: Studio,
    rng: np.random.Generator,
    grid: MelGrid = MEL,
) -> Frames:
    """Send log-mel frames [T, bands] through a channel; a quarter lose beginning or end.

    The same draws do the same to the frames of another grid.
    """
    if rng.random() < _CROPPED:
        decibels = _cropped(decibels, rng, grid)
    if channel.dryness:
        decibels = _dried(decibels, channel.dryness, grid)
    variation = Variation(
        speed=channel.speed * float(rng.uniform(*_UTTERANCE_SPEED)),
        room=channel.room,
        snr_db=channel.snr_db,
        responses=channel.responses,
    )
    return vary_mel(decibels, variation, studio.noises, rng, grid)


def _cropped(decibels: Frames, rng: np.random.Generator, grid: MelGrid) -> Frames:
    """Keep a piece as long as what a partial reading hears."""
    length = round(rng.uniform(*_CROP_SECONDS) * grid.rate)
    start = rng.random()
    if length >= len(decibels):
        return decibels
    first = int(start * (len(decibels) - length))
    return decibels[first : first + length]


def _dried(decibels: Frames, strength: float, grid: MelGrid) -> Frames:
    half = round(_SMOOTH_SECONDS * grid.rate) // 2
    padded = np.pad(decibels.astype(np.float64), ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1, axis=0)
    slow = windows.mean(axis=-1)
    dried: Frames = (slow + (1.0 + strength) * (decibels - slow)).astype(np.float32)
    return dried
