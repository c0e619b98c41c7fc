"""Headerless sound from a pipe: ``--file -``."""

from __future__ import annotations

import io
import queue
import select
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal, TypeAlias, cast

import numpy as np

from streamser.audio.source import Frames, Gap
from streamser.audio.suspicion import SoundCheck, container_of
from streamser.errors import AudioError

Encoding: TypeAlias = Literal["s16le", "f32le"]

_WIDTH = {"s16le": 2, "f32le": 4}
_READ_BYTES = 32_768
_BLOCKS_AHEAD = 4


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
