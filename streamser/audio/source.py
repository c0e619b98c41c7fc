"""What every source of sound looks like from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.float32]
"""Sound as a source gives it: float32 of shape (frames, channels) at the source's own rate."""


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
