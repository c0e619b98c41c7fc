"""What every source of sound looks like from outside, and how raw sound is read and doubted.

Bytes of another kind than raw sound is said to be make loud noise: ``SoundCheck`` notices.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Final, Literal, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.audio.clip import Samples
from streamser.errors import AudioError, ConfigError
from streamser.events import AudioFormat

Frames = npt.NDArray[np.float32]
"""Sound as a source gives it: float32 of shape (frames, channels) at the source's own rate."""

Kind: TypeAlias = Literal["container", "byte_order", "encoding", "scale"]

_HEADERS: Final = {
    b"RIFF": "WAV",
    b"FORM": "AIFF",
    b"fLaC": "FLAC",
    b"OggS": "OGG",
    b"ID3": "MP3",
    b"\x1aE\xdf\xa3": "WebM",
}
_HEAD: Final = 8
_FRAMES: Final = 4096
"""Frames looked at together: enough that noise and speech are never mistaken for each other."""
_LOUD: Final = 0.2
"""RMS from which sound is judged: speech in the wrong bytes has 0.4 and more."""
_ROUGH: Final = 1.2
"""Energy of differences over energy: speech is at 0.2 or less, noise at 2."""
_SMOOTH: Final = 0.6

SENT_MIN_RATE: Final = 8_000
SENT_MAX_RATE: Final = 192_000
"""Some sound cards give browsers no less than 96 or 192 kHz."""
PHONE_RATE: Final = 8_000
"""Frames a second of G.711, whatever else is said."""


def decode_base64(text: str) -> bytes:
    """Read sound that was sent inside a text; raises ``AudioError``."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise AudioError("audio is not valid base64") from None


class Gap(msgspec.Struct, frozen=True):
    """Report sound that was lost; ``frames`` at the source's rate, 0 where nobody knows how many.

    ``reason`` is ``"overflow"`` (the driver lost it) or ``"dropped"`` (we were too slow).
    """

    frames: int
    reason: str


class AudioSource(Protocol):
    """Yield sound until it ends or is stopped.

    Opening happens in the constructor or at the first chunk and raises ``AudioError``; so does
    an iterator that cannot go on (device gone, file cut short), after it has yielded all that
    was heard before.
    """

    @property
    def name(self) -> str:
        """What people call it: a device's or file's name."""
        ...

    @property
    def rate(self) -> int:
        """Frames a second."""
        ...

    @property
    def channels(self) -> int:
        """Samples in a frame."""
        ...

    @property
    def live(self) -> bool:
        """Whether the world paces it (microphone, paced file): who is late lags, or loses sound."""
        ...

    @property
    def duration(self) -> float | None:
        """Seconds, where known beforehand."""
        ...

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield sound in order, in pieces of any length; called once."""
        ...

    def stop(self) -> None:
        """Make ``chunks`` end soon; may be called from any thread, twice, or a signal handler."""
        ...


class Doubt(msgspec.Struct, frozen=True):
    """Say what is wrong with raw sound; unless ``readable``, no voice can be heard in it."""

    kind: Kind
    message: str
    readable: bool = False


def container_of(head: bytes) -> str | None:
    """Return the kind of sound file that begins with these bytes, if it is a known one."""
    if head[4:8] == b"ftyp":
        return "MP4"
    return next((kind for mark, kind in _HEADERS.items() if head.startswith(mark)), None)


class SoundCheck:
    """Look at the bytes of one stream, cut anywhere, until there is a doubt; there is one at most.

    ``encoding`` is ``"s16le"`` or ``"f32le"``; of any other only a file's header is noticed.
    """

    def __init__(self, encoding: str, channels: int = 1) -> None:
        self._encoding = encoding
        self._channels = channels
        self._size = _FRAMES * channels * (4 if encoding == "f32le" else 2)
        self._rest = b""
        self._begun = False
        self._over = False

    def look(self, data: bytes) -> Doubt | None:
        """Take in what has come; return the doubt once, with the bytes that raise it."""
        if self._over:
            return None
        self._rest += data
        doubt = None
        if not self._begun and len(self._rest) >= _HEAD:
            self._begun = True
            doubt = self._of_header()
        whole = len(self._rest) - len(self._rest) % self._size if self._begun else 0
        for at in range(0, whole, self._size):
            doubt = doubt or self._of_samples(self._rest[at : at + self._size])
        self._rest = self._rest[whole:]
        if doubt is not None:
            self._over, self._rest = True, b""
        return doubt

    def _of_header(self) -> Doubt | None:
        kind = container_of(self._rest[:_HEAD])
        if kind is None:
            return None
        told = f"the sound is a {kind} file, not raw samples: decode it before it is sent"
        # What follows the header of these two is most often plain samples.
        return Doubt("container", told, readable=kind in ("WAV", "AIFF"))

    def _of_samples(self, data: bytes) -> Doubt | None:
        if self._encoding == "f32le":
            return self._of_floats(np.frombuffer(data, "<f4"))
        return self._of_integers(data) if self._encoding == "s16le" else None

    def _of_floats(self, samples: Samples) -> Doubt | None:
        sizes = np.abs(samples)
        # A comparison with NaN is false.
        if np.mean(~(sizes < 1e6)) > 0.05:
            told = "the sound is no float samples: if it is 16-bit, say so (encoding s16le)"
            return Doubt("encoding", told)
        if np.count_nonzero(sizes > 16) > len(sizes) // 20:
            told = "float samples lie far beyond -1 to 1: divide them by 32768"
            return Doubt("scale", told)
        return None

    def _of_integers(self, data: bytes) -> Doubt | None:
        samples = np.frombuffer(data, "<i2")
        scaled = samples.astype(np.float64) / 32768
        if np.mean(scaled**2) < _LOUD**2 or self._roughness(scaled) < _ROUGH:
            return None
        if self._roughness(samples.byteswap().astype(np.float64)) < _SMOOTH:
            told = (
                "the sound is noise as it is read, and smooth with its bytes in the other order:"
                " send 16-bit samples little endian, and begin with a whole one"
            )
            return Doubt("byte_order", told)
        sizes = np.abs(np.frombuffer(data[: len(data) // 4 * 4], "<f4"))
        if np.mean((sizes > 1e-7) & (sizes < 1.5)) > 0.9:
            told = "the sound is no 16-bit samples: they are floats, say so (encoding f32le)"
            return Doubt("encoding", told)
        return None

    def _roughness(self, samples: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
        frames = samples.reshape(-1, self._channels)
        energy = float(np.mean(frames**2))
        return float(np.mean(np.diff(frames, axis=0) ** 2)) / energy if energy else 0.0


def usable(form: AudioFormat) -> AudioFormat:
    """Return the format with its rate filled in; raises ``ConfigError`` for one out of range."""
    if form.type != "audio/pcm":
        if form.rate not in (None, PHONE_RATE):
            raise ConfigError(f"{form.type} has {PHONE_RATE} frames a second, not {form.rate}")
        return AudioFormat(type=form.type)
    rate = 24_000 if form.rate is None else form.rate
    if not SENT_MIN_RATE <= rate <= SENT_MAX_RATE:
        raise ConfigError(
            f"a rate of {rate} Hz cannot be used: {SENT_MIN_RATE} to {SENT_MAX_RATE} Hz can"
        )
    return AudioFormat(type=form.type, rate=rate, encoding=form.encoding)


def rate_of(form: AudioFormat) -> int:
    """Return a format's frames a second."""
    return form.rate or (24_000 if form.type == "audio/pcm" else PHONE_RATE)


def encoding_of(form: AudioFormat) -> str:
    """Return the encoding of the samples: that of PCM, or the type of any other."""
    return (form.encoding or "s16le") if form.type == "audio/pcm" else form.type


def frame_bytes(form: AudioFormat) -> int:
    """Return how many bytes a frame has."""
    if form.type != "audio/pcm":
        return 1
    return 4 if form.encoding == "f32le" else 2


class SoundDecoder:
    """Turn bytes into frames of shape (n, 1); a frame cut in two waits for its other half."""

    def __init__(self, form: AudioFormat) -> None:
        self.format = form
        self._rest = b""
        self._size = frame_bytes(form)

    def decode(self, data: bytes) -> Frames:
        """Decode what is whole of the bytes so far."""
        data = self._rest + data
        whole = len(data) - len(data) % self._size
        self._rest = data[whole:]
        return self._read(data[:whole]).reshape(-1, 1)

    def _read(self, data: bytes) -> Frames:
        if self.format.type == "audio/pcmu":
            return _MU_LAW[np.frombuffer(data, np.uint8)]
        if self.format.type == "audio/pcma":
            return _A_LAW[np.frombuffer(data, np.uint8)]
        if self.format.encoding == "f32le":
            return np.frombuffer(data, "<f4").astype(np.float32)
        return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768.0)


def _mu_law() -> npt.NDArray[np.float32]:
    """Decode every mu-law byte, ITU-T G.711 table 2a."""
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int32)
    size = ((2 * mantissa + 33) << exponent) - 33
    # The tables count in 14 bits; full scale of 16 is four times that.
    return (np.where(code & 0x80, -size, size) * 4 / 32768.0).astype(np.float32)


def _a_law() -> npt.NDArray[np.float32]:
    """Decode every A-law byte, ITU-T G.711 table 1a."""
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, (code & 15).astype(np.int32)
    size = np.where(
        exponent == 0, 2 * mantissa + 1, (2 * mantissa + 33) << np.maximum(exponent, 1) - 1
    )
    return (np.where(code & 0x80, size, -size) * 8 / 32768.0).astype(np.float32)


_MU_LAW: Final = _mu_law()


_A_LAW: Final = _a_law()
