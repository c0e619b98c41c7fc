"""Sound without a file: headerless from a pipe, ``--file -``, and arrays in memory."""

from __future__ import annotations

import io
import itertools
import queue
import select
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from streamser.audio.reader import checked_rate
from streamser.audio.source import Frames, Gap, SoundCheck, container_of
from streamser.errors import AudioError

Encoding: TypeAlias = Literal["s16le", "f32le"]

_WIDTH = {"s16le": 2, "f32le": 4}
_READ_BYTES = 32_768
_BLOCKS_AHEAD = 4

_PIECE = 16_384
MOST_CHANNELS = 64
"""Channels of an array at most; where there are more, they are taken for frames."""


class RawSource:
    """Read little-endian PCM from a binary stream, at the speed at which it is consumed.

    ``live`` is false although a pipe may come from a microphone: a pipe has back-pressure, the
    writer waits while nobody reads, so nothing may ever be dropped to catch up. At most
    ``_BLOCKS_AHEAD`` blocks of 32 KiB are read ahead of the consumer.

    A daemon thread reads, because no portable call can interrupt a blocked read: ``stop`` ends
    ``chunks`` at once and leaves that thread behind in its last read. A pipe is read below its
    ``BufferedReader``, whose lock, still held by that thread, would crash the interpreter's
    exit; bytes which that reader has buffered before are therefore not seen.

    What is not what it is said to be is told to ``tell``, in one line, and read on.

    A frame may be split over reads; an incomplete one at the very end is dropped. The
    constructor raises ``AudioError`` for a terminal, a stream of text, an unknown encoding, or a
    count of channels below 1; ``chunks`` for a stream without any sound, one that is a sound file
    with a header, or one that fails.
    """

    def __init__(
        self,
        stream: BinaryIO,
        rate: int = 16_000,
        channels: int = 1,
        encoding: Encoding = "s16le",
        name: str = "stdin",
        tell: Callable[[str], None] | None = None,
    ) -> None:
        if encoding not in _WIDTH:
            raise AudioError(f"unknown encoding {encoding!r}: use one of {', '.join(_WIDTH)}")
        if channels < 1:
            raise AudioError(f"{name} cannot have {channels} channels")
        if isinstance(stream, io.TextIOBase):
            raise AudioError(
                f"{name} gives text, not bytes: open it in binary mode, or give its .buffer"
            )
        if stream.isatty():
            raise AudioError(f"{name} is a terminal: pipe raw {encoding} sound into it")
        self.name = name
        self.rate = rate
        self.channels = channels
        self.live = False
        self.duration: float | None = None
        self._encoding = encoding
        self._stream = stream
        self._stopped = False
        self._tell = tell
        self._check = SoundCheck(encoding, channels)
        # SimpleQueues, because stop() may run in a signal handler. The reader spends a credit
        # for every block and the consumer gives it back: a bounded queue with two plain ends.
        self._blocks: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
        self._credits: queue.SimpleQueue[None] = queue.SimpleQueue()

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield sound until the stream ends or is stopped; called once."""
        if self._stopped:
            return
        for _ in range(_BLOCKS_AHEAD):
            self._credits.put(None)
        threading.Thread(target=self._read_on, name=f"read {self.name}", daemon=True).start()
        frame_bytes = _WIDTH[self._encoding] * self.channels
        rest = b""
        heard = False
        try:
            while (block := self._blocks.get()) is not None:
                if isinstance(block, Exception):
                    raise AudioError(f"{self.name} broke off: {block}", code="truncated_audio")
                if not heard and not rest:
                    self._refuse_header(block)
                doubt = self._check.look(block)
                if doubt is not None and self._tell is not None:
                    self._tell(f"{self.name}: {doubt.message}")
                rest += block
                whole = len(rest) - len(rest) % frame_bytes
                if whole:
                    heard = True
                    yield self._decode(rest[:whole])
                rest = rest[whole:]
                self._credits.put(None)
            if not heard and not self._stopped:
                raise AudioError(f"{self.name} ended before any sound came", code="no_audio")
        finally:
            self.stop()

    def stop(self) -> None:
        """Make ``chunks`` end after what has been read already."""
        self._stopped = True
        self._blocks.put(None)
        self._credits.put(None)

    def _decode(self, data: bytes) -> Frames:
        frames: Frames
        if self._encoding == "f32le":
            frames = np.frombuffer(data, dtype="<f4").astype(np.float32)
        else:
            frames = np.frombuffer(data, dtype="<i2").astype(np.float32)
            frames /= 32768.0
        return frames.reshape(-1, self.channels)

    def _refuse_header(self, head: bytes) -> None:
        kind = container_of(head)
        if kind is not None:
            raise AudioError(
                f"{self.name} carries a {kind} file, not raw {self._encoding} samples: save"
                " it and give its name, or convert it on the way",
                code="not_raw_audio",
            )

    def _read_on(self) -> None:
        read = _reader_of(self._stream)
        try:
            while True:
                self._credits.get()
                if self._stopped:
                    return
                while (block := read(_READ_BYTES)) is None:
                    # A descriptor that somebody made non-blocking, with nothing in it yet.
                    select.select([self._stream], [], [])
                if not block:
                    break
                self._blocks.put(block)
        except (OSError, ValueError) as fault:  # ValueError: the stream was closed
            self._blocks.put(fault)
        self._blocks.put(None)


def _reader_of(stream: BinaryIO) -> Callable[[int], bytes | None]:
    """Return the read that gives what there is, without waiting for the full count."""
    raw = getattr(stream, "raw", None)
    if raw is not None and not stream.seekable():
        return cast("Callable[[int], bytes | None]", raw.read)
    return cast("Callable[[int], bytes | None]", getattr(stream, "read1", stream.read))


class ArraySource:
    """Yield an array, or those of an iterator, as a source of sound that nothing paces.

    Arrays are of shape (frames,) or (frames, channels); floats in [-1, 1], or signed integers
    of 8 to 32 bits, of which the largest is full scale. ``rate`` is in frames a second. Of
    an iterator the first array is awaited at once, since it says how many channels there are.
    Raises ``AudioError`` for what is no sound, for a rate that cannot be used, and where an
    iterator ends before the first.
    """

    def __init__(
        self,
        sound: npt.NDArray[Any] | Iterable[npt.NDArray[Any]],
        rate: int,
        *,
        name: str = "array",
        live: bool = False,
    ) -> None:
        self.rate = checked_rate(rate)
        whole = isinstance(sound, np.ndarray)
        arrays = iter([sound] if isinstance(sound, np.ndarray) else sound)
        first = next(arrays, None)
        if first is None:
            raise AudioError(f"{name} ended before any sound came", code="no_audio")
        first = as_frames(first)
        self.name = name
        self.channels = first.shape[1]
        self.live = live
        self.duration: float | None = len(first) / self.rate if whole else None
        self._arrays = itertools.chain([first], map(as_frames, arrays))
        self._stopped = False

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield the sound; called once."""
        for frames in self._arrays:
            for offset in range(0, len(frames), _PIECE):
                if self._stopped:
                    return
                yield frames[offset : offset + _PIECE]

    def stop(self) -> None:
        """Make ``chunks`` end after the piece that is on its way."""
        self._stopped = True


def as_frames(sound: npt.NDArray[Any]) -> Frames:
    """Return sound as float32 of shape (frames, channels); raises ``AudioError``."""
    array = np.asarray(sound)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim == 2 and (
        array.dtype.kind == "u" or (array.dtype.kind == "i" and array.dtype.itemsize > 4)
    ):
        # Whoever adds up or averages int16 gets int64, still on the scale of 16 bits.
        raise AudioError(
            f"an array of {array.dtype} does not say what full scale is: give int16 or floats in"
            " [-1, 1]; signed integers of 8 to 32 bits can be used."
        )
    if array.ndim != 2 or array.dtype.kind not in "fi":
        raise AudioError(
            f"an array of shape {np.shape(sound)} and type {array.dtype} is no sound: give floats"
            " in [-1, 1] or signed integers of 8 to 32 bits, of shape (frames,) or"
            " (frames, channels)."
        )
    if array.shape[1] > MOST_CHANNELS:
        raise AudioError(
            f"an array of shape {array.shape} would have {array.shape[1]} channels: frames come"
            " first, so give its transpose (.T)."
        )
    if array.dtype.kind == "i":
        return array.astype(np.float32) / -float(np.iinfo(array.dtype).min)
    return array.astype(np.float32, copy=False)
