"""Bring a source's sound to a session: a thread that reads, converts and never runs ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeAlias

import msgspec

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.intake import Intake
from streamser.audio.source import AudioSource, Gap

__all__ = ["KEPT", "Ended", "Feed", "FeedItem", "Heard", "Missed"]

KEPT: Final = 120 * SAMPLE_RATE
"""Samples of a live source that are kept while whoever shall hear it gets ready."""

_AHEAD = 8 * SAMPLE_RATE
"""Samples that may wait to be heard; a live source's own queue, which counts, comes after."""
_PIECE = 8000
"""Longest piece in samples: half a second keeps memory and latency small."""


class Heard(msgspec.Struct, frozen=True, eq=False):
    """Hold a stretch of sound and when it arrived.

    At ``arrived`` seconds all sound up to the absolute sample ``reached`` was here: somewhat
    more than ``samples``, because the resampler holds a little back.
    """

    samples: Samples
    arrived: float
    reached: int


class Missed(msgspec.Struct, frozen=True):
    """Say that sound was lost at an absolute sample; silence for it follows as ``Heard``.

    ``samples`` is 0 where nobody knows how many.
    """

    samples: int
    reason: str
    at: int


class Ended(msgspec.Struct, frozen=True):
    """Say that nothing more will come, and why if it is not the plain end.

    ``repaired`` counts frames that were no numbers; ``clipped_share`` is the share of frames
    at full scale or beyond.
    """

    error: BaseException | None
    repaired: int
    clipped_share: float


FeedItem: TypeAlias = Heard | Missed | Ended


class Feed:
    """Read a source on a thread of its own and post what it gives, in order.

    At most 8 s of sound, or as many samples as ``start`` is told, are posted before the receiver
    says ``heard`` of them: a file waits, and a microphone's own bounded queue fills and counts
    what it drops.
    """

    def __init__(
        self,
        source: AudioSource,
        channel: int | None,
        post: Callable[[FeedItem], None],
        clock: Callable[[], float],
    ) -> None:
        self._source = source
        self._intake = Intake(source.rate, source.channels, channel)
        self._post = post
        self._clock = clock
        self._ahead = _AHEAD
        self._waiting = 0
        self._room = threading.Condition()
        self._frames = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._read, name="streamser-feed", daemon=True)

    def start(self, ahead: int = _AHEAD) -> None:
        """Begin to read; so many samples may wait, until ``narrow`` is called."""
        self._ahead = ahead
        self._thread.start()

    def narrow(self) -> None:
        """Let no more wait than usual: the receiver has begun to hear."""
        with self._room:
            self._ahead = _AHEAD

    def heard(self, samples: int) -> None:
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
        intake = self._intake
        try:
            for piece in self._source.chunks():
                if self._stopped:
                    return
                arrived = self._clock()
                if isinstance(piece, Gap):
                    at = self._reached
                    self._frames += piece.frames
                    self._post(Missed(self._reached - at, piece.reason, at))
                    self._give(intake.fill(piece.frames), arrived)
                else:
                    self._frames += len(piece)
                    self._give(intake.feed(piece), arrived)
        except BaseException as fault:
            error = fault
        try:
            self._give(intake.flush(), self._clock())
        except BaseException as fault:
            error = error or fault
        share = intake.clipped / self._frames if self._frames else 0.0
        self._post(Ended(error, intake.repaired, share))

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
            self._post(Heard(piece, arrived, reached))

    def _has_room(self, samples: int) -> bool:
        return not self._waiting or self._waiting + samples <= self._ahead
