"""Sound from a file, as fast as it can be read or at real speed.

Files may stand one behind another in one file, as ``cat a.ogg b.ogg`` and radio streams leave them.
"""

from __future__ import annotations

import io
import mmap
import os
import queue
import stat
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol, cast

import numpy as np

from streamser.audio.container import Container, SndFile, holds_no_audio
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError

_FLAC: Final = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
"""A FLAC file's first 8 bytes: its mark, and the head of a STREAMINFO of 34 bytes."""
_OGG: Final = b"OggS\x00\x02" + bytes(8)
"""An Ogg stream's first page: version 0, "begins a stream", position 0 (RFC 3533)."""
_OGG_HEAD: Final = 27
_RIFF_HEAD: Final = 12


class Reader(Protocol):
    """What decodes a file, or a part of one."""

    rate: int
    channels: int
    announced: int | None
    """Frames the file says it holds, where it says so."""
    duration: float | None
    """Seconds; may be a guess where ``announced`` is not."""

    def blocks(self, frames: int) -> Iterator[Frames]:
        """Yield all that can be decoded; a damaged rest ends it quietly."""
        ...

    def missing(self, frames: int) -> str | None:
        """Say what could not be read, where only so many frames came of ``blocks``."""
        ...

    def close(self) -> None:
        """Let the file go."""
        ...


class FileSpan(io.RawIOBase):
    """Bytes ``start`` to ``end`` of a file as a file of their own, some of them replaced."""

    def __init__(
        self, path: Path, start: int, end: int, patches: dict[int, bytes] | None = None
    ) -> None:
        self._file = path.open("rb")
        self._start = start
        self._size = end - start
        self._patches = patches or {}
        self._at = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it can be moved in."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move within the span."""
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read up to the end of the span."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._at)
        data = bytearray(self._file.read(max(0, min(len(view), self._size - self._at))))
        for place, new in self._patches.items():
            for offset, byte in enumerate(new, place - self._at):
                if 0 <= offset < len(data):
                    data[offset] = byte
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file below."""
        self._file.close()
        super().close()


def open_span(
    path: Path, start: int, end: int, patches: dict[int, bytes] | None = None
) -> BinaryIO:
    """Open a part of a file for reading, with some bytes (by their place in it) replaced."""
    return cast("BinaryIO", io.BufferedReader(FileSpan(path, start, end, patches), 65_536))


def find_links(path: Path) -> list[tuple[int, int]]:
    """Return where the files joined in an Ogg, FLAC, WAV, AIFF or MP4 file begin and end, in bytes.

    Anything else, and what cannot be told apart, is one.
    """
    with path.open("rb") as file:
        size = path.stat().st_size
        head = file.read(_RIFF_HEAD)
        find = _FINDERS.get(head[:4]) or _FINDERS.get(head[4:8])
        if find is None:
            return [(0, size)]
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            begun = [0, *(start for start in find(data) if start > 0)]
    return list(zip(begun, [*begun[1:], size], strict=True))


def _flac_starts(data: mmap.mmap) -> list[int]:
    return sorted(place for mark in _FLAC for place in _places(data, mark))


def _ogg_starts(data: mmap.mmap) -> list[int]:
    """Leave out the first pages that stand side by side: streams of one link, such as a film's."""
    starts, beside = [], 0
    for place in _places(data, _OGG):
        if place != beside:
            starts.append(place)
        segments = data[place + _OGG_HEAD - 1] if place + _OGG_HEAD <= len(data) else 0
        table = data[place + _OGG_HEAD : place + _OGG_HEAD + segments]
        beside = place + _OGG_HEAD + segments + sum(table)
    return starts


def _chunk_starts(data: mmap.mmap) -> list[int]:
    """Find WAV after WAV, or AIFF after AIFF, by the sizes in their heads."""
    starts, place, mark = [], 0, data[:4]
    order: Literal["little", "big"] = "little" if mark == b"RIFF" else "big"
    while data[place : place + 4] == mark:
        starts.append(place)
        size = int.from_bytes(data[place + 4 : place + 8], order)
        place += 8 + size + size % 2
    return starts


def _mp4_starts(data: mmap.mmap) -> list[int]:
    """Find the heads of whole MP4 files; those of a fragmented one belong together."""
    starts, boxes, place = [], [], 0
    while place + 16 <= len(data):
        size, kind = struct.unpack(">I4s", data[place : place + 8])
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        if kind == b"ftyp":
            starts.append(place)
        boxes.append(kind)
        if size < 8:
            break
        place += size
    whole = boxes.count(b"moov") == len(starts) and b"moof" not in boxes
    return starts if whole else []


def _places(data: mmap.mmap, mark: bytes) -> Iterator[int]:
    place = data.find(mark)
    while place >= 0:
        yield place
        place = data.find(mark, place + len(mark))


_FINDERS: Final[dict[bytes, Callable[[mmap.mmap], list[int]]]] = {
    b"OggS": _ogg_starts,
    b"fLaC": _flac_starts,
    b"RIFF": _chunk_starts,
    b"FORM": _chunk_starts,
    b"ftyp": _mp4_starts,
}


def without_length(path: Path, start: int, end: int) -> BinaryIO | None:
    """Open a WAV whose writer died before it wrote the length, as one of unknown length.

    ``None`` where the file is no such WAV, or really holds no more than its head.
    """
    with path.open("rb") as file:
        file.seek(start)
        if file.read(_RIFF_HEAD)[::8] != b"RW" or end - start <= _RIFF_HEAD:
            return None
        place = _RIFF_HEAD
        while len(head := file.read(8)) == 8:
            mark, size = struct.unpack("<4sI", head)
            if mark == b"data":
                left = end - start - place - 8
                stated = size not in (0, 0xFFFF_FFFF)  # RF64 has the length elsewhere
                unknown = not stated and left > 0 and not _only_chunks(file.read(12), left)
                patch = {0: b"RIFF", place + 4: b"\xff\xff\xff\xff"}
                return open_span(path, start, end, patch) if unknown else None
            place += 8 + size + size % 2
            file.seek(start + place)
    return None


def _only_chunks(head: bytes, left: int) -> bool:
    """Say whether what follows an empty ``data`` is another chunk, and not sound."""
    return (
        len(head) >= 8
        and head[:4] in (b"LIST", b"id3 ", b"fact", b"bext", b"JUNK", b"cue ")
        and (8 + int.from_bytes(head[4:8], "little") <= left)
    )


class Chain:
    """Decode links one after another, at the first one's rate and channels.

    A link with other channels comes as the mean of its own, one of another rate is resampled.
    """

    def __init__(
        self,
        first: Reader,
        rest: list[tuple[int, int]],
        open_link: Callable[[tuple[int, int]], Reader],
    ) -> None:
        self._reader = first
        self._rest = rest
        self._open = open_link
        self._missing: list[str] = []
        self.rate = first.rate
        self.channels = first.channels
        self.announced: int | None = None
        self.duration: float | None = None

    def blocks(self, frames: int) -> Iterator[Frames]:
        """Yield the blocks of all links."""
        yield from self._link(frames, 1)
        for number, span in enumerate(self._rest, 2):
            self._reader.close()
            try:
                self._reader = self._open(span)
            except AudioError:
                self._missing.append(f"part {number} could not be read")
                continue
            yield from self._link(frames, number)

    def _link(self, frames: int, number: int) -> Iterator[Frames]:
        reader, read = self._reader, 0
        resampler = _resampler(reader.rate, self.rate, self.channels)
        for block in reader.blocks(max(1, frames * reader.rate // self.rate)):
            read += len(block)
            fitted = self._fitted(block)
            yield fitted if resampler is None else resampler.resample_chunk(fitted)
        if resampler is not None:
            yield resampler.resample_chunk(np.empty((0, self.channels), np.float32), last=True)
        if missing := reader.missing(read):
            self._missing.append(f"part {number}: {missing}")

    def _fitted(self, block: Frames) -> Frames:
        if block.shape[1] == self.channels:
            return block
        mean = block.mean(axis=1, dtype=np.float32, keepdims=True)
        return np.repeat(mean, self.channels, axis=1)

    def missing(self, frames: int) -> str | None:
        """Say what is missing of which part."""
        del frames
        return "; ".join(self._missing) or None

    def close(self) -> None:
        """Close the part that is open."""
        self._reader.close()


def _resampler(given: int, wanted: int, channels: int) -> Any:
    if given == wanted:
        return None
    import soxr

    return soxr.ResampleStream(given, wanted, channels, dtype="float32")


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
        check_readable(self.path)
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


def check_readable(path: Path) -> None:
    """Raise ``AudioError`` for what is no file with anything in it that may be read."""
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
