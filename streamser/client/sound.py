"""How sound is written on its way to a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Encoding", "Sound"]

Encoding: TypeAlias = Literal["s16le", "f32le", "pcmu", "pcma"]

_WIDTH: dict[Encoding, int] = {"s16le": 2, "f32le": 4, "pcmu": 1, "pcma": 1}
_SILENCE: dict[Encoding, bytes] = {
    "s16le": b"\0\0",
    "f32le": b"\0\0\0\0",
    "pcmu": b"\xff",
    "pcma": b"\xd5",
}
_PIECE_S = 0.25
_G711_RATE = 8000
_RAW = (bytes, bytearray, memoryview)


class Sound(msgspec.Struct, frozen=True):
    """Describe a mono stream of raw sound; ``rate`` in frames a second, 8000 to 192000.

    Raises ``ValueError`` for a rate or an encoding that no server takes.
    """

    rate: int = 16_000
    encoding: Encoding = "s16le"

    def __post_init__(self) -> None:
        """Refuse what cannot be sent."""
        if self.encoding not in _WIDTH:
            known = ", ".join(get_args(Encoding))
            raise ValueError(f"unknown encoding {self.encoding!r}: use one of {known}")
        if not 8000 <= self.rate <= 192_000:
            raise ValueError(f"a rate of {self.rate} Hz cannot be sent: 8000 to 192000 can")
        if self.encoding in ("pcmu", "pcma") and self.rate != _G711_RATE:
            raise ValueError(f"{self.encoding} is sound at {_G711_RATE} Hz: pass rate=8000")

    @property
    def width(self) -> int:
        """Return the bytes of a frame."""
        return _WIDTH[self.encoding]

    @property
    def silence(self) -> bytes:
        """Return a silent frame."""
        return _SILENCE[self.encoding]

    def pieces(self, chunk: bytes | npt.NDArray[np.float32]) -> Iterator[bytes]:
        """Write sound in pieces of at most a quarter of a second.

        ``chunk`` is raw sound of whole frames, or float32 of shape (n,) in [-1, 1]: more is
        clipped, NaN becomes 0. Raises ``ValueError`` for anything else.
        """
        raw = bytes(chunk) if isinstance(chunk, _RAW) else self._write(chunk)
        if len(raw) % self.width:
            raise ValueError(
                f"{len(raw)} bytes are no whole number of {self.encoding} samples: send whole ones"
            )
        step = int(self.rate * _PIECE_S) * self.width
        for at in range(0, len(raw), step):
            yield raw[at : at + step]

    def _write(self, samples: npt.NDArray[np.float32]) -> bytes:
        import numpy as np

        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise ValueError(
                f"expected float samples of shape (n,), got {samples.dtype} of {samples.shape}"
            )
        finite = np.clip(np.nan_to_num(samples, posinf=1.0, neginf=-1.0), -1.0, 1.0)
        if self.encoding == "f32le":
            return finite.astype("<f4").tobytes()
        if self.encoding == "s16le":
            # By 32768, as every decoder has it: what was 16 bits before comes through unchanged.
            scaled = np.minimum(np.rint(finite * np.float32(32768.0)), 32767)
            written: bytes = scaled.astype("<i2").tobytes()
            return written
        raise ValueError(f"samples cannot be written as {self.encoding}: send it as bytes")
