"""What is sent to one connection: all at once to nobody else's loss, and nothing for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from streamser.cluster.outbox import Hold
from streamser.events import Overload
from streamser.server.outgoing import EncodedEvent, SendQueue
from tests.server.serving import patience


class Line:
    """Take what is sent, at once; or nothing more at all after so many messages."""

    def __init__(self, most: float = float("inf")) -> None:
        self.most = most
        self.turns = 0
        self.sent: list[int] = []

    async def send(self, body: bytes, *, text: bool) -> None:
        """Take a message, in this turn of the loop."""
        if len(self.sent) >= self.most:
            await asyncio.Event().wait()
        self.sent.append(self.turns)

    async def count(self) -> None:
        """Count turns."""
        while True:
            self.turns += 1
            await asyncio.sleep(0)


def queue(line: Any, **more: float) -> SendQueue:
    """Let letters go out by a line."""
    return SendQueue(line, 1000, lambda overload, stamp: (), lambda dropped: None, **more)


def letters(count: int) -> list[EncodedEvent]:
    """Make events of a session."""
    return [EncodedEvent("a", n, 0, False, (b"x" * 200,)) for n in range(1, count + 1)]


def test_others_get_their_turn_while_much_is_sent_again() -> None:
    """A socket with room for everything must not take all of it in one turn of the loop."""

    async def scene() -> list[int]:
        line = Line()
        counting = asyncio.create_task(line.count())
        out = queue(line)
        out.replay(letters(5000))
        await out.drain()
        await out.close()
        counting.cancel()
        return line.sent

    sent = asyncio.run(patience(scene()))
    assert len(sent) == 5000
    assert max(map(sent.count, set(sent))) <= 64


def test_a_connection_that_takes_nothing_any_more_is_given_up() -> None:
    """It would be waited for, for ever: what is over asks nobody whether they live."""

    async def scene() -> SendQueue:
        out = queue(Line(most=3), still_s=0.01)
        out.replay(letters(10))
        await out.drain()
        await out.close()
        return out

    assert asyncio.run(patience(scene())).too_slow


def test_a_connection_that_is_slow_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long all of it takes: each that goes out is a sign of life."""

    class Slow(Line):
        async def send(self, body: bytes, *, text: bool) -> None:
            for _ in range(10):
                await asyncio.sleep(0)
            self.sent.append(0)

    async def look(ends: object, **options: object) -> None:
        """Be over when two or three more have gone out."""
        for _ in range(25):
            await asyncio.sleep(0)

    async def scene() -> tuple[int, bool]:
        line = Slow()
        out = queue(line)
        out.replay(letters(50))
        monkeypatch.setattr(asyncio, "wait", look)
        await out.drain()
        monkeypatch.undo()
        await out.close()
        return len(line.sent), out.too_slow

    assert asyncio.run(patience(scene())) == (50, False)


def test_what_is_left_out_is_told_of_behind_what_is_sent_again() -> None:
    """The backlog knows them as it knows what comes one by one."""
    words: list[Overload] = []

    def word(overload: Overload, stamp: bytes) -> tuple[bytes, ...]:
        words.append(overload)
        return (b"slow",)

    async def scene() -> None:
        line: Any = Line(most=0)
        out = SendQueue(line, 10, word, lambda dropped: None)
        out.replay(letters(20))
        for n in range(21, 60):
            out.enqueue(EncodedEvent("a", n, 0, True, (b"x",)))
        out.enqueue(EncodedEvent("a", 60, 0, False, (b"x",)))
        await out.close()

    asyncio.run(patience(scene()))
    assert [(each.kind, each.seq) for each in words] == [("deltas", 59)]


def test_what_is_held_and_then_to_be_told_to_nobody_is_not_sent() -> None:
    """Another server has the meeting by then; what comes after it is sent."""

    async def scene() -> int:
        line = Line()
        out = queue(line)
        holds = [Hold(), Hold()]
        for event, hold in zip(letters(2), holds, strict=True):
            out.enqueue(replace(event, held_by=hold))
        holds[0].void = True
        for hold in holds:
            hold.set()
        await out.drain()
        await out.close()
        return len(line.sent)

    assert asyncio.run(patience(scene())) == 1
