"""What is to be done to one clip: drawn first, then applied to a recording or to its features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from streamser.audio.clip import Samples
from streamser.training.augment.recordings import Recording
from streamser.training.augment.responses import Response, Telephone, draw_equaliser
from streamser.training.augment.rooms import draw_room
from streamser.training.settings import AugmentSettings

__all__ = ["Variation", "draw_variation"]


class Variation(NamedTuple):
    """Hold what happens to a sound, in the order of the way from a mouth to a file.

    ``speed`` above 1 is faster and higher; ``room`` a response from its direct sound on;
    ``snr_db`` the noise after it; ``responses`` those of microphone and line.
    """

    speed: float = 1.0
    room: Samples | None = None
    snr_db: float | None = None
    responses: tuple[Response, ...] = ()
    gain_db: float = 0.0


def draw_variation(
    settings: AugmentSettings, rooms: tuple[Recording, ...], rng: np.random.Generator
) -> Variation:
    """Draw what happens to the next clip; what a setting of 0 switches off draws nothing."""

    def happens(probability: float) -> bool:
        return probability > 0 and bool(rng.random() < probability)

    speed = rng.uniform(1 - settings.speed, 1 + settings.speed) if settings.speed else 1.0
    room = draw_room(rooms, rng) if happens(settings.room) else None
    snr_db = rng.uniform(*settings.snr_db) if happens(settings.noise) else None
    responses: list[Response] = []
    if happens(settings.band):
        responses.append(draw_equaliser(rng))
    if happens(settings.telephone):
        responses.append(Telephone(narrow=bool(rng.random() < 0.5)))
    gain_db = rng.uniform(-settings.gain_db, settings.gain_db) if settings.gain_db else 0.0
    return Variation(speed, room, snr_db, tuple(responses), gain_db)
