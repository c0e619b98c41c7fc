"""Sound that is in memory already: one array, or arrays as they come."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError

_PIECE = 16_384
_MOST_CHANNELS = 64


class ArraySource:
    """Yield an array, or those of an iterator, as a source of sound that nothing paces.

    Arrays are of shape (frames,) or (frames, channels); floats in [-1, 1], or integers, of which
    the largest is full scale. ``rate`` is in frames a second. Of an iterator the first array is
    awaited at once, since it says how many channels there are. Raises ``AudioError`` for what is
    no sound, and where an iterator ends before the first.
    """

    def __init__(
        self,
        sound: npt.NDArray[Any] | Iterable[npt.NDArray[Any]],
        rate: int,
        *,
        name: str = "array",
        live: bool = False,
    ) -> None:
        whole = isinstance(sound, np.ndarray)
        arrays = iter([sound] if isinstance(sound, np.ndarray) else sound)
        first = next(arrays, None)
        if first is None:
            raise AudioError(f"{name} ended before any sound came", code="no_audio")
        first = as_frames(first)
        self.name = name
        self.rate = rate
        self.channels = first.shape[1]
        self.live = live
        self.duration: float | None = len(first) / rate if whole else None
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
    if array.ndim != 2 or array.dtype.kind not in "fi":
        raise AudioError(
            f"an array of shape {np.shape(sound)} and type {array.dtype} is no sound: give numbers"
            " of shape (frames,) or (frames, channels)."
        )
    if array.shape[1] > _MOST_CHANNELS:
        raise AudioError(
            f"an array of shape {array.shape} would have {array.shape[1]} channels: frames come"
            " first, so give its transpose (.T)."
        )
    if array.dtype.kind == "i":
        return array.astype(np.float32) / -float(np.iinfo(array.dtype).min)
    return array.astype(np.float32, copy=False)
