from __future__ import annotations

import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.audio.raw import Encoding, RawSource
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError
from tests.audio.sounds import heard, tone


class Dribble(io.BytesIO):
    """Give out bytes in pieces of prescribed sizes, as a pipe may."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        super().__init__(data)
        self._sizes = sizes
        self._turn = 0

    def read1(self, size: int | None = -1) -> bytes:
        self._turn += 1
        return super().read1(self._sizes[self._turn % len(self._sizes)])


def pcm(frames: Frames, encoding: Encoding = "s16le") -> bytes:
    """Write frames as headerless bytes."""
    if encoding == "f32le":
        return frames.astype("<f4").tobytes()
    return np.rint(frames * 32768).astype("<i2").tobytes()


@given(
    encoding=st.sampled_from(["s16le", "f32le"]),
    channels=st.integers(1, 3),
    length=st.integers(1, 300),
    extra=st.integers(0, 1),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=9),
)
def test_frames_split_over_reads_come_out_whole(
    encoding: Encoding, channels: int, length: int, extra: int, sizes: list[int]
) -> None:
    """Wherever the reads cut, the frames are those written; half a sample at the end is not one."""
    sound = (np.rint(tone(1.0, 8_000, channels)[:length] * 32768) / 32768).astype(np.float32)
    stream = Dribble(pcm(sound, encoding) + b"\1" * extra, sizes)
    source = RawSource(stream, 8_000, channels, encoding)
    assert np.array_equal(heard(list(source.chunks())), sound)


def test_source_describes_itself() -> None:
    """A pipe waits for its reader: it is not live, and nobody knows how long it will be."""
    source = RawSource(io.BytesIO(b""), 48_000, 2, name="a socket")
    assert (source.name, source.rate, source.channels) == ("a socket", 48_000, 2)
    assert (source.live, source.duration) == (False, None)


def test_nothing_is_lost_to_a_slow_reader() -> None:
    """A pipe far longer than the read-ahead comes out whole, however late it is read."""
    sound = np.random.default_rng(0).integers(-9_999, 9_999, (1_000_000, 1)) / 32768
    got = heard(list(RawSource(io.BytesIO(pcm(sound.astype(np.float32)))).chunks()))
    assert np.array_equal(got, sound)


def test_only_a_little_is_read_ahead() -> None:
    """The writer is held back: while nobody consumes, four blocks at most are taken."""
    stream = io.BytesIO(bytes(10_000_000))
    source = RawSource(stream)
    chunks = source.chunks()
    for _ in range(3):
        next(chunks)
    assert stream.tell() <= 7 * 32_768
    source.stop()
    assert len(list(chunks)) <= 5


def test_stop_ends_a_source_whose_pipe_stays_silent() -> None:
    """A read that blocks for ever does not hold up the end, and what was heard is kept."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb") as pipe:
        source = RawSource(stream)
        got: list[Frames | Gap] = []
        first = threading.Event()

        def listen() -> None:
            for chunk in source.chunks():
                got.append(chunk)
                first.set()

        thread = threading.Thread(target=listen)
        thread.start()
        pipe.write(pcm(tone(0.1, 16_000)))
        pipe.flush()
        assert first.wait(timeout=60)
        source.stop()
        source.stop()
        thread.join(timeout=60)
        assert not thread.is_alive()
        assert len(heard(got)) == 1_600


def test_process_can_end_while_a_read_of_stdin_blocks() -> None:
    """The thread left in its read does not crash or hang the interpreter's exit."""
    code = (
        "import sys; from streamser.audio.raw import RawSource\n"
        "source = RawSource(sys.stdin.buffer)\n"
        "for chunk in source.chunks():\n"
        "    print(len(chunk), flush=True); source.stop()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.write(pcm(tone(0.01, 16_000)))
        child.stdin.flush()
        assert child.stdout.read() == b"160\n"
        assert child.wait(timeout=60) == 0
        assert child.stderr.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows pipes are always blocking")
def test_pipe_that_does_not_block_is_waited_for() -> None:
    """A descriptor that a parent made non-blocking is read to its end, not taken as ended."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb") as stream:
        source = RawSource(stream)
        chunks = source.chunks()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(bytes(20))
            pipe.flush()
            assert len(heard([next(chunks)])) == 10
            # The reader waits now, or soon, at a pipe that is empty but open.
            threading.Timer(0.05, pipe.close).start()
            assert list(chunks) == []


def test_stream_without_sound_is_an_error() -> None:
    """Nothing on stdin means that something before it went wrong, and that is said."""
    for nothing in (b"", b"\1"):
        with pytest.raises(AudioError, match="ended before any sound") as caught:
            list(RawSource(io.BytesIO(nothing)).chunks())
        assert caught.value.code == "no_audio"


@pytest.mark.parametrize(("head", "kind"), [(b"RIFF", "WAV"), (b"FORM", "AIFF"), (b"fLaC", "FLAC")])
def test_file_with_a_header_is_not_played_as_noise(head: bytes, kind: str) -> None:
    """A WAV file piped in as raw sound is recognised and refused."""
    with pytest.raises(AudioError, match=f"carries a {kind} file"):
        list(RawSource(io.BytesIO(head + bytes(100))).chunks())


def test_stream_that_breaks_yields_what_came_before() -> None:
    """A read that fails is an error after the sound, not instead of it."""

    class Broken(Dribble):
        def read1(self, size: int | None = -1) -> bytes:
            if self._turn == 3:
                raise OSError("the line went dead")
            return super().read1(size)

    chunks = RawSource(Broken(bytes(1_000), [100])).chunks()
    assert len(heard([next(chunks) for _ in range(3)])) == 150
    with pytest.raises(AudioError, match="stdin broke off: the line went dead"):
        next(chunks)


def test_stopped_before_it_began_gives_nothing() -> None:
    """A source that is stopped first does not read at all."""
    stream = io.BytesIO(bytes(1_000))
    source = RawSource(stream)
    source.stop()
    assert list(source.chunks()) == []
    assert stream.tell() == 0


def test_impossible_formats_are_refused() -> None:
    """Unknown encodings, text, no channels and terminals are told apart."""
    with pytest.raises(AudioError, match="one of s16le, f32le"):
        RawSource(io.BytesIO(), encoding="u8")  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="text, not bytes"):
        RawSource(io.StringIO("sound"))  # type: ignore[arg-type]
    with pytest.raises(AudioError, match="0 channels"):
        RawSource(io.BytesIO(), channels=0)

    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    with pytest.raises(AudioError, match="is a terminal"):
        RawSource(Terminal())
