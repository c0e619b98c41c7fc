from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamser.audio.file import FileSource
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError
from tests.audio.sounds import encode, heard, tone, write
from tests.data import shared_data


def read_until_error(source: FileSource) -> tuple[Frames, AudioError]:
    """Collect what a source yields before it raises, and what it raises."""
    chunks: list[Frames | Gap] = []
    try:
        for chunk in source.chunks():
            chunks.append(chunk)  # noqa: PERF402  (list() would lose them when it raises)
    except AudioError as error:
        return heard(chunks), error
    pytest.fail("the source came to its end without an error")


@pytest.mark.parametrize(
    ("name", "subtype", "rate", "channels", "error"),
    [
        ("16.wav", "PCM_16", 16_000, 1, 1e-4),
        ("phone.wav", "PCM_U8", 8_000, 1, 1e-2),
        ("alaw.wav", "ALAW", 8_000, 1, 2e-2),
        ("ulaw.wav", "ULAW", 8_000, 1, 2e-2),
        ("float.wav", "FLOAT", 44_100, 2, 0.0),
        ("interface.wav", "PCM_24", 192_000, 8, 1e-6),
        ("lossless.flac", "PCM_16", 44_100, 2, 1e-4),
        ("old.aiff", "PCM_16", 22_050, 1, 1e-4),
        ("free.ogg", "VORBIS", 48_000, 2, 5e-2),
    ],
)
def test_formats_of_libsndfile_come_out_whole(
    tmp_path: Path, name: str, subtype: str, rate: int, channels: int, error: float
) -> None:
    """Every frame of every channel comes out, at the file's own rate."""
    sound = tone(1.5, rate, channels)
    source = FileSource(write(tmp_path / name, sound, rate, subtype))
    assert (source.name, source.rate, source.channels) == (name, rate, channels)
    assert (source.live, source.duration) == (False, 1.5)
    chunks = list(source.chunks())
    assert all(not isinstance(chunk, Gap) and chunk.dtype == np.float32 for chunk in chunks)
    assert len(chunks) > 1
    got = heard(chunks)
    assert got.shape == sound.shape
    assert np.abs(got - sound).max() <= error


@pytest.mark.parametrize(
    ("name", "codec", "rate", "channels"),
    [
        ("a.mp3", "libmp3lame", 44_100, 2),
        ("a.m4a", "aac", 44_100, 2),
        ("a.webm", "libopus", 48_000, 1),
        ("a.opus", "libopus", 48_000, 2),
        ("a.mka", "flac", 16_000, 1),
    ],
)
def test_compressed_formats_come_out_in_place(
    tmp_path: Path, name: str, codec: str, rate: int, channels: int
) -> None:
    """Length, channels and position of the sound survive the codec."""
    sound = tone(1.5, rate, channels)
    sound[: rate // 2] = 0
    source = FileSource(encode(tmp_path / name, sound, rate, codec))
    assert (source.rate, source.channels) == (rate, channels)
    assert source.duration == pytest.approx(1.5, abs=0.1)
    got = heard(list(source.chunks()))
    assert abs(len(got) - len(sound)) < 0.05 * rate
    shared = min(len(got), len(sound))
    for channel in range(channels):
        both = np.corrcoef(got[:shared, channel], sound[:shared, channel])
        assert both[0, 1] > 0.99


def test_sound_of_a_video_is_read(tmp_path: Path) -> None:
    """The first audio stream of a film is what counts, wherever it stands among the streams."""
    sound = tone(1.0, 44_100)
    source = FileSource(encode(tmp_path / "film.mp4", sound, 44_100, "aac", video=True))
    got = heard(list(source.chunks()))
    assert abs(len(got) - 44_100) < 2_500
    assert np.abs(got[4_410:39_690]).max() == pytest.approx(0.5, abs=0.05)


def test_real_recording_is_read_as_libsndfile_reads_it() -> None:
    """Blocks of a real FLAC join to the same samples as one whole read."""
    import soundfile

    path = next(iter(sorted(shared_data("speech/audio").glob("*.flac"))))
    wanted, rate = soundfile.read(path, dtype="float32", always_2d=True)
    source = FileSource(path)
    assert source.rate == rate
    assert np.array_equal(heard(list(source.chunks())), wanted)


def test_blocks_stay_small(tmp_path: Path) -> None:
    """However long the file, no block is longer than ``block_ms``."""
    source = FileSource(write(tmp_path / "a.wav", tone(3.0, 8_000), 8_000), block_ms=50)
    lengths = [len(chunk) for chunk in source.chunks() if not isinstance(chunk, Gap)]
    assert lengths == [400] * 60


@pytest.mark.parametrize(
    ("make", "code", "words"),
    [
        (lambda path: None, "file_not_found", "does not exist"),
        (lambda path: path.mkdir(), "not_audio", "is a directory"),
        (lambda path: path.touch(), "no_audio", "is empty"),
        (lambda path: path.write_text("Dear diary,\n" * 99), "not_audio", "is not audio"),
        (lambda path: path.write_text("a"), "not_audio", "is not audio"),
        (lambda path: path.write_bytes(b"\0" * 999), "not_audio", "is not audio"),
        (lambda path: write(path, tone(0, 16_000), 16_000), "no_audio", "holds no audio"),
    ],
    ids=["missing", "directory", "0 bytes", "text", "one letter", "zeros", "header only"],
)
def test_what_is_no_sound_file_is_refused_in_one_line(
    tmp_path: Path, make: object, code: str, words: str
) -> None:
    """The error names the file and what is wrong with it, before anything is read."""
    path = tmp_path / "odd.wav"
    assert callable(make)
    make(path)
    with pytest.raises(AudioError, match=words) as caught:
        FileSource(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.code == code


@pytest.mark.parametrize("name", ["notes.txt", "page.mp3", "dump.raw", "titles.srt"])
def test_text_under_any_name_is_refused(tmp_path: Path, name: str) -> None:
    """FFmpeg takes some texts for pictures or subtitles; we do not take them for sound."""
    path = tmp_path / name
    path.write_text("1\n00:00:00,000 --> 00:00:01,000\n<b>Not found</b>\n\n" * 20)
    with pytest.raises(AudioError, match=r"holds no audio|is not audio"):
        FileSource(path)


def test_playlist_does_not_lead_to_other_files(tmp_path: Path) -> None:
    """FFmpeg would follow a playlist to whatever it names; we read the file we were given."""
    encode(tmp_path / "other.mp3", tone(1.0, 16_000), 16_000, "libmp3lame")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.mp3\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(playlist)
    with pytest.raises(AudioError, match="is not audio"):
        FileSource(tmp_path / "list.m3u8")


def test_silent_film_is_refused(tmp_path: Path) -> None:
    """A video without a sound track holds no audio."""
    import av

    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        grey = np.full((48, 64, 3), 127, dtype=np.uint8)
        container.mux(picture.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(picture.encode(None))
    with pytest.raises(AudioError, match="holds no audio"):
        FileSource(path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes would hang; the error says how to pipe sound in."""
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    with pytest.raises(AudioError, match="--file -"):
        FileSource(path)


def test_refusing_a_file_prints_nothing(tmp_path: Path) -> None:
    """Neither decoding library writes its own complaints beside our one line."""
    names = ["a.wav", "a.mp3", "a.txt"]
    for name in names:
        (tmp_path / name).write_text("no sound at all " * 200)
    code = (
        "import sys; from streamser.audio.file import FileSource, AudioError\n"
        "for name in sys.argv[1:]:\n"
        "    try: FileSource(name)\n"
        "    except AudioError: print('refused')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *names], cwd=tmp_path, capture_output=True, check=True
    )
    assert run.stdout.split() == [b"refused"] * 3
    assert run.stderr == b""


@pytest.mark.parametrize(
    ("name", "codec", "least"),
    [
        ("cut.wav", None, 1.9),
        ("cut.flac", None, 1.0),
        ("cut.aiff", None, 1.9),
        ("cut.mp3", "libmp3lame", 1.0),
        ("cut.m4a", "aac", 1.0),
        ("cut.webm", "libopus", 1.0),
    ],
)
def test_truncated_file_yields_what_there_is_and_then_says_so(
    tmp_path: Path, name: str, codec: str | None, least: float
) -> None:
    """All that can be decoded comes first; the error tells how much of how much that was."""
    rate = 48_000
    rng = np.random.default_rng(0)
    sound = (tone(4.0, rate) + rng.normal(0, 0.05, (4 * rate, 1))).astype(np.float32)
    path = tmp_path / name
    if codec is None:
        write(path, sound, rate)
    else:
        encode(path, sound, rate, codec, fast=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    got, error = read_until_error(FileSource(path))
    assert error.code == "truncated_audio"
    assert str(path) in str(error)
    assert f"{len(got) / rate:.2f} s" in str(error)
    assert " of the 4.0" in str(error)
    assert least <= len(got) / rate < 2.6
    both = np.corrcoef(got[: len(got) - 4_800, 0], sound[: len(got) - 4_800, 0])
    assert both[0, 1] > 0.98


def test_flac_damaged_inside_yields_all_before_the_damage(tmp_path: Path) -> None:
    """What libsndfile decoded of the block in which it failed is not thrown away."""
    sound = np.random.default_rng(0).normal(0, 0.1, (64_000, 1)).astype(np.float32)
    path = write(tmp_path / "a.flac", sound, 16_000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    by_block = {ms: read_until_error(FileSource(path, block_ms=ms))[0] for ms in (7, 200, 9_999)}
    assert len(by_block[7]) > 20_000
    assert len(by_block[7]) == len(by_block[200]) == len(by_block[9_999])


def test_wav_written_into_a_pipe_is_not_called_truncated(tmp_path: Path) -> None:
    """A writer that could not know the length put 2^32-1 there: that promises nothing."""
    path = write(tmp_path / "a.wav", tone(1.0, 16_000), 16_000)
    whole = bytearray(path.read_bytes())
    assert whole[36:40] == b"data"
    whole[40:44] = b"\xff\xff\xff\xff"
    path.write_bytes(whole)
    assert len(heard(list(FileSource(path).chunks()))) == 16_000


def test_paced_file_keeps_real_time(tmp_path: Path) -> None:
    """A paced source is live, gives 20 ms blocks, and none before its end was spoken."""
    source = FileSource(write(tmp_path / "a.wav", tone(0.2, 16_000), 16_000), paced=True)
    assert source.live
    begun = time.monotonic()
    ends = [
        (time.monotonic() - begun, len(chunk))
        for chunk in source.chunks()
        if not isinstance(chunk, Gap)
    ]
    assert [frames for _, frames in ends] == [320] * 10
    assert all(at >= 0.02 * (turn + 1) - 1e-3 for turn, (at, _) in enumerate(ends))


def test_stop_interrupts_the_wait_of_a_paced_file(tmp_path: Path) -> None:
    """Stopping from another thread, twice, does not wait for the block's time."""
    path = write(tmp_path / "a.wav", tone(600, 4_000), 4_000)
    source = FileSource(path, paced=True, block_ms=300_000)
    got: list[Frames | Gap] = []
    thread = threading.Thread(target=lambda: got.extend(source.chunks()))
    thread.start()
    source.stop()
    source.stop()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert got == []


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX interval timers")
def test_stop_may_be_called_by_a_signal_handler(tmp_path: Path) -> None:
    """A handler that interrupts the waiting thread itself stops it without a deadlock."""
    path = write(tmp_path / "a.wav", tone(600, 4_000), 4_000)
    source = FileSource(path, paced=True, block_ms=300_000)
    before = signal.signal(signal.SIGALRM, lambda *_: source.stop())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert list(source.chunks()) == []
    finally:
        signal.signal(signal.SIGALRM, before)


def test_stop_in_the_middle_ends_without_an_error(tmp_path: Path) -> None:
    """A stopped file is not a truncated one."""
    source = FileSource(write(tmp_path / "a.wav", tone(5.0, 16_000), 16_000))
    chunks = source.chunks()
    next(chunks)
    source.stop()
    assert list(chunks) == []


def test_three_samples_are_a_file(tmp_path: Path) -> None:
    """The shortest sounds come out like any other."""
    source = FileSource(write(tmp_path / "a.wav", tone(1.0, 16_000)[:3], 16_000))
    assert [chunk.shape for chunk in source.chunks() if not isinstance(chunk, Gap)] == [(3, 1)]


def test_odd_names_are_just_names(tmp_path: Path) -> None:
    """A name that FFmpeg would read as a protocol or a pattern is opened as the file it is."""
    for name in ("concat:a|b.mp3", "frame%03d.mp3", "naïve ☃.mp3"):
        path = encode(tmp_path / "plain.mp3", tone(0.3, 16_000), 16_000, "libmp3lame")
        path = path.rename(tmp_path / name)
        assert len(heard(list(FileSource(path).chunks()))) > 4_000


def test_a_piece_that_cannot_be_converted_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage may pass for sound of a kind that there is not: FFmpeg's converter refuses it."""
    import av

    path = encode(tmp_path / "a.m4a", tone(1.0, 16_000), 16_000, "aac")

    make = av.AudioResampler

    class Picky:
        def __init__(self, **how: Any) -> None:
            self._inner = make(**how)
            self._count = 0

        def resample(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
            self._count += 1
            if self._count == 3:
                raise av.ArgumentError(22, "Invalid argument")
            return self._inner.resample(frame)

    whole = heard(list(FileSource(path).chunks()))
    monkeypatch.setattr(av, "AudioResampler", Picky)
    rest = heard(list(FileSource(path).chunks()))
    assert 0 < len(whole) - len(rest) < 4000


def test_a_head_cannot_make_a_block_fill_the_memory(tmp_path: Path) -> None:
    """Many channels at a high rate come in more, and smaller, blocks."""
    sound = np.zeros((100_000, 64), np.float32)
    path = write(tmp_path / "array.wav", sound, 384_000)
    chunks = list(FileSource(path).chunks())
    assert max(chunk.size for chunk in chunks if not isinstance(chunk, Gap)) <= 1 << 20
    assert len(heard(chunks)) == 100_000


@pytest.mark.parametrize("ending", ["caf", "w64"])
def test_a_damaged_head_is_told_of_the_file_it_is_in(tmp_path: Path, ending: str) -> None:
    """It may name places that no file has; a batch goes on after it."""
    good = write(tmp_path / f"good.{ending}", tone(0.1, 8000), 8000).read_bytes()
    path = tmp_path / f"bad.{ending}"
    outcomes = set()
    for at in range(0, 120, 4):
        for strange in (b"\xff" * 8, b"\x80" + b"\0" * 7, b"\0" * 7 + b"\x80"):
            path.write_bytes(good[:at] + strange + good[at + 8 :])
            outcomes.add(outcome_of(path))
    assert len(outcomes) > 1
    assert "nameless" not in outcomes


def outcome_of(path: Path) -> str:
    """Read a file to its end; return how that went, which may be no other error."""
    try:
        for _ in FileSource(path).chunks():
            pass
    except AudioError as error:
        return error.code if str(path) in str(error) else "nameless"
    return "heard"
