"""Listen to what a server makes of everybody's sound."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from pathlib import Path
from ssl import SSLContext

import msgspec

from streamser.client.connection import Reconnector, RetryTiming
from streamser.client.wire import EVENTS, ConnectionLost, Envelope, endpoint, plan_route, read_event
from streamser.events import AnyEvent, ErrorBody, ErrorRaised, Snapshot, Stamp


class Stamped(msgspec.Struct, frozen=True):
    """Hold an event and where it stands among all events of the server and in its meeting."""

    stamp: Stamp
    event: AnyEvent


class ListenPosition:
    """Know how far a listener has come, so that it hears everything once; pure.

    With ``by_seq`` it listens to one session and counts its ``seq``, else the ``cursor``.
    """

    def __init__(self, after: int | None, *, by_seq: bool) -> None:
        self.after = after
        self._by_seq = by_seq

    def accept(self, message: bytes | str) -> Stamped | None:
        """Read a message; ``None`` where it was told before, or nobody knows what it is."""
        event = read_event(message)
        if event is None:
            return None
        if isinstance(event, Snapshot):
            self._start(event)
            return Stamped(Stamp(cursor=event.cursor), event)
        stamp = _stamp(message)
        number = getattr(event, "seq", None) if self._by_seq else stamp.cursor
        if number:
            if self.after is not None and number <= self.after:
                return None
            self.after = number
        return None if isinstance(event, Envelope) else Stamped(stamp, event)

    def _start(self, snapshot: Snapshot) -> None:
        if self._by_seq:
            if self.after is None and snapshot.sessions:
                self.after = snapshot.sessions[0].seq
        elif self.after is None:
            self.after = snapshot.cursor
        elif snapshot.cursor < self.after:
            # Another server counts here: what it tells is new.
            first = snapshot.replay_from
            self.after = snapshot.cursor if first is None else first - 1


async def subscribe(
    url: str,
    *,
    meeting: str | None = None,
    session: str | None = None,
    types: Iterable[str] | None = None,
    after: int | None = None,
    token: str | None = None,
    ca: str | Path | None = None,
    ssl: SSLContext | None = None,
    proxy: str | None = None,
    give_up_s: float = 120.0,
    tell: Callable[[str], None] | None = None,
    timing: RetryTiming | None = None,
) -> AsyncGenerator[Stamped, None]:
    """Yield the events of a meeting, of a session or, without either, of all sessions.

    A ``streamser.snapshot`` comes first, and again after each time the connection was broken
    and made again; the other events go on where they were, each told once. ``types`` are
    those wanted (``streamser.*``: all that begin so). ``after`` is the ``seq`` of a session,
    else the ``cursor``, of the last event that is known already; 0 asks for all that is kept.
    A snapshot that is ``lost`` says that events since then are gone, and ``tell`` gets a line.
    ``ca``, ``ssl`` and ``proxy`` are those of ``connect``.

    Raises ``ServerError`` where the server cannot be reached, refuses us or is given up, and
    ``ValueError`` where both a meeting and a session are named.
    """
    from websockets.exceptions import ConnectionClosed

    if meeting is not None and session is not None:
        raise ValueError("listen to a meeting or to a session, not to both")
    position = ListenPosition(after, by_seq=session is not None)
    query = {
        "meeting": meeting,
        "session": session,
        "all": "1" if meeting is None and session is None else None,
        "types": None if types is None else ",".join(types),
    }

    def target() -> str:
        known = None if position.after is None else str(position.after)
        return endpoint(url, EVENTS, query | {"after": known})

    link = Reconnector(
        target(),
        token,
        plan_route(url, proxy=proxy, ca=ca, tls=ssl),
        resume=True,
        give_up_s=give_up_s,
        tell=tell,
        timing=timing or RetryTiming(),
    )
    while True:
        socket = await link.connect(target)
        said: ErrorBody | None = None
        first = True
        try:
            while True:
                message = await socket.recv()
                told = position.accept(message)
                if told is None:
                    continue
                if isinstance(told.event, ErrorRaised) and not told.event.session_id:
                    said = told.event.error
                    continue
                if first:
                    link.mark_connected()
                    first = False
                if isinstance(told.event, Snapshot) and told.event.lost:
                    link.say("some events since the last one known are gone, and not told again.")
                yield told
        except ConnectionClosed as closed:
            try:
                link.judge(closed, said)
            except ConnectionLost as fault:
                broken = fault
            else:
                return
        finally:
            await socket.close()
        await link.wait(broken)


def _stamp(message: bytes | str) -> Stamp:
    try:
        return msgspec.json.decode(message, type=Stamp)
    except msgspec.DecodeError:
        # A refusal has none.
        return Stamp(cursor=0)
