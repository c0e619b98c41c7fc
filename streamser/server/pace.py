"""How fast a client's sound is taken in."""

from __future__ import annotations

__all__ = ["Bursts", "MessagePace", "Pace", "Visits"]

_BURST_S = 30.0
_PAID_S = 0.002
"""A message with so much sound costs nothing: it is paced by its sound."""
_PATIENCE_S = 10.0
"""How long a client may have messages waiting without a pause."""


class Pace:
    """Let sound through at ``speed`` times real time, after a burst of 30 s; pure.

    A client who has lost its connection may so catch up at once.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._credit = _BURST_S
        self._last: float | None = None

    def due(self, sound_s: float, came: float) -> float:
        """Return when so many seconds of sound that came at ``came`` are to be taken in.

        It is as if they came then. What came earlier has to be given earlier.
        """
        last = came if self._last is None else self._last
        self._last = came = max(came, last)
        self._credit = min(_BURST_S, self._credit + (came - last) * self._speed) - sound_s
        return came + max(0.0, -self._credit / self._speed)


class MessagePace:
    """Let messages through at ``rate`` a second, after a burst; pure.

    Sound is paced by ``Pace``: a message with 2 ms of it or more is free, with less it costs a
    part of one. ``at_once`` is how much of the burst there is already, all of it by default.
    """

    def __init__(self, rate: float, burst: int, at_once: float | None = None) -> None:
        self.rate = rate
        self._burst = float(burst)
        self._credit = self._burst if at_once is None else at_once
        self._last: float | None = None
        self._in_debt: float | None = None

    def wait_s(self, sound_s: float, now: float) -> float | None:
        """Return how long to wait before a message is followed at ``now``.

        ``sound_s`` is the sound in it, in seconds. ``None``: for 10 s the client has sent more
        than it may, and is to be sent away.
        """
        passed = 0.0 if self._last is None else max(0.0, now - self._last)
        self._last = now
        cost = max(0.0, 1 - sound_s / _PAID_S)
        self._credit = min(self._burst, self._credit + passed * self.rate) - cost
        # Half of the burst: sleeping a little too long now and then is no pause.
        if self._credit >= (self._burst - 1) / 2:
            self._in_debt = None
        if self._credit >= 0 or not cost:
            return 0.0
        if self._in_debt is None:
            self._in_debt = now
        if now - self._in_debt > _PATIENCE_S:
            return None
        return -self._credit / self.rate


class Bursts:
    """Grant bursts to the streams that an owner opens; pure.

    Else who opens one after another would be paced by nothing. There are ``streams`` bursts, and
    one more each second; with less than one left, a stream gets what there is.
    """

    def __init__(self, burst: int, streams: int) -> None:
        self._burst = float(burst)
        self._most = self._burst * streams
        self._left: dict[str, tuple[float, float]] = {}

    def grant(self, owner: str, now: float) -> float:
        """Return how many messages a stream that begins ``now`` may send at once."""
        left, since = self._left.get(owner, (self._most, now))
        left = min(self._most, left + max(0.0, now - since) * self._burst)
        granted = min(self._burst, left)
        self._left[owner] = (left - granted, now)
        return granted


class Visits:
    """Let owners connect so often: ``most`` times at once, and ``rate`` times a second; pure.

    Each costs a handshake, a line or two in the log, and everybody an event or two.
    """

    def __init__(self, most: int, rate: float) -> None:
        self._most = float(most)
        self._rate = rate
        self._left: dict[str, tuple[float, float]] = {}

    def admit(self, owner: str, now: float) -> bool:
        """Return whether an owner may connect ``now``; one that may not has not done so."""
        left, since = self._left.get(owner, (self._most, now))
        left = min(self._most, left + max(0.0, now - since) * self._rate)
        admitted = left >= 1
        self._left[owner] = (left - admitted, now)
        return admitted
