"""From a session's sound to utterances: by a detector of speech, or as the client commits."""

from __future__ import annotations

import math
from collections import deque
from typing import Literal, Protocol, TypeAlias

import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import Ring, Samples, to_samples
from streamser.speech.endpointing import (
    Closed,
    Endpointer,
    EndpointerSettings,
    EndpointEvent,
    Extended,
    Opened,
    PauseDetected,
)
from streamser.speech.vad import Vad

Commit: TypeAlias = Literal["commit", "no_sound"]
"""Why an utterance ends without a pause: the client says so, or nothing comes any more."""

MIN_COMMIT = to_samples(100)
"""Samples that a client must have sent before it commits by hand, as OpenAI demands."""


_MOST_AHEAD = 16
"""Windows judged at once: half a second of sound, so that no other stream waits long."""


class TurnDetector(Protocol):
    """Find the utterances of one session; positions are absolute samples of the session."""

    window: int
    """Samples of speech that each ``Extended`` stands for."""

    @property
    def heard(self) -> int:
        """Return how many samples the session has heard."""
        ...

    @property
    def idle(self) -> bool:
        """Return whether no utterance is open and none has begun to."""
        ...

    def detect(self, samples: Samples) -> tuple[int, list[EndpointEvent]]:
        """Hear from the beginning of ``samples``; return how many, and what they change.

        At most up to the next window's end, so that whatever an event speaks of is still held.
        """
        ...

    def commit(self, reason: Commit = "commit") -> list[EndpointEvent]:
        """Close what is open here; nothing comes where there is nothing to close."""
        ...

    def clear(self) -> None:
        """Throw away what is open."""
        ...

    def flush(self) -> list[EndpointEvent]:
        """Close what is open because the sound ends here."""
        ...

    def release(self) -> None:
        """Let all that was heard be held, since others go on from here; only while idle."""
        ...


class VadTurnDetector:
    """Cut where a detector hears pauses; begins at the end of what ``ring`` holds."""

    def __init__(self, ring: Ring, vad: Vad, settings: EndpointerSettings) -> None:
        self.window = vad.window
        self._ring = ring
        self._vad = vad
        self._endpointer = Endpointer(settings, vad.window)
        self._origin = ring.end
        self._block = np.zeros(vad.window, np.float32)
        self._filled = 0
        self._heard = ring.end
        self._ahead: deque[float] = deque()

    @property
    def heard(self) -> int:
        """Return how many samples the session has heard."""
        return self._heard

    @property
    def idle(self) -> bool:
        """Return whether no utterance is open and none has begun to."""
        return self._endpointer.idle

    def detect(self, samples: Samples) -> tuple[int, list[EndpointEvent]]:
        """Hear up to the end of the detector's window."""
        if not self._ahead:
            self._judge_ahead(samples)
        take = min(len(samples), self.window - self._filled)
        self._block[self._filled : self._filled + take] = samples[:take]
        self._filled += take
        self._heard += take
        return take, self._hear_block() if self._filled == self.window else []

    def commit(self, reason: Commit = "commit") -> list[EndpointEvent]:
        """Close what is open at the last window, since the next has not been heard whole."""
        return [self._placed(event, reason) for event in self._endpointer.flush()]

    def clear(self) -> None:
        """Throw away what is open."""
        self._endpointer.drop()

    def flush(self) -> list[EndpointEvent]:
        """Close what is open; a last window that was not filled counts as if silence followed."""
        events = self._hear_rest()
        # What is left at the end of a stream, less than a window, belongs to whoever speaks there.
        whole = self._heard - (self._heard - self._origin) % self.window
        for event in self._endpointer.flush():
            placed = self._placed(event)
            if isinstance(placed, Closed) and placed.end == whole:
                placed = replace(placed, end=self._heard)
            events.append(placed)
        return events

    def release(self) -> None:
        """Let the window that was not filled be held as it is."""
        self._ring.append(self._block[: self._filled])
        self._filled = 0

    def _judge_ahead(self, samples: Samples) -> None:
        """Judge the whole windows that are here, which takes a detector less than one by one.

        All of them are heard next: who pushes sound pushes the rest of it before anything else.
        """
        count = min((self._filled + len(samples)) // self.window, _MOST_AHEAD)
        if count > 1:
            new = samples[: count * self.window - self._filled]
            windows = np.concatenate([self._block[: self._filled], new])
            self._ahead.extend(self._vad.probabilities(windows.reshape(count, self.window)))

    def _hear_block(self) -> list[EndpointEvent]:
        block = self._block
        self._filled = 0
        self._ring.append(block)
        level = 10.0 * math.log10(float(np.dot(block, block)) / len(block) + 1e-10)
        judged = self._ahead.popleft() if self._ahead else self._vad.probability(block)
        events = self._endpointer.push(judged, level)
        return [self._placed(event) for event in events]

    def _hear_rest(self) -> list[EndpointEvent]:
        if not self._filled:
            return []
        self._block[self._filled :] = 0
        # An utterance may be cut in the middle of a block, which must have been heard.
        if self._filled > self.window // 2:
            return self._hear_block()
        self._ring.append(self._block)
        self._filled = 0
        return []

    def _placed(self, event: EndpointEvent, reason: Commit | None = None) -> EndpointEvent:
        """Return an endpointer's event in the session's own samples, none beyond what was heard."""
        origin, heard = self._origin, self._heard
        match event:
            case Opened(start):
                return Opened(origin + start)
            case Extended(end):
                return Extended(min(origin + end, heard))
            case PauseDetected(start, end):
                return PauseDetected(origin + start, min(origin + end, heard))
            case Closed(start, end, why):
                return Closed(origin + start, min(origin + end, heard), reason or why)
        return event


class ManualTurnDetector:
    """Cut where the client commits, and at ``max_length`` samples at the latest.

    Everything that is heard belongs to an utterance; begins at the end of what ``ring`` holds.
    """

    def __init__(self, ring: Ring, max_length: int, window: int) -> None:
        self.window = window
        self._ring = ring
        self._max_length = max_length
        self._start: int | None = None
        self._extended = 0

    @property
    def heard(self) -> int:
        """Return how many samples the session has heard."""
        return self._ring.end

    @property
    def idle(self) -> bool:
        """Return whether nothing waits to be committed."""
        return self._start is None

    def detect(self, samples: Samples) -> tuple[int, list[EndpointEvent]]:
        """Hear at most one window."""
        events: list[EndpointEvent] = []
        if self._start is None:
            self._start = self._extended = self._ring.end
            events.append(Opened(self._start))
        room = self._start + self._max_length - self._ring.end
        take = min(len(samples), self._extended + self.window - self._ring.end, room)
        self._ring.append(samples[:take])
        if self._ring.end == self._extended + self.window:
            self._extended = self._ring.end
            events.append(Extended(self._extended))
        if take == room:
            events.append(self._close(self._start, "max_length"))
        return take, events

    def commit(self, reason: Commit = "commit") -> list[EndpointEvent]:
        """Close what was sent since the last commit, if it is long enough."""
        if self._start is None or self._ring.end - self._start < MIN_COMMIT:
            return []
        return [self._close(self._start, reason)]

    def clear(self) -> None:
        """Throw away what was sent since the last commit."""
        self._start = None

    def flush(self) -> list[EndpointEvent]:
        """Close what was sent since the last commit, if it is long enough: the sound ends here."""
        if self._start is None or self._ring.end - self._start < MIN_COMMIT:
            self._start = None
            return []
        return [self._close(self._start, "flush")]

    def release(self) -> None:
        """Have nothing back: all is held already."""

    def _close(self, start: int, reason: Commit | Literal["max_length", "flush"]) -> Closed:
        self._start = None
        return Closed(start, self._ring.end, reason)
