"""From what a source gives to the program's own sound: mono float32 at 16 kHz, read ahead.

A source's frames are mixed to one channel (``Mixer``), converted (``Resampler``), and read on a
thread of its own, ahead of whoever hears them by so much and no more (``AudioReader``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.audio.source import AudioSource, Frames, Gap
from streamser.errors import AudioError

_NUMBERS: Final = (int, float, np.integer, np.floating)
_BLOCK_S: Final = 0.02
_DECAY: Final = 0.9
"""Of power from block to block: what was heard more than a second ago no longer counts."""
_CANCELS: Final = 100.0
"""Power of the loudest channel over that of the mean, from which the mean is given up: 20 dB."""
_HOLDS: Final = 25.0
"""The same ratio below which the mean is taken again."""
_LOUDER: Final = 4.0
"""Power over that of the channel heard, from which another takes its place: 6 dB."""
_MEAN: Final = -1


class Mixer:
    """Mix frames of two or more channels into one, 20 ms at a time.

    The mean of all is taken unless it lies 20 dB or more below the loudest channel: channels
    that cancel (a balanced line on a stereo input, one of two microphones wired in reverse)
    and one microphone among a dozen silent inputs. Each change is a cross-fade. Up to one block
    is held back; the output does not depend on how the frames are chopped.
    """

    def __init__(self, rate: int, channels: int) -> None:
        self._block = max(1, round(rate * _BLOCK_S))
        self._held: Frames = np.empty((0, channels), np.float32)
        self._power = [0.0] * channels
        self._mean_power = 0.0
        self._choice: int | None = None

    def feed(self, frames: Frames) -> Samples:
        """Take frames in [-1, 1]; return the mix of all blocks that are complete."""
        if len(self._held):
            frames = np.concatenate([self._held, frames])
        whole = len(frames) - len(frames) % self._block
        self._held = frames[whole:].copy()
        return self._mix(frames[:whole], self._block)

    def flush(self) -> Samples:
        """Return the mix of what is held back."""
        held, self._held = self._held, self._held[:0]
        return self._mix(held, max(1, len(held)))

    def _mix(self, frames: Frames, block: int) -> Samples:
        # Channels are added one after another, not by np.mean over an axis, whose order of
        # summation may depend on the chunk's length.
        columns = [frames[:, index].astype(np.float32) for index in range(frames.shape[1])]
        mixed = columns[0].copy()
        for column in columns[1:]:
            mixed += column
        mixed *= np.float32(1 / len(columns))
        powers = [_powers(column, block) for column in columns]
        for number, mean_power in enumerate(_powers(mixed, block)):
            before = self._choice
            self._choice = self._chosen(mean_power, [each[number] for each in powers])
            if before in (None, _MEAN) and self._choice == _MEAN:
                continue
            piece = slice(number * block, (number + 1) * block)
            new = mixed[piece] if self._choice == _MEAN else columns[self._choice][piece]
            if before is not None and before != self._choice:
                old = mixed[piece] if before == _MEAN else columns[before][piece]
                ramp = np.arange(1, len(new) + 1, dtype=np.float32) / np.float32(len(new))
                new = old + ramp * (new - old)
            mixed[piece] = new
        return mixed

    def _chosen(self, mean_power: float, powers: list[float]) -> int:
        """Return the channel to hear in the next block, or ``_MEAN``."""
        self._mean_power = _DECAY * self._mean_power + mean_power
        self._power = [_DECAY * old + new for old, new in zip(self._power, powers, strict=True)]
        loudest = max(self._power)
        choice = _MEAN if self._choice is None else self._choice
        enough = _CANCELS if choice == _MEAN else _HOLDS
        if self._mean_power * enough >= loudest:
            return _MEAN
        if choice != _MEAN and self._power[choice] * _LOUDER >= loudest:
            return choice
        return self._power.index(loudest)


def _powers(samples: Samples, block: int) -> list[float]:
    """Return the sum of squares of every block."""
    squares = np.square(samples).reshape(-1, block)
    powers: list[float] = squares.sum(axis=1).tolist()
    return powers


MIN_RATE = 4_000
MAX_RATE = 384_000
FULL_SCALE = 32767 / 32768
"""Magnitude from which a sample counts as clipped: the largest positive 16-bit value."""

# libsoxr's "high quality". Its delay is that of "medium" (both hold back at most 37 ms at 48 kHz,
# 40 ms at 44.1 kHz, 115 ms at 8 kHz: measured) and its pass band is wider.
_QUALITY = "HQ"
_SILENCE_BLOCK = 65_536


def checked_rate(rate: object) -> int:
    """Return a rate in Hz as an integer; ``AudioError`` for what is none that can be used."""
    if isinstance(rate, bool) or not isinstance(rate, _NUMBERS) or rate != rate // 1:
        raise AudioError(f"a sample rate of {rate!r} cannot be used: give Hz as a whole number")
    if not MIN_RATE <= rate <= MAX_RATE:
        raise AudioError(
            f"a sample rate of {rate} Hz cannot be used: {MIN_RATE} to {MAX_RATE} Hz can"
        )
    return int(rate)


class Resampler:
    """Turn chunks of (frames, channels) at ``rate`` into mono samples at 16 kHz, as a stream.

    ``channel`` picks one channel, counted from 0; ``None`` takes the mean of all, or the loudest
    while they cancel (``Mixer``). NaN and infinite values become 0, others are clipped to
    [-1, 1]. ``repaired`` and ``clipped`` count the input frames in which a used channel was not
    finite, or at full scale or beyond.

    The output is the same to the last bit however the input is chopped: every step before the
    resampler works by the sample or by whole blocks, and libsoxr's stream is itself indifferent
    to chunking.
    After ``flush`` it holds ``round(frames * 16000 / rate)`` samples, give or take one.

    Raises ``AudioError`` for a rate outside 4 to 384 kHz or a channel that does not exist.
    """

    def __init__(self, rate: int, channels: int, channel: int | None = None) -> None:
        rate = checked_rate(rate)
        if channels < 1:
            raise AudioError("sound without any channel cannot be used")
        if channel is not None and not 0 <= channel < channels:
            valid = "its only channel is 0" if channels == 1 else f"there are 0 to {channels - 1}"
            raise AudioError(f"there is no channel {channel}: {valid}")
        self.rate = rate
        self.channels = channels
        self.repaired = 0
        self.clipped = 0
        self._used = list(range(channels)) if channel is None else [channel]
        self._mixer = Mixer(rate, channels) if len(self._used) > 1 else None
        self._resampler = _open_resampler(rate) if rate != SAMPLE_RATE else None
        self._flushed = False

    def feed(self, frames: Frames) -> Samples:
        """Take frames of shape (n, channels), n may be 0; return what is ready of the output.

        The resampler holds some back, up to 37 ms at 48 kHz, and the mixing of channels up to
        20 ms. Raises ``AudioError`` for another number of channels than announced,
        ``ValueError`` after ``flush``.
        """
        if frames.ndim != 2 or frames.shape[1] != self.channels:
            raise AudioError(
                f"expected frames of {self.channels} channel(s), got an array of shape"
                f" {frames.shape}"
            )
        return self._resample(self._mix(frames))

    def fill(self, gap_frames: int) -> Samples:
        """Put silence in the place of ``gap_frames`` lost frames, so that time stays true."""
        if gap_frames < 0:
            raise ValueError(f"a gap cannot be {gap_frames} frames long")
        whole, rest = divmod(gap_frames, _SILENCE_BLOCK)
        silence: Samples = np.zeros(min(gap_frames, _SILENCE_BLOCK), dtype=np.float32)
        parts = [] if self._mixer is None else [self._resample(self._mixer.flush())]
        parts += [self._resample(silence) for _ in range(whole)]
        parts.append(self._resample(silence[:rest]))
        return np.concatenate(parts)

    def flush(self) -> Samples:
        """Return what the resampler still held; nothing may be fed after it."""
        held: Samples = np.empty(0, dtype=np.float32)
        if not self._flushed and self._mixer is not None:
            held = self._mixer.flush()
        if self._flushed or self._resampler is None:
            self._flushed = True
            return held
        self._flushed = True
        tail: Samples = self._resampler.resample_chunk(held, last=True)
        return np.clip(tail, -1.0, 1.0, out=tail)

    def _mix(self, frames: Frames) -> Samples:
        # The usual case costs one pass; a comparison with NaN is false, so it is not usual.
        if len(frames) and not np.abs(frames).max() < FULL_SCALE:
            frames = self._repair(frames)
        if self._mixer is not None:
            return self._mixer.feed(frames)
        return frames[:, self._used[0]].astype(np.float32)

    def _repair(self, frames: Frames) -> Frames:
        """Return frames in [-1, 1], and count those whose used channels needed it."""
        used = frames[:, self._used]
        finite = np.isfinite(used)
        self.repaired += int(np.count_nonzero(~finite.all(axis=1)))
        whole = np.where(finite, used, np.float32(0))
        self.clipped += int(np.count_nonzero((np.abs(whole) >= FULL_SCALE).any(axis=1)))
        repaired = frames.copy()
        repaired[:, self._used] = np.clip(whole, -1.0, 1.0)
        return repaired

    def _resample(self, samples: Samples) -> Samples:
        if self._flushed:
            raise ValueError("this resampler was flushed: make a new one for a new stream")
        if self._resampler is None:
            return samples
        out: Samples = self._resampler.resample_chunk(samples)
        # A filter overshoots at steep edges, a square wave's for one.
        np.minimum(out, np.float32(1), out=out)
        return np.maximum(out, np.float32(-1), out=out)


def _open_resampler(rate: int) -> Any:
    import soxr

    return soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality=_QUALITY)


KEPT: Final = 120 * SAMPLE_RATE
"""Samples of a live source that are kept while whoever shall hear it gets ready."""

_AHEAD = 8 * SAMPLE_RATE
"""Samples that may wait to be heard; a live source's own queue, which counts, comes after."""
_PIECE = 8000
"""Longest piece in samples: half a second keeps memory and latency small."""


class Chunk(msgspec.Struct, frozen=True, eq=False):
    """Hold a stretch of sound and when it arrived.

    At ``arrived`` seconds all sound up to the absolute sample ``reached`` was here: somewhat
    more than ``samples``, because the resampler holds a little back.
    """

    samples: Samples
    arrived: float
    reached: int


class LostAudio(msgspec.Struct, frozen=True):
    """Say that sound was lost at an absolute sample; silence for it follows as ``Chunk``.

    ``samples`` is 0 where nobody knows how many.
    """

    samples: int
    reason: str
    at: int


class EndOfStream(msgspec.Struct, frozen=True):
    """Say that nothing more will come, and why if it is not the plain end.

    ``repaired`` counts frames that were no numbers; ``clipped_share`` is the share of frames
    at full scale or beyond.
    """

    error: BaseException | None
    repaired: int
    clipped_share: float


AudioItem: TypeAlias = Chunk | LostAudio | EndOfStream


class AudioReader:
    """Read a source on a thread of its own and post what it gives, in order.

    At most 8 s of sound, or as many samples as ``start`` is told, are posted before the receiver
    says ``consumed`` of them: a file waits, and a microphone's own bounded queue fills and counts
    what it drops.
    """

    def __init__(
        self,
        source: AudioSource,
        channel: int | None,
        post: Callable[[AudioItem], None],
        clock: Callable[[], float],
    ) -> None:
        self._source = source
        self._resampler = Resampler(source.rate, source.channels, channel)
        self._post = post
        self._clock = clock
        self._ahead = _AHEAD
        self._waiting = 0
        self._room = threading.Condition()
        self._frames = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._read, name="streamser-reader", daemon=True)

    def start(self, ahead: int = _AHEAD) -> None:
        """Begin to read; so many samples may wait, until ``keep_less`` is called."""
        self._ahead = ahead
        self._thread.start()

    def keep_less(self) -> None:
        """Let no more wait than usual: the receiver has begun to hear."""
        with self._room:
            self._ahead = _AHEAD

    def consumed(self, samples: int) -> None:
        """Say that so many samples have been dealt with, and others may come."""
        with self._room:
            self._waiting -= samples
            self._room.notify()

    def stop(self) -> None:
        """End the source; what it has given already still comes."""
        self._source.stop()

    def abandon(self) -> None:
        """End the source and wait for nothing it has given."""
        with self._room:
            self._stopped = True
            self._room.notify()
        self._source.stop()
        if self._thread.ident is not None:
            self._thread.join()

    def _read(self) -> None:
        error: BaseException | None = None
        resampler = self._resampler
        try:
            for piece in self._source.chunks():
                if self._stopped:
                    return
                arrived = self._clock()
                if isinstance(piece, Gap):
                    at = self._reached
                    self._frames += piece.frames
                    self._post(LostAudio(self._reached - at, piece.reason, at))
                    self._give(resampler.fill(piece.frames), arrived)
                else:
                    self._frames += len(piece)
                    self._give(resampler.feed(piece), arrived)
        except BaseException as fault:
            error = fault
        try:
            self._give(resampler.flush(), self._clock())
        except BaseException as fault:
            error = error or fault
        share = resampler.clipped / self._frames if self._frames else 0.0
        self._post(EndOfStream(error, resampler.repaired, share))

    @property
    def _reached(self) -> int:
        return self._frames * SAMPLE_RATE // self._source.rate

    def _give(self, samples: Samples, arrived: float) -> None:
        reached = self._reached
        for offset in range(0, len(samples), _PIECE):
            piece = samples[offset : offset + _PIECE]
            with self._room:
                while not self._stopped and not self._has_room(len(piece)):
                    self._room.wait()
                if self._stopped:
                    return
                self._waiting += len(piece)
            self._post(Chunk(piece, arrived, reached))

    def _has_room(self, samples: int) -> bool:
        return not self._waiting or self._waiting + samples <= self._ahead
