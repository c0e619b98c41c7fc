"""Sound from a file, as fast as it can be read or at real speed."""

from __future__ import annotations

import os
import queue
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from streamser.audio.chain import Chain, Reader, find_links, open_span, without_length
from streamser.audio.container import Container, holds_no_audio
from streamser.audio.sndfile import SndFile
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError

__all__ = ["FileSource"]

_PACED_BLOCK_MS = 20
_BLOCK_MS = 200
_MOST_SAMPLES = 1 << 20
"""Of a block, all channels together."""

# libmpg123 inside libsndfile writes its troubles to stderr itself; FFmpeg keeps quiet.
_FFMPEG_FIRST = (".mp3", ".mp2", ".mpga")


class FileSource:
    """Read a file in blocks of float32 [frames, channels] at its own rate.

    libsndfile reads what it can (WAV, FLAC, OGG, AIFF and more), FFmpeg (PyAV) the rest (MP3,
    M4A, WebM, a sound track of a video). Only one block is in memory at a time. Sound
    that a container starts late, or in which it leaves a hole, comes with silence in that place.
    Files that were joined into one (Ogg, FLAC, WAV) are read one after another.
    ``paced`` plays at real speed: a block is yielded when its last sample would have been
    heard, or at once where the reader is late. ``block_ms`` is 20 paced, else 200. Of several
    sound tracks (``tracks`` counts them) ``track`` is heard, from 0; where none is asked for it
    is the one marked as default, else the first, unless it is silent and another is not.

    The constructor raises ``AudioError`` where the file is missing, empty, holds no audio or no
    such track, or is not audio. ``chunks`` raises it, with the code ``truncated_audio``, after
    all that could be decoded was yielded, where the file says that it should hold more. A file
    that states no length, such as a recording whose writer was killed, just ends.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        paced: bool = False,
        block_ms: int | None = None,
        track: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self.live = paced
        if block_ms is None:
            block_ms = _PACED_BLOCK_MS if paced else _BLOCK_MS
        if block_ms < 1:
            raise ValueError(f"a block cannot last {block_ms} ms")
        _check_readable(self.path)
        try:
            self._reader = _open_reader(self.path, track)
        except OSError as fault:
            raise _unreadable(self.path, fault) from fault
        several = self._reader if isinstance(self._reader, Container) else None
        self.tracks = several.tracks if several else 1
        self.track = several.track if several else 0
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
        except OSError as fault:
            raise _unreadable(self.path, fault) from fault
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
        if missing := self._reader.missing(frames):
            raise AudioError(
                f"{self.path} is cut short or damaged: {missing}", code="truncated_audio"
            )


def _open_reader(path: Path, track: int | None) -> Reader:
    """Open by libsndfile or else FFmpeg; raise ``AudioError`` where neither finds sound."""
    links = find_links(path)
    if track:  # only FFmpeg knows more than one
        return _open_container(path, None, track)
    if len(links) == 1:
        return _open_link(path, track=track)
    first, *rest = links
    return Chain(_open_link(path, first), rest, lambda span: _open_link(path, span))


def _open_link(path: Path, span: tuple[int, int] | None = None, track: int | None = None) -> Reader:
    """Open a file, or the part of it between two bytes."""
    if path.suffix.lower() not in _FFMPEG_FIRST:
        reader = _open_sndfile(path if span is None else open_span(path, *span))
        if reader is not None and reader.announced == 0:
            reader.close()
            reader = _open_unfinished(path, span)
        if reader is not None:
            return reader
    return _open_container(path, None if span is None else open_span(path, *span), track)


def _open_container(path: Path, raw: BinaryIO | None, track: int | None) -> Container:
    import av

    try:
        return Container(path, raw, track)
    except (av.FFmpegError, ValueError) as fault:
        raise AudioError(
            f"{path} is not audio that libsndfile or FFmpeg can read, or its head is damaged",
            code="not_audio",
        ) from fault


def _open_unfinished(path: Path, span: tuple[int, int] | None) -> SndFile:
    """Open a recording whose writer died before it wrote the length into the head."""
    raw = without_length(path, *(span or (0, path.stat().st_size)))
    reader = None if raw is None else _open_sndfile(raw)
    if reader is None or reader.announced == 0:
        raise holds_no_audio(path)
    return reader


def _open_sndfile(file: Path | BinaryIO) -> SndFile | None:
    import soundfile

    try:
        reader = SndFile(file)
    except (soundfile.SoundFileError, TypeError):  # TypeError: a name that ends in .raw
        return None
    if reader.guessed:
        reader.close()
        return None
    return reader


def _check_readable(path: Path) -> None:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{path} is a directory, not a sound file", code="not_audio")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError(
                f"{path} is not a regular file; raw sound can be piped into `listen --file -`",
                code="not_audio",
            )
        if status.st_size == 0:
            raise AudioError(f"{path} is empty (0 bytes)", code="no_audio")
        path.open("rb").close()
    except FileNotFoundError as fault:
        raise AudioError(f"{path} does not exist", code="file_not_found") from fault
    except (OSError, ValueError) as fault:  # ValueError: a NUL character in the name
        raise _unreadable(path, fault) from fault


def _unreadable(path: Path, fault: Exception) -> AudioError:
    why = getattr(fault, "strerror", None) or fault
    return AudioError(f"{path} cannot be read: {why}", code="file_unreadable")
