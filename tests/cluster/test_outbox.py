"""What waits for Redis."""

from __future__ import annotations

import msgspec

from streamser.cluster.outbox import Outbox, Post
from streamser.cluster.records import ToldEvent


def post(cursor: int, *, stays: bool = True, meeting: str = "m") -> Post:
    """Make an event on its way."""
    return Post(event=ToldEvent(cursor=cursor, meeting=meeting, at_ms=0, line=b"{}", stays=stays))


def cursors(outbox: Outbox) -> list[int]:
    """List what waits."""
    return [each.event.cursor for each in outbox.batch(10_000)]


def test_posts_leave_in_their_order_and_stay_until_they_are_written() -> None:
    """Also where writing them has to be tried again."""
    outbox = Outbox(10)
    for cursor in (1, 2, 3):
        outbox.put(post(cursor))
    assert [each.event.cursor for each in outbox.batch(2)] == [1, 2]
    assert cursors(outbox) == [1, 2, 3]
    outbox.written(outbox.batch(2))
    assert cursors(outbox) == [3]


def test_of_what_stays_the_oldest_is_left_out_and_counted() -> None:
    """Partials do not count to it."""
    outbox = Outbox(2)
    for cursor in range(1, 5):
        outbox.put(post(cursor))
        outbox.put(post(cursor, stays=False))
    assert outbox.left_out == 2
    assert [each.event.cursor for each in outbox.batch(99) if each.event.stays] == [3, 4]


def test_what_only_matters_at_its_time_is_not_kept() -> None:
    """Neither once asked, nor where there is too much of it."""
    outbox = Outbox(10)
    outbox.put(post(1))
    outbox.put(post(2, stays=False))
    outbox.drop_passing()
    assert cursors(outbox) == [1]
    for cursor in range(3, 2100):
        outbox.put(post(cursor, stays=False))
    assert len(outbox) < 2000
    assert cursors(outbox)[0] == 1


def test_what_redis_has_lost_goes_first_and_once() -> None:
    """What waits anyhow is not written twice."""
    outbox = Outbox(10)
    outbox.put(post(5))
    outbox.put(post(6))
    outbox.put_again([post(3), post(4), post(5)])
    assert cursors(outbox) == [3, 4, 5, 6]


def test_what_is_written_takes_nothing_else_along() -> None:
    """Also where some of it was left out while it was on its way, or more was put before it."""
    outbox = Outbox(10)
    outbox.put(post(1, stays=False))
    outbox.put(post(2))
    under_way = outbox.batch(2)
    outbox.put(post(3))
    outbox.drop_passing()
    outbox.written(under_way)
    assert cursors(outbox) == [3]
    under_way = outbox.batch(1)
    outbox.put_again([post(1)])
    outbox.written(under_way)
    # Written twice does no harm; not at all does.
    assert cursors(outbox) == [1, 3]


def test_what_waits_is_told_as_it_is_now() -> None:
    """Its meeting's clock has been put right; another event of the same place stays as it is."""
    outbox = Outbox(10)
    outbox.put(post(1))
    outbox.put(post(2))
    later = msgspec.structs.replace(post(1).event, at_ms=9000)
    other = msgspec.structs.replace(post(2).event, at_ms=9000, line=b'{"type":"other"}')
    outbox.restate([Post(event=later), Post(event=other)])
    assert [each.event.at_ms for each in outbox.batch(9)] == [9000, 0]


def test_what_is_to_be_told_to_nobody_is_left_out() -> None:
    """Also if it has been stated anew meanwhile."""
    outbox = Outbox(10)
    for cursor in (1, 2, 3):
        outbox.put(post(cursor))
    outbox.restate([post(2)])
    outbox.leave_out([post(2)])
    assert cursors(outbox) == [1, 3]
    assert outbox.newest == 3
