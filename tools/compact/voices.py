"""The voices that teach the bundled model: measured once through every channel, and kept."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from streamser.emotion.compact.encoders import LayerEncoder, whisper_frames
from streamser.emotion.compact.model import measured_sound
from streamser.emotion.compact.speaker_stats import MEASURED, WIDTH, Norm, placed
from streamser.emotion.frontend import Frames, Mel, log_mel
from streamser.errors import ConfigError
from streamser.saving import replacing
from streamser.taxonomy import CATEGORIES
from streamser.training.augment.bands import WHISPER
from streamser.training.manifest import Item
from streamser.training.sounds import Sounds
from tools.compact.channels import Channel, Studio, draw_channel, through
from tools.compact.lessons import Lessons

__all__ = ["OTHER", "Voices", "corpus_means", "fit_norm", "keep", "pool_of", "read_voices"]

OTHER: Final = len(CATEGORIES)
"""The pool of utterances of other emotions: they teach dimensions, and stand in streams."""

_LEAST_SPREAD: Final = 1e-6


class Voices(NamedTuple):
    """Hold N utterances measured through K channels a speaker, the first of them none.

    ``values`` is float32 [K, N, MEASURED], or [K, N, WIDTH] once they are placed along the
    directions, with ``nan`` for what could not be measured, ``pools``
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
        """Return all utterances through a channel, float32 [N, MEASURED or WIDTH]."""
        found: npt.NDArray[np.float32] = self.values[channel]
        return found

    def placed(self, directions: npt.NDArray[np.float32]) -> Voices:
        """Return the same placed along directions, float32 [DIRECTIONS, VALUES]."""
        return self._replace(values=placed(self.values, directions))


def read_voices(
    lessons: Lessons,
    channels: int,
    studio: Studio,
    layers: LayerEncoder,
    *,
    cache: Path | None = None,
) -> Voices:
    """Measure utterances, plain and through ``channels`` drawn channels.

    The category is the intended one; other emotions are ``OTHER``. The channel of a speaker
    follows from its number and the speaker's name, so that the result is always the same.
    ``cache`` keeps the measurements.
    """
    items = lessons.items
    unknown = (np.nan,) * len(CATEGORIES)
    return Voices(
        values=_measured(items, channels, studio, layers, cache),
        pools=np.array([pool_of(item) for item in items], np.int64),
        votes=np.array([lessons.heard.get(item.id) or unknown for item in items], np.float32),
        dimensions=np.array([item.dimensions for item in items], np.float32),
        speakers=tuple(f"{item.corpus}/{item.speaker}" for item in items),
        ids=tuple(item.id for item in items),
    )


def corpus_means(voices: Voices) -> npt.NDArray[np.float64]:
    """Return what is usual in each corpus, float64 [corpora, WIDTH], by their names."""
    corpora = np.array([speaker.partition("/")[0] for speaker in voices.speakers])
    plain = voices.of_channel(0)
    return np.array(
        [
            np.nanmean(plain[corpora == name], axis=0, dtype=np.float64)
            for name in np.unique(corpora)
        ]
    )


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
    items: Sequence[Item],
    channels: int,
    studio: Studio,
    layers: LayerEncoder,
    cache: Path | None,
) -> npt.NDArray[np.float32]:
    ids = np.array([item.id for item in items])
    kept = _kept(cache, ids, channels)
    if kept is not None:
        return kept
    sounds = Sounds()
    values = np.empty((1 + channels, len(items), MEASURED), np.float32)
    drawn: dict[tuple[int, str], Channel] = {}
    for place, item in enumerate(items):
        frames = _frames_of(item, sounds)
        values[0, place] = measured_sound(frames, layers).values
        for number in range(1, 1 + channels):
            key = (number, item.speaker)
            if key not in drawn:
                drawn[key] = draw_channel(studio, _rng(*key))
            varied = _through(frames, drawn[key], studio, number, item.id)
            values[number, place] = measured_sound(varied, layers).values
    if cache is not None:
        keep(cache, values=values, ids=ids)
    return values


def _frames_of(item: Item, sounds: Sounds) -> Mel:
    """Return an utterance's frames on both grids. Raises ``AudioError``."""
    sound = sounds.load(item)
    if sound is None:
        raise ConfigError(f"{item.id} has no sound.")
    return sound if isinstance(sound, Mel) else Mel(log_mel(sound), whisper_frames(sound))


def _through(mel: Mel, channel: Channel, studio: Studio, number: int, name: str) -> Mel:
    """Send both grids through a channel, by the same draws: it is one sound."""
    varied = through(mel.decibels, channel, studio, _rng(number, name))
    if mel.whisper is None:
        return Mel(varied)
    fine = through(10 * mel.whisper, channel, studio, _rng(number, name), WHISPER)
    return Mel(varied, fine / np.float32(10))


def _kept(cache: Path | None, ids: npt.NDArray[np.str_], channels: int) -> Frames | None:
    """Return what an earlier run measured; ``None`` where it did not measure all of this."""
    if cache is None or not cache.is_file():
        return None
    try:
        with np.load(cache, allow_pickle=False) as arrays:
            places = {name: place for place, name in enumerate(arrays["ids"].tolist())}
            if places.keys() >= set(ids.tolist()) and len(arrays["values"]) == 1 + channels:
                values: npt.NDArray[np.float32] = arrays["values"]
                return values[:, [places[name] for name in ids.tolist()]]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        pass
    return None


def _rng(number: int, name: str) -> np.random.Generator:
    return np.random.default_rng([number, *name.encode()])
