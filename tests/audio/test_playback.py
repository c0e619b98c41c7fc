"""A source that can be heard: what it yields is what is played."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np

from streamser.audio.playback import Audible
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError


class Blocks:
    """A source of a few blocks, each of one value, with a gap after the first."""

    name = "blocks"
    rate = 16_000
    channels = 1
    live = True
    duration = None

    def __init__(self, count: int) -> None:
        self.stopped = False
        self._count = count

    def chunks(self) -> Iterator[Frames | Gap]:
        for value in range(self._count):
            yield np.full((320, 1), value, dtype=np.float32)
            if value == 0:
                yield Gap(320, "dropped")

    def stop(self) -> None:
        self.stopped = True


class Output:
    """A loudspeaker that plays into a list, fails, or hangs until it is let go."""

    def __init__(self, *, fails: bool = False, hangs: bool = False) -> None:
        self.played: list[bytes] = []
        self.tries = 0
        self.closed = threading.Event()
        self.free = threading.Event()
        self._fails = fails
        if not hangs:
            self.free.set()

    def write(self, data: bytes) -> None:
        self.free.wait(60)
        self.tries += 1
        if self._fails:
            raise AudioError("the loudspeaker plays no more: unplugged")
        self.played.append(data)

    def close(self) -> None:
        self.closed.set()


def test_what_is_yielded_is_played() -> None:
    """In its order and to its end; then the device is given back."""
    output = Output()
    audible = Audible(Blocks(5), output)
    chunks = list(audible.chunks())
    assert len(chunks) == 6
    frames = [chunk.tobytes() for chunk in chunks if not isinstance(chunk, Gap)]
    assert output.played == frames
    assert output.closed.is_set()
    assert audible.fault is None


def test_a_loudspeaker_that_fails_is_told_and_stops_nothing() -> None:
    """All is still heard by the program, and the device is not asked again."""
    output = Output(fails=True)
    audible = Audible(Blocks(5), output)
    assert len(list(audible.chunks())) == 6
    assert output.tries == 1
    assert audible.fault is not None
    assert "unplugged" in audible.fault


def test_a_loudspeaker_that_hangs_holds_nobody_up() -> None:
    """What it cannot take is not kept for ever; it ends when it is let go."""
    output = Output(hangs=True)
    audible = Audible(Blocks(500), output)
    sound = audible.chunks()
    heard = [next(sound) for _ in range(400)]
    assert len(heard) == 400
    output.free.set()
    sound.close()  # type: ignore[attr-defined]
    assert output.closed.wait(60)
    assert len(output.played) < 60


def test_stopping_it_stops_the_source() -> None:
    """The one that it plays."""
    source = Blocks(1)
    Audible(source, Output()).stop()
    assert source.stopped
