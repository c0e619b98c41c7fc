"""How many may come, how often and how fast, and when what they send has come."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import msgspec

from streamser.events import ErrorBody
from streamser.settings import ServerSettings

FULL: Final = ("too_many_sessions", "too_many_sessions_of_token")
"""Codes of refusals for want of a place."""
_RETRY_S = 5
_VISITS: Final = 20.0
"""Connections of an owner a second, once it has come back with all that it may have, twice."""
_FEWEST_VISITS: Final = 100
_LOADING_S = 1
"""Models take seconds, and who has come early talks already."""

_RESERVED_FILES: Final = 96
"""Files of models, exports and the system, beside those that are open already."""
_FILES_OF_A_STREAM: Final = 2

_PAID_S = 0.002
"""A message with so much sound costs nothing: it is paced by its sound."""
_PATIENCE_S = 10.0
"""How long a client may have messages waiting without a pause."""

_LAGS_S: Final = 15.0
"""Long enough for some finals, short enough to be over soon after the load is."""
_FEWEST_LAGS: Final = 3
"""One long utterance that takes its time is no load."""
_QUARTILE: Final = 0.75

PERIOD_S: Final = 0.05
"""How often it is looked whether the loop turns."""
LATE_S: Final = 0.25
"""A loop that stands still for so long is told of."""
_LOOP_S: Final = 15.0
_SHORT_S: Final = 0.005
"""A pause that no lag shows."""


class Refusal(msgspec.Struct, frozen=True):
    """Say no: by an HTTP status, or where the socket is open already, by a close code.

    ``owner`` is the name of the token that was given, where it is known here.
    """

    status: int
    close_code: int
    code: str
    message: str
    retry_s: int | None = None
    owner: str | None = None

    def of(self, owner: str) -> Refusal:
        """Return the same, said to the owner of a token."""
        return msgspec.structs.replace(self, owner=owner)

    @property
    def error(self) -> ErrorBody:
        """Return the error for programs."""
        kind: Literal["server_error", "invalid_request_error"]
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return ErrorBody(type=kind, code=self.code, message=self.message)

    @property
    def reason(self) -> str:
        """Return the reason for a close frame, which holds 123 bytes."""
        retry = "" if self.retry_s is None else f"; retry in {self.retry_s} s"
        return f"{self.code}{retry}"


class Admission:
    """Count who is here, and know how late finals are; ``now`` is the clock for that.

    With ``shares`` no owner has more than ``server.token_share`` of the places.
    """

    def __init__(self, settings: ServerSettings, now: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._streams: Counter[str] = Counter()
        self._listeners: Counter[str] = Counter()
        self._lateness = Lateness(settings.late_s)
        places = settings.max_sessions + settings.max_listeners
        self._visits = ConnectRate(max(_FEWEST_VISITS, 2 * places), _VISITS)
        self._now = now
        self.shares = False
        self.draining = False
        self.closing = False
        self.ready = False
        self.has_models: Callable[[], bool] = lambda: True
        """Says, once all is ready, whether the models still are: they may go, and come again."""
        self.gives_way: Callable[[], bool] = lambda: False
        """Says whether a stream without a client holds a place."""
        self.waiting_s: Callable[[], float] = lambda: 0.0
        """Says how long the oldest final has waited for its models."""

    @property
    def streams(self) -> int:
        """Return how many streams there are."""
        return self._streams.total()

    @property
    def places(self) -> int:
        """Return how many streams there may be."""
        return self._settings.max_sessions

    @property
    def listeners(self) -> int:
        """Return how many listeners there are."""
        return self._listeners.total()

    @property
    def leaving(self) -> bool:
        """Return whether no stream is let in any more."""
        return self.closing or self.draining

    @property
    def late_s(self) -> float:
        """Return how late finals are at the moment (s)."""
        return self._lateness.seconds(self.waiting_s(), self._now())

    @property
    def late(self) -> bool:
        """Return whether finals are too late for newcomers."""
        return self._lateness.is_late(self.waiting_s(), self._now())

    @property
    def serving(self) -> bool:
        """Return whether the models are there."""
        return self.ready and self.has_models()

    @property
    def crowded(self) -> bool:
        """Return whether it is full, and nobody who has vanished would give way."""
        return self.full and not self.gives_way()

    @property
    def full(self) -> bool:
        """Return whether no stream more can be taken in."""
        return self.streams >= self.places

    def refuse_visit(self, owner: str) -> Refusal | None:
        """Return why a connection of this token's owner comes too soon, if it does."""
        if self._visits.admit(owner, self._now()):
            return None
        return _busy("too_many_visits", f"the token {owner!r} connects again and again")

    def refuse_stream(self, owner: str) -> Refusal | None:
        """Return why a stream of this token's owner cannot be taken in, if it cannot."""
        settings = self._settings
        if (unfit := self.refuse_unready()) is not None:
            return unfit
        if self.full:
            return _busy(
                "too_many_sessions", f"all places for streams are taken ({settings.max_sessions})"
            )
        most = self.share_of(settings.max_sessions)
        if self._streams[owner] >= most:
            message = f"the token {owner!r} has as many streams as it may ({most})"
            return _busy("too_many_sessions_of_token", message)
        if self.late:
            message = f"finals are {self.late_s:.1f} s late, and one more would make it worse"
            return _busy("overloaded", message)
        return None

    def refuse_listener(self, owner: str) -> Refusal | None:
        """Return why a listener cannot be taken in, if it cannot."""
        if self.closing:
            return self.refuse_unready()
        if self.listeners >= self._settings.max_listeners:
            most = self._settings.max_listeners
            return _busy("too_many_listeners", f"all places for listeners are taken ({most})")
        most = self.share_of(self._settings.max_listeners)
        if self._listeners[owner] >= most:
            message = f"the token {owner!r} has as many listeners as it may ({most})"
            return _busy("too_many_listeners_of_token", message)
        return None

    def record_lag(self, took_s: float) -> bool:
        """Note how long after its utterance a final was told; returns if that was too long."""
        return self._lateness.add(took_s, self._now())

    def enter_stream(self, owner: str) -> None:
        """Count a stream."""
        self._streams[owner] += 1

    def leave_stream(self, owner: str) -> None:
        """Count a stream no more."""
        self._streams[owner] -= 1
        if not self._streams[owner]:
            del self._streams[owner]

    def enter_listener(self, owner: str) -> None:
        """Count a listener."""
        self._listeners[owner] += 1

    def leave_listener(self, owner: str) -> None:
        """Count a listener no more."""
        self._listeners[owner] -= 1
        if not self._listeners[owner]:
            del self._listeners[owner]

    def share_of(self, places: int) -> int:
        """Return how many of some places the tokens of one name may have."""
        return max(1, int(places * self._settings.token_share)) if self.shares else places

    def refuse_unready(self) -> Refusal | None:
        """Return why nobody is let in to send, if nobody is."""
        if self.leaving:
            return _busy("shutting_down", "the server is about to end")
        if not self.serving:
            return _busy("not_ready", "the server is loading its models", _LOADING_S)
        return None


def _busy(code: str, message: str, retry_s: int = _RETRY_S) -> Refusal:
    return Refusal(503, 1013, code, f"{message}: try again in {retry_s} s", retry_s)


class ConnectionBounds(msgspec.Struct, frozen=True):
    """Say how many connections may be open, and wait at the door in all and from an address.

    Those that proxies have ``brought`` without having said for whom are not among these.
    """

    open: int = 4096
    waiting: int = 128
    waiting_of_one: int = 32
    brought: int = 2048


def connection_bounds(own: ServerSettings) -> ConnectionBounds:
    """Return how many connections this process can hold beside the files that it needs."""
    bounds = ConnectionBounds()
    room = _file_limit() - _open_files() - _RESERVED_FILES - _FILES_OF_A_STREAM * own.max_sessions
    most = own.max_sessions + own.max_listeners + 2 * bounds.waiting
    there = max(16, min(room, most))
    # Those who wait must never fill the house: somebody would have to wait for their time-out.
    return ConnectionBounds(
        there, min(bounds.waiting, there // 2), min(bounds.waiting_of_one, there // 4), there // 2
    )


def short_of_files(own: ServerSettings) -> str | None:
    """Return a line for people where this process may open too few files; ``None``: enough."""
    bounds = ConnectionBounds()
    needed = _open_files() + _RESERVED_FILES + bounds.waiting
    needed += own.max_listeners + (1 + _FILES_OF_A_STREAM) * own.max_sessions
    if _file_limit() >= needed:
        return None
    return (
        f"This process may open {_file_limit()} files; {own.max_sessions} streams and"
        f" {own.max_listeners} listeners need {needed}: raise it (`ulimit -n {needed}`; systemd:"
        " LimitNOFILE=), or lower server.max_sessions and server.max_listeners."
    )


def shared_file(path: str | None) -> str | None:
    """Return a line for people where others on this machine may read a file of secrets.

    One of somebody else's that its group may read was given to this program so, as
    Kubernetes does.
    """
    if path is None or os.name != "posix":
        return None
    try:
        found = Path(path).expanduser().stat()
    except OSError:
        return None
    given = found.st_uid != os.geteuid()
    if not found.st_mode & (0o037 if given else 0o077):
        return None
    return f"server.token_file {path}: others on this machine may use it: chmod 600 {path}"


def _file_limit() -> int:
    try:
        import resource
    except ImportError:  # Windows knows no such bound
        return 1 << 20
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1 << 20 if soft == resource.RLIM_INFINITY else soft


def _open_files() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError):
            return len(os.listdir(folder))
    return 32


class MessagePace:
    """Let messages through at ``rate`` a second, after a burst; pure.

    Sound is paced by ``AudioPace``: a message with 2 ms of it or more is free, with less it costs a
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


class BurstBudget:
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


class ConnectRate:
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


class Lateness:
    """Remember the lags of finals for a while, and judge them together with what waits.

    Late from ``late_s`` on, until it has fallen to half of that; never where that is 0.
    """

    def __init__(self, late_s: float) -> None:
        self._late_s = late_s
        self._lags: deque[tuple[float, float]] = deque()
        self._late = False

    def add(self, lag_s: float, now: float) -> bool:
        """Take the lag of a final; returns whether it is late."""
        self._lags.append((now, lag_s))
        self._forget(now)
        return 0 < self._late_s <= lag_s

    def seconds(self, waiting_s: float, now: float) -> float:
        """Return how late finals are: three of four are told sooner, and none waits longer.

        ``waiting_s`` is how long the oldest final has waited by now. What was told more than
        15 s ago is forgotten, and so it recovers by itself.
        """
        self._forget(now)
        if len(self._lags) < _FEWEST_LAGS:
            return waiting_s
        lags = sorted(lag for _, lag in self._lags)
        return max(waiting_s, lags[int(_QUARTILE * (len(lags) - 1))])

    def is_late(self, waiting_s: float, now: float) -> bool:
        """Return whether newcomers would make those who are there suffer."""
        if self._late_s > 0:
            limit = self._late_s / 2 if self._late else self._late_s
            self._late = self.seconds(waiting_s, now) >= limit
        return self._late

    def _forget(self, now: float) -> None:
        while self._lags and self._lags[0][0] <= now - _LAGS_S:
            self._lags.popleft()


class LoopWatch:
    """Tell how late a loop is; somebody calls ``tick`` every 50 ms, or as soon as the loop lets it.

    Times are those of one monotonic clock, in seconds.
    """

    def __init__(self) -> None:
        self._due: float | None = None
        self._late: deque[tuple[float, float]] = deque()

    def tick(self, now: float) -> float:
        """Note that the loop turns; return how much later that is than it was due, in s."""
        late = self._overdue(now)
        self._due = now + PERIOD_S
        # Only what is not outdone by something later can still be the worst.
        while self._late and self._late[-1][1] <= late:
            self._late.pop()
        self._late.append((now, late))
        return late

    def stop(self) -> None:
        """Expect no turn any more."""
        self._due = None

    def turned(self, now: float) -> float:
        """Return since when the loop may have stood still, to 50 ms; ``now`` where it does not."""
        return now - self._overdue(now)

    def late_s(self, now: float) -> float:
        """Return how late it was at the worst in the last 15 s, and is now."""
        while self._late and self._late[0][0] <= now - _LOOP_S:
            self._late.popleft()
        worst = self._late[0][1] if self._late else 0.0
        return max(worst, self._overdue(now))

    def _overdue(self, now: float) -> float:
        return 0.0 if self._due is None else max(0.0, now - self._due)


class Arrivals:
    """Say when the bytes of one socket have come, also where they have waited in it.

    What is read after the loop stood still, or after the socket was not read for a while, may have
    come at any moment of that: the first is taken, so that a lag is told too long, never too short.
    To 50 ms; and of more than one read takes at once (256 KiB) the rest counts from that read on.
    """

    def __init__(self, watch: LoopWatch) -> None:
        self._watch = watch
        self._unread_since: float | None = None
        self._last = 0.0

    def pause(self, now: float) -> None:
        """Note that the socket is read no more."""
        if self._unread_since is None:
            self._unread_since = now

    def resume(self, now: float) -> bool:
        """Note that it is read again; return whether ``settle`` is to tell that nothing waited."""
        if self._unread_since is not None and now - self._unread_since < _SHORT_S:
            self._unread_since = None
        return self._unread_since is not None

    def settle(self) -> None:
        """Note that the socket has been asked again, and nothing had come."""
        self._unread_since = None

    def arrived(self, now: float) -> float:
        """Return since when what is read now may have been there; never before what came before."""
        came = self._watch.turned(now)
        if self._unread_since is not None:
            came, self._unread_since = min(came, self._unread_since), None
        self._last = max(self._last, came)
        return self._last
