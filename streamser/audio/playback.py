"""A source that can be heard: what it yields also goes to the loudspeaker."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from streamser.audio.microphone import PortAudio
from streamser.audio.source import AudioSource, Frames, Gap
from streamser.errors import AudioError

_WAITING = 50
"""Blocks that may wait, a second of a paced file: a device that hangs must not fill memory."""
_CLOSING_S = 1.0


class Output(Protocol):
    """Stand for an opened loudspeaker."""

    def write(self, data: bytes) -> None:
        """Play interleaved float32 samples; waits, and raises ``AudioError`` where it fails."""
        ...

    def close(self) -> None:
        """Play what was written, and give the device back."""
        ...


def open_output(rate: int, channels: int) -> Output:
    """Open the loudspeaker that the system prefers; raises ``AudioError`` where there is none."""
    return PortAudio().open_output(rate, channels)


class Audible:
    """Play a paced source while it is read; it is timed by the source, and never waited for.

    ``fault`` is why nothing more is played, if so; the source goes on.
    """

    def __init__(self, source: AudioSource, output: Output) -> None:
        self.name = source.name
        self.rate = source.rate
        self.channels = source.channels
        self.live = source.live
        self.duration = source.duration
        self.fault: str | None = None
        self._source = source
        self._output = output
        self._waiting: queue.Queue[Frames | None] = queue.Queue(_WAITING)

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield the source's sound, and play it; called once."""
        playing = threading.Thread(target=self._play, name="loudspeaker", daemon=True)
        playing.start()
        try:
            for chunk in self._source.chunks():
                if not isinstance(chunk, Gap) and not self._waiting.full():
                    self._waiting.put_nowait(chunk)
                yield chunk
        finally:
            self._end()
            playing.join(_CLOSING_S)

    def stop(self) -> None:
        """Make ``chunks`` end soon."""
        self._source.stop()

    def _end(self) -> None:
        # One that does not keep up is cut off, not waited for.
        if self._waiting.full():
            with suppress(queue.Empty):
                self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    def _play(self) -> None:
        try:
            while (chunk := self._waiting.get()) is not None:
                if self.fault is None:
                    self._write(chunk)
        finally:
            self._output.close()

    def _write(self, chunk: Frames) -> None:
        try:
            self._output.write(chunk.tobytes())
        except AudioError as fault:
            self.fault = str(fault)
