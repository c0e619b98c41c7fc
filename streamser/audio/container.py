"""What decodes files: libsndfile (WAV, FLAC, OGG, AIFF …) and FFmpeg (MP3, M4A, WebM, videos)."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import numpy as np

from streamser.audio.source import Frames
from streamser.errors import AudioError

# libsndfile trusts the size of the file more than the header, and says so only in its log.
_SHORTENED = re.compile(r"(?:data|SSND) : (\d+) \(should be (\d+)\)")
# Writers into a pipe cannot know the length and put one of the largest numbers there.
_UNKNOWN_LENGTH = 0x7FFF_0000


class SndFile:
    """Decode by libsndfile; raises ``soundfile.SoundFileError`` for what it does not know."""

    def __init__(self, file: Path | BinaryIO) -> None:
        import soundfile

        self._fault: type[Exception] = soundfile.SoundFileError
        # Elsewhere than on Windows, a name may be bytes that no encoding knows.
        named = os.fsencode(file) if isinstance(file, Path) and os.name != "nt" else file
        self._raw = None if isinstance(file, Path) else file
        try:
            self._file = soundfile.SoundFile(named)
        except BaseException:
            self._close_raw()
            raise
        # Else it seeks to where it stands after every block: FLAC then decodes at less than
        # half its speed in small blocks, and the last whole block before damage fails.
        self._file.seekable = lambda: False
        self.rate = int(self._file.samplerate)
        self.channels = int(self._file.channels)
        self.announced = self._announced()
        self.duration = None if self.announced is None else self.announced / self.rate

    @property
    def guessed(self) -> bool:
        """Whether the length is no count: libsndfile estimates that of MPEG sound in WAV."""
        return self._file.format == "WAV" and str(self._file.subtype).startswith("MPEG")

    def _announced(self) -> int | None:
        frames = int(self._file.frames)
        if frames >= 2**62:  # libsndfile's way to say that a FLAC header states no length
            return None
        if shortened := _SHORTENED.search(self._file.extra_info):
            stated, there = map(int, shortened.groups())
            if 0 < there < stated < _UNKNOWN_LENGTH:
                return frames * stated // there
        return frames

    def blocks(self, frames: int) -> Iterator[Frames]:
        """Yield blocks of so many frames, up to the end or the first damage."""
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

    def missing(self, frames: int) -> str | None:
        """Say what is missing where only so many frames came."""
        if self.announced is None or frames >= self.announced:
            return None
        return shortfall(frames, self.announced, self.rate)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._close_raw()

    def _close_raw(self) -> None:
        if self._raw is not None:
            self._raw.close()


def shortfall(frames: int, announced: int, rate: int) -> str:
    """Say how much could be read of what a file announces, both in frames."""
    return f"{frames / rate:.2f} s of the {announced / rate:.2f} s it announces could be read"


if TYPE_CHECKING:
    import av
    from av.container import InputContainer


# Containers whose stated length is a count. Elsewhere FFmpeg guesses it from the bit rate.
_COUNTED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
# Containers whose clock begins with the file. That of a broadcast stands anywhere.
_FROM_ZERO = _COUNTED
# Containers that tell when each packet sounds. Elsewhere FFmpeg counts, as we do.
_STAMPED = (*_COUNTED, "mpegts", "mpeg", "flv", "asf")
_XING = re.compile(rb"(?:Xing|Info)\0\0\0")

_HOLE_S: Final = 0.1
"""Less than this behind the time stamps is their jitter, and no hole."""
_RESTART_S: Final = 1.0
"""Stamps that fall back by more than this belong to a clock that began anew."""
_LATEST_START_S: Final = 60.0
"""A file whose first track begins later is a piece cut from something longer."""
_LONGEST_S: Final = 86_400.0
"""Stamps beyond what the file states, or this where it states nothing, are damage."""

_CHOICE_S: Final = 60.0
"""Of each track that is heard at most to choose one."""
_SILENT: Final = 0.003
"""A peak of -50 dB: below are dither, and inputs that nothing is plugged into."""


class Container:
    """Decode one sound track of anything FFmpeg knows, in its place in time.

    Where the container has time stamps, a track that begins late begins with silence, and so
    is a hole of ``_HOLE_S`` or more filled: the time of a frame is the time that a player shows.
    Of several tracks ``track`` picks one, from 0; else it is the one that ``choose_track`` finds.
    Raises ``av.FFmpegError`` or ``ValueError`` where FFmpeg does not know the format, and
    ``AudioError`` where it holds no audio, or no such track.
    """

    def __init__(self, path: Path, raw: BinaryIO | None = None, track: int | None = None) -> None:
        import av

        self._fault: type[Exception] = av.FFmpegError
        # An open file, not a name: FFmpeg takes some names for protocols or patterns.
        self._raw = cast(BinaryIO, _File(path)) if raw is None else raw
        try:
            counted = _XING.search(self._raw.read(65_536)) is not None
            self._raw.seek(0)
            self._container = _open(self._raw)
            self.tracks = len(self._container.streams.audio)
            if not self.tracks:
                raise holds_no_audio(path)
            if track is not None and not 0 <= track < self.tracks:
                raise no_such_track(path, track, self.tracks)
            if track is None and self.tracks > 1:
                track = choose_track(self._container)
                # What was heard of it to choose cannot always be heard again.
                self._container.close()
                self._raw.seek(0)
                self._container = _open(self._raw)
            self.track = track or 0
            self._stream = self._container.streams.audio[self.track]
            self._lost = self._until = 0.0
            self._frames = self._decode()
            # A header may state another rate than the decoder gives (HE-AAC): ask a frame.
            first = next(self._frames, None)
            if first is None or not first.sample_rate:
                raise holds_no_audio(path)
        except BaseException:
            self._raw.close()
            raise
        self._first = first
        self.rate = int(first.sample_rate)
        self.channels = len(first.layout.channels)
        kind = self._container.format.name
        self._stamped = kind in _STAMPED
        self._origin = self._clock_origin(from_zero=kind in _FROM_ZERO)
        self.duration = self._stated_duration()
        self.announced = None
        mpeg = kind == "wav" and self._stream.codec_context.name.startswith("mp3")
        if self.duration and (kind in _COUNTED or mpeg or (kind == "mp3" and counted)):
            self.announced = round(self.duration * self.rate)
        # The encoder's delay and padding are counted by some writers and not by others.
        self._slack = self.rate // 4 + (self.announced or 0) // 100

    def _clock_origin(self, *, from_zero: bool) -> float:
        """Return the time stamp, in seconds, at which the file begins."""
        earliest = (self._container.start_time or 0) / 1_000_000
        return 0.0 if from_zero and earliest <= _LATEST_START_S else earliest

    def _stated_duration(self) -> float | None:
        stream = self._stream
        if stream.duration is not None and stream.time_base is not None:
            late = float((stream.start_time or 0) * stream.time_base) - self._origin
            return float(stream.duration * stream.time_base) + (
                max(0.0, late) if self._stamped else 0.0
            )
        if self._container.duration is not None and len(self._container.streams) == 1:
            return self._container.duration / 1_000_000
        return None

    def _decode(self) -> Iterator[av.AudioFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, self._fault):
                return
            lasts = float((packet.duration or 0) * packet.time_base) if packet.time_base else 0.0
            if packet.pts is not None and packet.time_base:
                self._until = max(self._until, float(packet.pts * packet.time_base) + lasts)
            try:
                frames = packet.decode()
            except self._fault:
                self._lost += lasts
                continue  # one damaged packet; those after it may be whole
            yield from frames

    def blocks(self, frames: int) -> Iterator[Frames]:
        """Yield blocks of so many frames or somewhat more, up to the end."""
        held: list[Frames] = []
        for piece in self._float_frames(frames):
            held.append(piece)
            if sum(map(len, held)) >= frames:
                yield np.concatenate(held)
                held.clear()
        if held:
            yield np.concatenate(held)

    def _float_frames(self, longest: int) -> Iterator[Frames]:
        import av

        layout, rate = self._first.layout, self._first.sample_rate
        shape: tuple[str, str, int] | None = None
        converter: av.AudioResampler | None = None
        place = _Place(self.rate, self._origin, self._latest())
        for frame in itertools.chain([self._first], self._frames):
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            lag = place.lag(frame) if self._stamped else 0
            if converter is None or now != shape or lag:  # a stream may change in its middle
                for piece in self._converted(converter, None):
                    place.position += len(piece)
                    yield piece
                converter = av.AudioResampler(format="flt", layout=layout, rate=rate)
                shape = now
            place.position += lag
            for left in range(lag, 0, -longest):
                yield np.zeros((min(left, longest), self.channels), np.float32)
            frame.pts = None  # else the converter fills or cuts where time stamps jump
            for piece in self._converted(converter, frame):
                place.position += len(piece)
                yield piece
        yield from self._converted(converter, None)

    def _latest(self) -> float:
        """Return the last second of the track at which a time stamp can be meant."""
        stated = self.duration or (self._container.duration or 0) / 1_000_000
        return min(stated + _RESTART_S if stated else _LONGEST_S, _LONGEST_S)

    def _converted(
        self, converter: av.AudioResampler | None, frame: av.AudioFrame | None
    ) -> Iterator[Frames]:
        try:
            pieces = [] if converter is None else converter.resample(frame)
        except self._fault:
            return  # damage may pass for sound of a kind that there is not
        for piece in pieces:
            yield np.asarray(piece.to_ndarray(), dtype=np.float32).reshape(-1, self.channels)

    def missing(self, frames: int) -> str | None:
        """Say what is missing, by what the packets said and how many frames came of them."""
        if self.announced is None:
            return None
        slack = self._slack / self.rate
        if self._lost > slack:
            return f"{self._lost:.2f} s of its {self.announced / self.rate:.2f} s are damaged"
        reached = frames / self.rate
        if self._stamped:
            reached = max(reached, self._until, self._until - self._origin)
        if reached >= self.announced / self.rate - slack:
            return None
        return shortfall(frames, self.announced, self.rate)

    def close(self) -> None:
        """Close the container and its file."""
        self._container.close()
        self._raw.close()


class _Place:
    """Where the sound of a track stands, in frames, beside what its time stamps say."""

    def __init__(self, rate: int, origin: float, latest: float) -> None:
        self.position = 0
        self._rate = rate
        self._origin = origin
        self._latest = latest
        self._begun = 0.0
        self._filled = 0

    def lag(self, frame: av.AudioFrame) -> int:
        """Return how many frames of silence stand before a frame that comes now."""
        if frame.pts is None or frame.time_base is None:
            return 0
        here = self.position / self._rate
        due = float(frame.pts * frame.time_base) - self._origin
        if due - self._begun > self._latest or due < here - _RESTART_S:
            # Another clock from here on, such as that of a file appended to this one.
            self._origin += due - here
            self._begun = here
            return 0
        silence = round((due - here) * self._rate) if due - here >= _HOLE_S else 0
        if self._filled + silence > _LONGEST_S * self._rate:
            return 0
        self._filled += silence
        return silence


def choose_track(container: InputContainer) -> int:
    """Return the sound track to hear: the marked one, else the first, unless it is silent.

    Where nothing sounds in it within the first minute, it is the loudest of the others.
    """
    from av.stream import Disposition

    tracks = container.streams.audio
    marked = [
        number for number, each in enumerate(tracks) if each.disposition & Disposition.default
    ]
    meant = marked[0] if len(marked) == 1 else 0
    peaks = [0.0] * len(tracks)
    heard = [0.0] * len(tracks)
    numbers = {each.index: number for number, each in enumerate(tracks)}
    with contextlib.suppress(_fault_of_av()):
        for packet in container.demux(*tracks):
            number = numbers[packet.stream.index]
            with contextlib.suppress(_fault_of_av()):
                for frame in cast("list[av.AudioFrame]", packet.decode()):
                    peaks[number] = max(peaks[number], _peak(frame))
                    heard[number] += frame.samples / max(1, frame.sample_rate)
            if peaks[meant] > _SILENT or max(heard) > _CHOICE_S:
                break
    if peaks[meant] > _SILENT or max(peaks) <= _SILENT:
        return meant
    return peaks.index(max(peaks))


def _peak(frame: av.AudioFrame) -> float:
    """Return the largest magnitude in a frame, in parts of full scale."""
    sound: Any = frame.to_ndarray()
    if not sound.size:
        return 0.0
    if sound.dtype.kind == "u":
        return float(np.abs(sound.astype(np.float64) - 128).max() / 128)
    full = 1.0 if sound.dtype.kind == "f" else float(np.iinfo(sound.dtype).max)
    return float(np.abs(np.nan_to_num(sound.astype(np.float64))).max() / full)


def _fault_of_av() -> type[Exception]:
    """Return what FFmpeg's faults are."""
    import av

    return av.FFmpegError


def _open(raw: BinaryIO) -> InputContainer:
    import av

    # No protocol is called "none": a playlist must not lead to other files or addresses.
    return av.open(raw, mode="r", options={"protocol_whitelist": "none"})


def no_such_track(path: Path, track: int, tracks: int) -> AudioError:
    """Return the error for a sound track that a file does not have."""
    valid = "its only one is 0" if tracks == 1 else f"there are 0 to {tracks - 1}"
    return AudioError(f"{path} has no sound track {track}: {valid}")


class _File(io.FileIO):
    """A file in which a damaged head may seek for a place that there is not."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Return the new place, or as FFmpeg has it a negative number."""
        try:
            return super().seek(offset, whence)
        except OSError as error:
            return -(error.errno or errno.EINVAL)


def holds_no_audio(path: Path) -> AudioError:
    """Return the error for a file in which there is no sound track, or nothing in it."""
    return AudioError(f"{path} holds no audio", code="no_audio")
