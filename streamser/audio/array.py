"""Sound that is in memory already: one array, or arrays as they come."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from streamser.audio.reader import checked_rate
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError

_PIECE = 16_384
MOST_CHANNELS = 64
"""Channels of an array at most; where there are more, they are taken for frames."""


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
