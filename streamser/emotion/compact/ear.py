"""Hear clips that grow, each frame once.

While somebody speaks the model is asked about the same utterance again and again, each time
with a little more of it. What one frame says, its levels and its pitch, depends on 64 ms of
sound alone and not on what was heard with it: so it is kept, and the answer has the same bits
as if all had been heard anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from streamser.audio.clip import Samples
from streamser.emotion.compact.pitch import PitchTrack, follow_pitch
from streamser.emotion.frontend import HOP, WINDOW, Frames, log_mel, whole_frames
from streamser.emotion.model import Place

MOST_FRAMES: Final = 1 << 17
"""Frames kept of all sessions together: 35 minutes of sound, 36 MB."""

_HALF: Final = WINDOW // 2
_EDGE: Final = _HALF // HOP
"""Frames at either end of a clip that reach beyond it: what they say changes as it grows."""


class Heard(NamedTuple):
    """Hold the log-mel frames of a clip, float32 [T, 64] in dB, and the pitch of each, [T]."""

    decibels: Frames
    pitch: PitchTrack

    def part(self, first: int, last: int) -> Heard:
        """Return the frames from ``first`` up to ``last``, which is left out."""
        span = slice(first, max(first, last))
        log2_f0, periodicity = self.pitch
        return Heard(self.decibels[span], PitchTrack(log2_f0[span], periodicity[span]))


class _Kept(NamedTuple):
    """Hold frames that lie wholly in an utterance; the first is centred on sample ``centre``.

    ``edge`` are the first frames of a clip that began with sample ``start``: they reach beyond
    it, and are good for another one that begins there.
    """

    utterance: int
    centre: int
    heard: Heard
    start: int
    edge: Heard


class Ear:
    """Turn clips of many sessions into frames, and keep those that may be asked for again.

    Beyond ``most`` frames the sessions that were heard longest ago lose theirs, and are heard
    anew. For one thread.
    """

    def __init__(self, most: int = MOST_FRAMES) -> None:
        self._most = most
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._frames = 0

    def hear(self, samples: Samples, place: Place | None) -> Heard:
        """Return the frames of a clip, float32 [n] at 16 kHz: the bits of ``listen``.

        Clips of one session and utterance must be parts of the same sound. Frames are found
        again where clips begin a multiple of 256 samples apart.
        """
        if place is None:
            return listen(samples)
        kept = self._take(place.session_id)
        if kept is None or kept.utterance != place.utterance or (kept.centre - place.start) % HOP:
            return self._hear_anew(samples, place)
        # Frames are counted from the clip's first from here on.
        count, first = len(samples) // HOP + 1, (kept.centre - place.start) // HOP
        last = first + len(kept.heard.decibels)
        inner_first, inner_last = _inner(len(samples))
        low, high = max(first, inner_first), min(last, inner_last)
        if low >= high:
            return self._hear_anew(samples, place)
        known = low == _EDGE and kept.start == place.start
        before = kept.edge if known else _between(samples, 0, low)
        after = _between(samples, high, count)
        heard = _joined([before, kept.heard.part(low - first, high - first), after])
        held = [
            kept.heard.part(0, inner_first - first),
            heard.part(inner_first, inner_last),
            kept.heard.part(inner_last - first, last - first),
        ]
        self._keep(place, min(first, inner_first), _joined(held), heard.part(0, _EDGE))
        return heard

    def forget(self, session_id: str) -> None:
        """Drop what is kept of a session."""
        self._take(session_id)

    def _hear_anew(self, samples: Samples, place: Place) -> Heard:
        heard = listen(samples)
        first, last = _inner(len(samples))
        if first < last:
            self._keep(place, first, heard.part(first, last), heard.part(0, _EDGE))
        return heard

    def _take(self, session_id: str) -> _Kept | None:
        kept = self._kept.pop(session_id, None)
        if kept is not None:
            self._frames -= len(kept.heard.decibels)
        return kept

    def _keep(self, place: Place, first: int, heard: Heard, edge: Heard) -> None:
        centre = place.start + first * HOP
        self._kept[place.session_id] = _Kept(place.utterance, centre, heard, place.start, edge)
        self._frames += len(heard.decibels)
        while self._frames > self._most:
            self._take(next(iter(self._kept)))


def listen(samples: Samples) -> Heard:
    """Return the frames of a clip, float32 [n] at 16 kHz; NaN and infinite samples are silence."""
    decibels = log_mel(cleaned(samples))
    return Heard(decibels, follow_pitch(decibels))


def _inner(length: int) -> tuple[int, int]:
    """Return the first frame that lies wholly in a clip, and the first after it that does not."""
    return _EDGE, (length - _HALF) // HOP + 1


def _between(samples: Samples, first: int, last: int) -> Heard:
    """Return some frames of a clip, which is taken to be zero outside."""
    begin, end = first * HOP - _HALF, (last - 1) * HOP + _HALF
    sound = np.zeros(max(0, end - begin), np.float32)
    known = slice(max(0, begin), max(0, min(end, len(samples))))
    sound[known.start - begin : known.stop - begin] = cleaned(samples[known])
    decibels = whole_frames(sound)
    return Heard(decibels, follow_pitch(decibels))


def _joined(parts: Sequence[Heard]) -> Heard:
    log2_f0 = np.concatenate([part.pitch.log2_f0 for part in parts])
    periodicity = np.concatenate([part.pitch.periodicity for part in parts])
    decibels = np.concatenate([part.decibels for part in parts])
    return Heard(decibels, PitchTrack(log2_f0, periodicity))


def cleaned(samples: Samples) -> Samples:
    """Return samples in [-1, 1]; NaN and infinite ones are silence."""
    clean: Samples = np.where(np.isfinite(samples), samples, np.float32(0.0))
    np.maximum(clean, -1.0, out=clean)
    return np.minimum(clean, 1.0, out=clean)
