"""The door: how many connections there may be, who is shown out, and what is written of it."""

from __future__ import annotations

from functools import partial

from streamser.server.limits import ConnectionBounds
from streamser.server.telemetry import LogThrottle
from streamser.server.transport import ConnectionTable, ends_of


def crowd(table: ConnectionTable, shown: list[int], *guests: tuple[int, str]) -> None:
    """Let guests (number, address) enter one after the other; note those shown out."""
    for number, address in guests:
        assert table.enter(number, address, partial(shown.append, number))


def test_whoever_has_waited_longest_makes_room() -> None:
    """In all, and of an address that takes more than its share."""
    table = ConnectionTable(ConnectionBounds(open=100, waiting=4, waiting_of_one=2))
    shown: list[int] = []
    crowd(table, shown, (1, "a"), (2, "b"), (3, "b"))
    assert shown == []
    crowd(table, shown, (4, "b"))
    assert shown == [2]
    crowd(table, shown, (5, "c"), (6, "d"))
    assert shown == [2, 1]
    assert table.waiting == 4


def test_whoever_is_through_the_door_stays() -> None:
    """However many come after."""
    table = ConnectionTable(ConnectionBounds(open=100, waiting=2, waiting_of_one=2))
    shown: list[int] = []
    crowd(table, shown, (1, "a"))
    table.settle(1)
    crowd(table, shown, *((number, "a") for number in range(2, 20)))
    assert shown == list(range(2, 18))
    assert table.waiting == 2


def test_a_full_house_takes_nobody_in_until_somebody_leaves() -> None:
    """Those shown out count until they are closed."""
    table = ConnectionTable(ConnectionBounds(open=3, waiting=2, waiting_of_one=2))
    shown: list[int] = []
    crowd(table, shown, (1, "a"), (2, "a"), (3, "a"))
    assert shown == [1]
    assert not table.enter(4, "b", lambda: None)
    table.leave(1)
    table.leave(1)
    assert table.enter(4, "b", lambda: None)
    for number in (2, 3, 4):
        table.leave(number)
    assert (table.open, table.waiting) == (0, 0)


def test_who_is_to_leave_stands_at_the_door_again() -> None:
    """Its place inside is free; who never says goodbye is shown out for somebody else."""
    table = ConnectionTable(ConnectionBounds(open=100, waiting=4, waiting_of_one=2))
    shown: list[int] = []
    for number in range(1, 10):
        crowd(table, shown, (number, "a"))
        table.settle(number)
        table.start_closing(number)
    assert shown == list(range(1, 8))
    assert table.waiting == 2
    table.start_closing(99)
    for number in range(1, 10):
        table.leave(number)
    assert (table.open, table.waiting) == (0, 0)


def test_many_may_leave_at_once_where_nobody_comes() -> None:
    """A server that ends cuts nobody's goodbye short."""
    table = ConnectionTable(ConnectionBounds(open=100, waiting=4, waiting_of_one=2))
    shown: list[int] = []
    for number in range(10):
        crowd(table, shown, (number, "a"))
        table.settle(number)
    for number in range(10):
        table.start_closing(number)
    assert shown == []


def test_one_port_of_theirs_may_be_connected_to_two_addresses_of_ours() -> None:
    """They are two guests, and each leaves by itself."""
    theirs = ("10.0.0.1", 4000)
    guests = {ends_of(theirs, (ours, 8377)) for ours in ("10.0.0.2", "10.0.0.3")}
    assert len(guests) == 2
    assert ends_of(("::1", 1, 0, 0), ("::1", 2, 0, 0)) == ends_of(("::1", 1), ("::1", 2))


def test_lines_that_strangers_cause_are_left_out_and_counted() -> None:
    """Twenty of a kind at once, then one in ten seconds; other kinds have their own."""
    now = 0.0
    throttle = LogThrottle(lambda: now)
    assert [throttle.admit("a") for _ in range(1000)] == [0] * 20 + [None] * 980
    assert throttle.admit("b") == 0
    now = 9.0
    assert throttle.admit("a") is None
    now = 10.0
    assert throttle.admit("a") == 981
