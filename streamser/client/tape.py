"""The last stretch of a stream of raw sound, addressed by absolute frame."""

from __future__ import annotations

__all__ = ["Tape"]


class Tape:
    """Hold raw sound from frame ``start`` to frame ``end``; ``silence`` is one silent frame."""

    def __init__(self, silence: bytes) -> None:
        self.start = 0
        self._silence = silence
        self._data = bytearray()

    @property
    def end(self) -> int:
        """Return the frame just past the last one."""
        return self.start + len(self._data) // len(self._silence)

    def append(self, data: bytes) -> None:
        """Add whole frames."""
        self._data += data

    def forget(self, before: int) -> None:
        """Let go of the frames before one."""
        frames = min(before, self.end) - self.start
        if frames > 0:
            # CPython moves nothing here: a bytearray may begin anywhere in its memory.
            del self._data[: frames * len(self._silence)]
            self.start += frames

    def read(self, at: int, until: int) -> bytes:
        """Return the frames from ``at`` to ``until``; silence stands for those let go."""
        width = len(self._silence)
        missing = max(0, min(until, self.start) - at)
        first, last = max(at, self.start) - self.start, max(until, self.start) - self.start
        return self._silence * missing + bytes(self._data[first * width : last * width])
