"""Where sound goes: to the loudspeaker while it is read, and into a FLAC file."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.microphone import PortAudio
from streamser.audio.source import AudioSource, Frames, Gap
from streamser.errors import AudioError

_WAITING = 50
"""Blocks that may wait, a second of a paced file: a device that hangs must not fill memory."""
_CLOSING_S = 1.0

_FLUSH_EVERY = SAMPLE_RATE // 2


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


class FlacRecorder:
    """Write 16 kHz mono samples to ``path`` as 16-bit FLAC, as they come.

    A process that is killed leaves a readable file without about its last 3/4 second: half a
    second between flushes and the encoder's open block of 4096 samples. The file is a new one.
    Raises ``AudioError`` (code ``recording_failed``) where it is there already, cannot be made
    or cannot be written on, from the constructor, ``write`` and ``close``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import soundfile

        self.path = Path(path)
        self._faults: tuple[type[Exception], ...] = (OSError, soundfile.SoundFileError)
        self._since_flush = 0
        try:
            # libsndfile does not say why it cannot open a file; the system does.
            # A new file is for its owner only, since what people say is theirs; and it is no
            # link that somebody else has put there.
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            self._file = soundfile.SoundFile(
                self.path, "w", SAMPLE_RATE, 1, "PCM_16", format="FLAC"
            )
        except self._faults as fault:
            raise self._failed(fault) from fault

    def write(self, samples: Samples) -> None:
        """Append samples, mono float32 of shape (n,); those beyond full scale are clipped.

        Scaled by 32768, so that sound which came from 16-bit samples is kept to the bit.
        """
        pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
        try:
            self._file.write(pcm)
            self._since_flush += len(pcm)
            if self._since_flush >= _FLUSH_EVERY:
                self._since_flush = 0
                self._file.flush()
        except self._faults as fault:
            raise self._failed(fault) from fault

    def close(self) -> None:
        """Write the rest and the length into the header; a second call does nothing."""
        try:
            self._file.close()
        except self._faults as fault:
            raise self._failed(fault) from fault

    def __enter__(self) -> FlacRecorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _failed(self, fault: Exception) -> AudioError:
        why = getattr(fault, "strerror", None) or "no room left, or the file was taken away"
        return AudioError(f"cannot record to {self.path}: {why}", code="recording_failed")
