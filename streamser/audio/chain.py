"""Files one behind another in one file, as ``cat a.ogg b.ogg`` and radio streams leave them."""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Protocol, cast

import numpy as np

from streamser.audio.source import Frames
from streamser.errors import AudioError

__all__ = ["Chain", "Reader", "Span", "find_links", "open_span", "without_length"]

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


class Span(io.RawIOBase):
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
    return cast("BinaryIO", io.BufferedReader(Span(path, start, end, patches), 65_536))


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
