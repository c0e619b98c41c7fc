"""Clips joined to one sound with pauses, and which utterance of it is which clip."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples, to_ms
from streamser.audio.source import Frames, Gap
from streamser.events import Window

__all__ = ["Joined", "JoinedSource", "Match", "join", "match"]

_PAUSE_SECONDS: Final = 1.0
_BLOCK: Final = SAMPLE_RATE // 5
_SHARED_MS: Final = 300  # of a clip in an utterance: more than its padding


class Joined(NamedTuple):
    """Hold a sound, and where in it each clip is, in ms."""

    samples: Samples
    spans: tuple[Window, ...]


class Match(NamedTuple):
    """Hold, for each clip, the utterance that is most of it (``None``: missed), and what befell it.

    ``split`` clips have several utterances, ``merged`` ones share an utterance with another.
    """

    utterances: tuple[int | None, ...]
    split: tuple[bool, ...]
    merged: tuple[bool, ...]


class JoinedSource:
    """Give a sound that is in memory, mono at 16 kHz, as fast as it is taken."""

    name = "joined"
    rate = SAMPLE_RATE
    channels = 1
    live = False

    def __init__(self, samples: Samples) -> None:
        self.duration: float | None = len(samples) / SAMPLE_RATE
        self._samples = samples
        self._stopped = False

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield the sound in pieces of 200 ms."""
        for start in range(0, len(self._samples), _BLOCK):
            if self._stopped:
                return
            yield self._samples[start : start + _BLOCK, None]

    def stop(self) -> None:
        """Make ``chunks`` end."""
        self._stopped = True


def join(clips: Sequence[Samples]) -> Joined:
    """Join clips with pauses of a second, one before the first and one after the last."""
    pause = np.zeros(round(_PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    parts, spans, now = [pause], [], len(pause)
    for clip in clips:
        spans.append(Window(start_ms=to_ms(now), end_ms=to_ms(now + len(clip))))
        parts += [clip, pause]
        now += len(clip) + len(pause)
    return Joined(np.concatenate(parts), tuple(spans))


def match(spans: Sequence[Window], utterances: Sequence[Window]) -> Match:
    """Find the utterance of each clip by how far they overlap."""
    shared = np.array(
        [[min(s.end_ms, u.end_ms) - max(s.start_ms, u.start_ms) for u in utterances] for s in spans]
    ).reshape(len(spans), len(utterances))
    if not len(utterances) or not len(spans):
        none = (False,) * len(spans)
        return Match((None,) * len(spans), none, none)
    together = shared >= _SHARED_MS
    owner = shared.argmax(axis=0)
    own = (owner == np.arange(len(spans))[:, None]) & (shared > 0)
    best = np.where(shared.max(axis=1) > 0, shared.argmax(axis=1), -1)
    crowded = together.sum(axis=0) > 1
    return Match(
        tuple(int(place) if place >= 0 else None for place in best),
        tuple(bool(count > 1) for count in own.sum(axis=1)),
        tuple(bool((row & crowded).any()) for row in together),
    )
