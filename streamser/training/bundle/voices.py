"""The voices that teach the bundled model: measured once through every channel, and kept."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.emotion.compact.running import Norm
from streamser.emotion.compact.statistics import WIDTH, measure
from streamser.emotion.frontend import Frames, Mel, log_mel
from streamser.errors import ConfigError
from streamser.saving import replacing
from streamser.taxonomy import CATEGORIES
from streamser.training.bundle.channels import Channel, Studio, draw_channel, through
from streamser.training.corpora import cremad
from streamser.training.items import Item
from streamser.training.sounds import Sounds

__all__ = ["OTHER", "Voices", "fit_norm", "frames_of", "keep", "pool_of", "read_voices"]

OTHER: Final = len(CATEGORIES)
"""The pool of utterances of other emotions: they teach dimensions, and stand in streams."""

_LEAST_SPREAD: Final = 1e-6


class Voices(NamedTuple):
    """Hold N utterances measured through K channels a speaker, the first of them none.

    ``values`` is float32 [K, N, WIDTH] with ``nan`` for what could not be measured, ``pools``
    int64 [N] the place in ``CATEGORIES`` or ``OTHER``, ``votes`` float32 [N, 4] the shares of
    those who heard the voice (``nan``: none of the four), ``dimensions`` float32 [N, 3] in
    [0, 1] or ``nan``.
    """

    values: npt.NDArray[np.float32]
    pools: npt.NDArray[np.int64]
    votes: npt.NDArray[np.float32]
    dimensions: npt.NDArray[np.float32]
    speakers: tuple[str, ...]
    ids: tuple[str, ...]

    def of_channel(self, channel: int) -> npt.NDArray[np.float32]:
        """Return all utterances through a channel, float32 [N, WIDTH]."""
        found: npt.NDArray[np.float32] = self.values[channel]
        return found


def read_voices(
    root: Path, split: str, channels: int, studio: Studio, *, cache: Path | None = None
) -> Voices:
    """Measure CREMA-D's utterances of a split, plain and through ``channels`` drawn channels.

    The category is the intended one; fear and disgust are ``OTHER``. The channel of a speaker
    follows from its number and the speaker's name, so that the result is always the same.
    ``cache`` keeps the measurements. Raises ``ConfigError`` where the corpus is not there.
    """
    intended = cremad.read(root, votes="intended", categories="all", dimensions="voice")
    heard = {
        item.id: item.votes
        for item in cremad.read(root, votes="voice", categories="all", dimensions="voice")
    }
    items = [item for item in intended if item.split == split]
    unknown = (np.nan,) * len(CATEGORIES)
    return Voices(
        values=_measured(items, channels, studio, cache),
        pools=np.array([pool_of(item) for item in items], np.int64),
        votes=np.array([heard[item.id] or unknown for item in items], np.float32),
        dimensions=np.array([item.dimensions for item in items], np.float32),
        speakers=tuple(item.speaker for item in items),
        ids=tuple(item.id for item in items),
    )


def frames_of(item: Item, sounds: Sounds) -> Frames:
    """Return an utterance's log-mel frames, [T, 64] in dB. Raises ``AudioError``."""
    sound = sounds.load(item)
    if sound is None:
        raise ConfigError(f"{item.id} has no sound.")
    return sound.decibels if isinstance(sound, Mel) else log_mel(sound)


def fit_norm(voices: Voices) -> Norm:
    """Find what is usual: over all speakers, within them, and over all their channels."""
    plain = voices.of_channel(0).astype(np.float64)
    speakers = np.array(voices.speakers)
    within = [np.nanvar(plain[speakers == name], axis=0) for name in np.unique(speakers)]
    everywhere = voices.values.reshape(-1, WIDTH)
    return Norm(
        mean=np.nanmean(plain, axis=0),
        variance=np.nanmean(within, axis=0) + _LEAST_SPREAD,
        centre=np.nanmean(everywhere, axis=0, dtype=np.float64),
        spread=np.nanstd(everywhere, axis=0, dtype=np.float64) + _LEAST_SPREAD,
    )


def keep(cache: Path, **arrays: npt.NDArray[Any]) -> None:
    """Write arrays to a cache that other trainings may be reading."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    with replacing(cache) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def pool_of(item: Item) -> int:
    """Return the place of an item's category in ``CATEGORIES``, or ``OTHER``."""
    return OTHER if item.votes is None else int(np.argmax(item.votes))


def _measured(
    items: Sequence[Item], channels: int, studio: Studio, cache: Path | None
) -> npt.NDArray[np.float32]:
    ids = np.array([item.id for item in items])
    kept = _kept(cache, ids, channels)
    if kept is not None:
        return kept
    sounds = Sounds()
    frames = [frames_of(item, sounds) for item in items]
    values = np.empty((1 + channels, len(items), WIDTH), np.float32)
    values[0] = [measure(each).values for each in frames]
    for number in range(1, 1 + channels):
        drawn: dict[str, Channel] = {}
        for place, item in enumerate(items):
            if item.speaker not in drawn:
                drawn[item.speaker] = draw_channel(studio, _rng(number, item.speaker))
            varied = through(frames[place], drawn[item.speaker], studio, _rng(number, item.id))
            values[number, place] = measure(varied).values
    if cache is not None:
        keep(cache, values=values, ids=ids)
    return values


def _kept(cache: Path | None, ids: npt.NDArray[np.str_], channels: int) -> Frames | None:
    """Return what an earlier run measured; ``None`` where that was something else."""
    if cache is None or not cache.is_file():
        return None
    try:
        with np.load(cache, allow_pickle=False) as arrays:
            if np.array_equal(arrays["ids"], ids) and len(arrays["values"]) == 1 + channels:
                values: npt.NDArray[np.float32] = arrays["values"]
                return values
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        pass
    return None


def _rng(number: int, name: str) -> np.random.Generator:
    return np.random.default_rng([number, *name.encode()])
