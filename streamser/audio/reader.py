"""Read a source on a thread of its own, as mono samples at 16 kHz, and never run ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.resampler import Resampler
from streamser.audio.source import AudioSource, Gap

__all__ = ["KEPT", "AudioItem", "AudioReader", "Chunk", "EndOfStream", "LostAudio"]

KEPT: Final = 120 * SAMPLE_RATE
"""Samples of a live source that are kept while whoever shall hear it gets ready."""

_AHEAD = 8 * SAMPLE_RATE
"""Samples that may wait to be heard; a live source's own queue, which counts, comes after."""
_PIECE = 8000
"""Longest piece in samples: half a second keeps memory and latency small."""


class Chunk(msgspec.Struct, frozen=True, eq=False):
    """Hold a stretch of sound and when it arrived.

    At ``arrived`` seconds all sound up to the absolute sample ``reached`` was here: somewhat
    more than ``samples``, because the resampler holds a little back.
    """

    samples: Samples
    arrived: float
    reached: int


class LostAudio(msgspec.Struct, frozen=True):
    """Say that sound was lost at an absolute sample; silence for it follows as ``Chunk``.

    ``samples`` is 0 where nobody knows how many.
    """

    samples: int
    reason: str
    at: int


class EndOfStream(msgspec.Struct, frozen=True):
    """Say that nothing more will come, and why if it is not the plain end.

    ``repaired`` counts frames that were no numbers; ``clipped_share`` is the share of frames
    at full scale or beyond.
    """

    error: BaseException | None
    repaired: int
    clipped_share: float


AudioItem: TypeAlias = Chunk | LostAudio | EndOfStream


class AudioReader:
    """Read a source on a thread of its own and post what it gives, in order.

    At most 8 s of sound, or as many samples as ``start`` is told, are posted before the receiver
    says ``consumed`` of them: a file waits, and a microphone's own bounded queue fills and counts
    what it drops.
    """

    def __init__(
        self,
        source: AudioSource,
        channel: int | None,
        post: Callable[[AudioItem], None],
        clock: Callable[[], float],
    ) -> None:
        self._source = source
        self._resampler = Resampler(source.rate, source.channels, channel)
        self._post = post
        self._clock = clock
        self._ahead = _AHEAD
        self._waiting = 0
        self._room = threading.Condition()
        self._frames = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._read, name="streamser-reader", daemon=True)

    def start(self, ahead: int = _AHEAD) -> None:
        """Begin to read; so many samples may wait, until ``keep_less`` is called."""
        self._ahead = ahead
        self._thread.start()

    def keep_less(self) -> None:
        """Let no more wait than usual: the receiver has begun to hear."""
        with self._room:
            self._ahead = _AHEAD

    def consumed(self, samples: int) -> None:
        """Say that so many samples have been dealt with, and others may come."""
        with self._room:
            self._waiting -= samples
            self._room.notify()

    def stop(self) -> None:
        """End the source; what it has given already still comes."""
        self._source.stop()

    def abandon(self) -> None:
        """End the source and wait for nothing it has given."""
        with self._room:
            self._stopped = True
            self._room.notify()
        self._source.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _read(self) -> None:
        error: BaseException | None = None
        resampler = self._resampler
        try:
            for piece in self._source.chunks():
                if self._stopped:
                    return
                arrived = self._clock()
                if isinstance(piece, Gap):
                    at = self._reached
                    self._frames += piece.frames
                    self._post(LostAudio(self._reached - at, piece.reason, at))
                    self._give(resampler.fill(piece.frames), arrived)
                else:
                    self._frames += len(piece)
                    self._give(resampler.feed(piece), arrived)
        except BaseException as fault:
            error = fault
        try:
            self._give(resampler.flush(), self._clock())
        except BaseException as fault:
            error = error or fault
        share = resampler.clipped / self._frames if self._frames else 0.0
        self._post(EndOfStream(error, resampler.repaired, share))

    @property
    def _reached(self) -> int:
        return self._frames * SAMPLE_RATE // self._source.rate

    def _give(self, samples: Samples, arrived: float) -> None:
        reached = self._reached
        for offset in range(0, len(samples), _PIECE):
            piece = samples[offset : offset + _PIECE]
            with self._room:
                while not self._stopped and not self._has_room(len(piece)):
                    self._room.wait()
                if self._stopped:
                    return
                self._waiting += len(piece)
            self._post(Chunk(piece, arrived, reached))

    def _has_room(self, samples: int) -> bool:
        return not self._waiting or self._waiting + samples <= self._ahead
