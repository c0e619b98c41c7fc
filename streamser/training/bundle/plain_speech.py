"""What an unknown microphone usually sounds like: a prior for the first words of a stream.

CREMA-D was recorded in a live room, which levels the changes of a voice. Against what is usual
there, plain speech at a close microphone is lively, and a lively voice passes for an angry one:
seven of ten plain clips came out so. So the prior that ships is not CREMA-D's alone: for how
levels change it is that of plain speech, for spectra it lies halfway. Half of the speakers of a
folder of plain recordings make it; the other half judge it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from streamser.emotion.compact.running import Norm
from streamser.emotion.compact.statistics import GROUPS, measure
from streamser.training.bundle.voices import frames_of
from streamser.training.corpora.files import read_rows
from streamser.training.items import Item
from streamser.training.sounds import Sounds

__all__ = ["PlainClip", "live_norm", "plain_clips", "plain_mean"]

Floats = npt.NDArray[np.float64]

_LEVELS: Final = (
    *("sd", "delta", "energy", "modulation", "voicing", "cepstra_sd", "cepstra_delta", "tilt"),
)
_OF_LEVELS: Final = 1.0
_OF_THE_REST: Final = 0.5
_UNSTATED: Final = "not stated"


class PlainClip(NamedTuple):
    """Name a clip of plain speech; ``held_out`` speakers judge, the others make the prior."""

    path: Path
    speaker: str
    licence: str
    text: str
    held_out: bool


def plain_clips(root: Path) -> list[PlainClip]:
    """List plain recordings: ``labels.csv`` with path, speaker, licence, text.

    Every second speaker by name is held out. Raises ``ConfigError`` without such a table.
    """
    rows = list(read_rows(root / "labels.csv", ("path", "speaker", "licence", "text")))
    held_out = set(sorted({row["speaker"] for row in rows})[1::2])
    return [
        PlainClip(
            path=root / row["path"],
            speaker=row["speaker"],
            licence=row["licence"],
            text=row["text"],
            held_out=row["speaker"] in held_out,
        )
        for row in rows
    ]


def plain_mean(root: Path) -> Floats:
    """Measure the clips that make the prior, of stated licence; return their mean [WIDTH]."""
    sounds = Sounds()
    values = [
        measure(
            frames_of(
                Item(id=str(clip.path), corpus="plain", speaker=clip.speaker, audio=clip.path),
                sounds,
            )
        ).values
        for clip in plain_clips(root)
        if not clip.held_out and _UNSTATED not in clip.licence
    ]
    return np.asarray(np.nanmean(np.array(values, np.float64), axis=0))


def live_norm(norm: Norm, plain: Floats) -> Norm:
    """Return a training's norm with the prior mean of a stream of which nothing is known."""
    mean = norm.mean.copy()
    for name, span in GROUPS.items():
        share = _OF_LEVELS if name in _LEVELS else _OF_THE_REST
        mean[span] += share * (plain[span] - mean[span])
    return replace(norm, mean=mean)
