"""Made voices: directions that scatter around a person's own, as an embedder's would."""

from __future__ import annotations

from functools import partial

import numpy as np

from streamser.audio.clip import SAMPLE_RATE
from streamser.speech.clustering import plain_space
from streamser.speech.diarisation import Spoken, VoiceWindow, voice_windows
from streamser.speech.speakers import Voice

__all__ = ["LIKENESS", "SIZE", "Talk", "voice_of"]

SIZE = 96
LIKENESS = 0.6
SPACE = partial(plain_space, likeness=LIKENESS)


def voice_of(person: int, rng: np.random.Generator, *, moved: float = 0.0) -> Voice:
    """Return a voice of somebody; ``moved`` in [0, 1] is how far it has become another's."""
    own, strange = (np.random.default_rng([person, way]).standard_normal(SIZE) for way in (1, 2))
    centre = (1 - moved) * own + moved * strange
    noise = rng.standard_normal(SIZE) * np.sqrt(1 / LIKENESS - 1)
    voice = centre + noise
    unit: Voice = (voice / np.linalg.norm(voice)).astype(np.float32)
    return unit


class Talk:
    """Make utterances one after the other, a second apart."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = np.random.default_rng(seed)
        self._now = self._item = 0

    def says(self, *people: int, seconds: float = 3.0, moved: float = 0.0) -> Spoken:
        """Return an utterance in which people speak so long each, without a pause."""
        each = round(seconds * SAMPLE_RATE)
        start, end = self._now, self._now + each * len(people)
        windows = tuple(
            VoiceWindow(
                first,
                last,
                voice_of(
                    people[min(((first + last) // 2 - start) // each, len(people) - 1)],
                    self._rng,
                    moved=moved,
                ),
            )
            for first, last in voice_windows(start, end)
        )
        self._now, self._item = end + SAMPLE_RATE, self._item + 1
        return Spoken(self._item, start, end, windows)

    def waits(self, seconds: float) -> None:
        """Let nobody speak."""
        self._now += round(seconds * SAMPLE_RATE)
