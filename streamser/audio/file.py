"""Sound from a file, as fast as it can be read or at real speed."""

from __future__ import annotations

import itertools
import os
import queue
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError

if TYPE_CHECKING:
    import av

__all__ = ["FileSource"]

_PACED_BLOCK_MS = 20
_BLOCK_MS = 200
_MOST_SAMPLES = 1 << 20
"""Of a block, all channels together."""

# libmpg123 inside libsndfile writes its troubles to stderr itself; FFmpeg keeps quiet.
_FFMPEG_FIRST = (".mp3", ".mp2", ".mpga")
# Containers whose stated length is a count. Elsewhere FFmpeg guesses it from the bit rate.
_FFMPEG_COUNTED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
_XING = re.compile(rb"(?:Xing|Info)\0\0\0")
# libsndfile trusts the size of the file more than the header, and says so only in its log.
_SNDFILE_SHORTENED = re.compile(r"(?:data|SSND) : (\d+) \(should be (\d+)\)")
# Writers into a pipe cannot know the length and put one of the largest numbers there.
_UNKNOWN_LENGTH = 0x7FFF_0000


class _Reader(Protocol):
    rate: int
    channels: int
    announced: int | None
    """Frames the file says it holds, where it says so."""
    slack: int
    """Frames that a whole file of this format may lack."""
    duration: float | None
    """Seconds; may be a guess where ``announced`` is not."""

    def blocks(self, frames: int) -> Iterator[Frames]:
        """Yield all that can be decoded; a damaged rest ends it quietly."""
        ...

    def close(self) -> None: ...


class FileSource:
    """Read a file in blocks of float32 [frames, channels] at its own rate.

    libsndfile reads what it can (WAV, FLAC, OGG, AIFF and more), FFmpeg (PyAV) the rest (MP3,
    M4A, WebM, the first audio stream of a video). Only one block is in memory at a time.
    ``paced`` plays at real speed: a block is yielded when its last sample would have been
    heard, or at once where the reader is late. ``block_ms`` is 20 paced, else 200.

    The constructor raises ``AudioError`` where the file is missing, empty, holds no audio or is
    not audio. ``chunks`` raises it, with the code ``truncated_audio``, after all that could be
    decoded was yielded, where the file says that it should hold more. A file that states no
    length, such as a recording whose writer was killed, just ends.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, paced: bool = False, block_ms: int | None = None
    ) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self.live = paced
        if block_ms is None:
            block_ms = _PACED_BLOCK_MS if paced else _BLOCK_MS
        if block_ms < 1:
            raise ValueError(f"a block cannot last {block_ms} ms")
        _check_readable(self.path)
        self._reader = _open_reader(self.path)
        self.rate = self._reader.rate
        self.channels = self._reader.channels
        self.duration = self._reader.duration
        # A head may announce any rate, and a thousand channels.
        most = _MOST_SAMPLES // self.channels
        self._block = max(1, min(self.rate * block_ms // 1000, most))
        self._stopped = False
        # A SimpleQueue, unlike an Event, may be touched by a signal handler that interrupts
        # the very thread that waits on it.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield the file's sound in order; called once."""
        begun = time.monotonic()
        position = 0
        try:
            for block in self._reader.blocks(self._block):
                position += len(block)
                if self.live:
                    self._wait_until(begun + position / self.rate)
                if self._stopped:
                    return
                yield block
        finally:
            self._reader.close()
        if not self._stopped:
            self._check_complete(position)

    def stop(self) -> None:
        """Make ``chunks`` end at once, even while it waits for its time."""
        self._stopped = True
        self._wake.put(None)

    def _wait_until(self, deadline: float) -> None:
        while not self._stopped and (left := deadline - time.monotonic()) > 0:
            try:
                self._wake.get(timeout=left)
            except queue.Empty:
                return

    def _check_complete(self, frames: int) -> None:
        announced = self._reader.announced
        if announced is None or frames >= announced - self._reader.slack:
            return
        raise AudioError(
            f"{self.path} is cut short or damaged: {frames / self.rate:.2f} s of the"
            f" {announced / self.rate:.2f} s it announces could be read",
            code="truncated_audio",
        )


class _SndFile:
    """Decode by libsndfile."""

    def __init__(self, path: Path) -> None:
        import soundfile

        self._fault: type[Exception] = soundfile.SoundFileError
        # Elsewhere than on Windows a name may be bytes that no encoding knows.
        self._file = soundfile.SoundFile(path if os.name == "nt" else os.fsencode(path))
        # Else it seeks to where it stands after every block: FLAC then decodes at less than
        # half its speed in small blocks, and the last whole block before damage fails.
        self._file.seekable = lambda: False
        self.rate = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.slack = 0
        self.announced = self._announced()
        self.duration = None if self.announced is None else self.announced / self.rate

    def _announced(self) -> int | None:
        frames = int(self._file.frames)
        if frames >= 2**62:  # libsndfile's way to say that a FLAC header states no length
            return None
        if shortened := _SNDFILE_SHORTENED.search(self._file.extra_info):
            stated, there = map(int, shortened.groups())
            if 0 < there < stated < _UNKNOWN_LENGTH:
                return frames * stated // there
        return frames

    def blocks(self, frames: int) -> Iterator[Frames]:
        while True:
            block: Frames = np.full((frames, self.channels), np.nan, dtype=np.float32)
            try:
                read = len(self._file.read(out=block))
            except self._fault:
                # read() raises although it has filled the block up to the damage.
                missing = np.isnan(block[:, 0])
                if filled := int(missing.argmax()) if missing.any() else frames:
                    yield block[:filled]
                return
            if read == 0:
                return
            yield block[:read]

    def close(self) -> None:
        self._file.close()


class _Container:
    """Decode the first audio stream of anything FFmpeg knows."""

    def __init__(self, path: Path) -> None:
        import av

        self._fault: type[Exception] = av.FFmpegError
        # An open file, not a name: FFmpeg takes some names for protocols or patterns.
        self._raw = path.open("rb")
        try:
            counted = _XING.search(self._raw.read(65_536)) is not None
            self._raw.seek(0)
            # No protocol is called "none": a playlist must not lead to other files or addresses.
            self._container = av.open(self._raw, mode="r", options={"protocol_whitelist": "none"})
            if not self._container.streams.audio:
                raise _holds_no_audio(path)
            self._frames = self._decode()
            # A header may state another rate than the decoder gives (HE-AAC): ask a frame.
            first = next(self._frames, None)
            if first is None or not first.sample_rate:
                raise _holds_no_audio(path)
        except BaseException:
            self._raw.close()
            raise
        self._first = first
        self.rate = int(first.sample_rate)
        self.channels = len(first.layout.channels)
        self.duration = self._stated_duration()
        kind = self._container.format.name
        self.announced = None
        if self.duration and (kind in _FFMPEG_COUNTED or (kind == "mp3" and counted)):
            self.announced = round(self.duration * self.rate)
        # The encoder's delay and padding are counted by some writers and not by others.
        self.slack = self.rate // 4 + (self.announced or 0) // 100

    def _stated_duration(self) -> float | None:
        stream = self._container.streams.audio[0]
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        if self._container.duration is not None and len(self._container.streams) == 1:
            return self._container.duration / 1_000_000
        return None

    def _decode(self) -> Iterator[av.AudioFrame]:
        packets = self._container.demux(self._container.streams.audio[0])
        while True:
            try:
                packet = next(packets)
            except (StopIteration, self._fault):
                return
            try:
                frames = packet.decode()
            except self._fault:
                continue  # one damaged packet; those after it may be whole
            yield from frames

    def blocks(self, frames: int) -> Iterator[Frames]:
        held: list[Frames] = []
        for piece in self._float_frames():
            held.append(piece)
            if sum(map(len, held)) >= frames:
                yield np.concatenate(held)
                held.clear()
        if held:
            yield np.concatenate(held)

    def _float_frames(self) -> Iterator[Frames]:
        import av

        layout, rate = self._first.layout, self._first.sample_rate
        shape: tuple[str, str, int] | None = None
        converter: av.AudioResampler | None = None
        for frame in itertools.chain([self._first], self._frames):
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if converter is None or now != shape:  # a stream may change in its middle
                yield from self._converted(converter, None)
                converter = av.AudioResampler(format="flt", layout=layout, rate=rate)
                shape = now
            frame.pts = None  # else the converter fills or cuts where time stamps jump
            yield from self._converted(converter, frame)
        yield from self._converted(converter, None)

    def _converted(
        self, converter: av.AudioResampler | None, frame: av.AudioFrame | None
    ) -> Iterator[Frames]:
        try:
            pieces = [] if converter is None else converter.resample(frame)
        except self._fault:
            return  # damage may pass for sound of a kind that there is not
        for piece in pieces:
            yield np.asarray(piece.to_ndarray(), dtype=np.float32).reshape(-1, self.channels)

    def close(self) -> None:
        self._container.close()
        self._raw.close()


def _open_reader(path: Path) -> _Reader:
    """Open by libsndfile or else FFmpeg; raise ``AudioError`` where neither finds sound."""
    if path.suffix.lower() not in _FFMPEG_FIRST:
        reader = _open_sndfile(path)
        if reader is not None:
            if reader.announced == 0:
                reader.close()
                raise _holds_no_audio(path)
            return reader
    import av

    try:
        return _Container(path)
    except (av.FFmpegError, ValueError) as fault:
        raise AudioError(
            f"{path} is not audio that libsndfile or FFmpeg can read, or its head is damaged",
            code="not_audio",
        ) from fault


def _open_sndfile(path: Path) -> _SndFile | None:
    import soundfile

    try:
        return _SndFile(path)
    except (soundfile.SoundFileError, TypeError):  # TypeError: a name that ends in .raw
        return None


def _check_readable(path: Path) -> None:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{path} is a directory, not a sound file", code="not_audio")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(
                f"{path} is not a regular file; raw sound can be piped in with --file -",
                code="not_audio",
            )
        if status.st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes)", code="no_audio")
        path.open("rb").close()
    except FileNotFoundError as fault:
        raise AudioError(f"{path} does not exist", code="file_not_found") from fault
    except (OSError, ValueError) as fault:  # ValueError: a NUL character in the name
        why = getattr(fault, "strerror", None) or fault
        raise AudioError(f"{path} cannot be read: {why}", code="file_unreadable") from fault


def _holds_no_audio(path: Path) -> AudioError:
    return AudioError(f"{path} holds no audio", code="no_audio")
