"""Sound that somebody hands over piece by piece, as a live source."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

from streamser.audio.reader import checked_rate
from streamser.audio.source import Frames, Gap


class FedSource:
    """Yield what is fed to it, from any thread; who feeds never waits.

    ``rate`` is in frames a second. At most ``keep_s`` seconds wait to be read: of what does not
    fit the oldest is lost, and told as a ``Gap`` in its place. Raises ``AudioError`` for a rate
    that cannot be used.
    """

    def __init__(
        self, rate: int, channels: int = 1, *, name: str = "fed", keep_s: float = 30.0
    ) -> None:
        self.rate = checked_rate(rate)
        self.channels = channels
        self.name = name
        self.live = True
        self.duration: float | None = None
        self._most = round(keep_s * self.rate)
        self._pieces: deque[Frames] = deque()
        self._waiting = 0
        self._lost = 0
        self._over = False
        self._changed = threading.Condition()

    def feed(self, frames: Frames) -> None:
        """Take sound in [-1, 1], float32 of shape (frames, channels); after the end, nothing."""
        with self._changed:
            if self._over or not len(frames):
                return
            self._pieces.append(frames)
            self._waiting += len(frames)
            while self._waiting > self._most and len(self._pieces) > 1:
                lost = len(self._pieces.popleft())
                self._waiting -= lost
                self._lost += lost
            self._changed.notify()

    def finish(self) -> None:
        """Say that no more comes: ``chunks`` ends after what waits."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield the sound in order; waits for more. Called once."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pieces or self._over)
                lost, self._lost = self._lost, 0
                piece = self._pieces.popleft() if self._pieces else None
                self._waiting -= 0 if piece is None else len(piece)
            if lost:
                yield Gap(lost, "dropped")
            if piece is None:
                return
            yield piece

    def stop(self) -> None:
        """Make ``chunks`` end at once; what waits is let go of."""
        with self._changed:
            self._over = True
            self._pieces.clear()
            self._waiting = 0
            self._changed.notify()
