"""The door: how many connections there may be, who is shown out, and what is written of it."""

from __future__ import annotations

from functools import partial

from streamser.server.doorway import Bounds, Doorway, Sparing, guest_of


def crowd(doorway: Doorway, shown: list[int], *guests: tuple[int, str]) -> None:
    """Let guests (number, address) enter one after the other; note those shown out."""
    for number, address in guests:
        assert doorway.enter(number, address, partial(shown.append, number))


def test_whoever_has_waited_longest_makes_room() -> None:
    """In all, and of an address that takes more than its share."""
    doorway = Doorway(Bounds(open=100, waiting=4, waiting_of_one=2))
    shown: list[int] = []
    crowd(doorway, shown, (1, "a"), (2, "b"), (3, "b"))
    assert shown == []
    crowd(doorway, shown, (4, "b"))
    assert shown == [2]
    crowd(doorway, shown, (5, "c"), (6, "d"))
    assert shown == [2, 1]
    assert doorway.waiting == 4


def test_whoever_is_through_the_door_stays() -> None:
    """However many come after."""
    doorway = Doorway(Bounds(open=100, waiting=2, waiting_of_one=2))
    shown: list[int] = []
    crowd(doorway, shown, (1, "a"))
    doorway.settle(1)
    crowd(doorway, shown, *((number, "a") for number in range(2, 20)))
    assert shown == list(range(2, 18))
    assert doorway.waiting == 2


def test_a_full_house_takes_nobody_in_until_somebody_leaves() -> None:
    """Those shown out count until they are closed."""
    doorway = Doorway(Bounds(open=3, waiting=2, waiting_of_one=2))
    shown: list[int] = []
    crowd(doorway, shown, (1, "a"), (2, "a"), (3, "a"))
    assert shown == [1]
    assert not doorway.enter(4, "b", lambda: None)
    doorway.leave(1)
    doorway.leave(1)
    assert doorway.enter(4, "b", lambda: None)
    for number in (2, 3, 4):
        doorway.leave(number)
    assert (doorway.open, doorway.waiting) == (0, 0)


def test_who_is_to_leave_stands_at_the_door_again() -> None:
    """Its place inside is free; who never says goodbye is shown out for somebody else."""
    doorway = Doorway(Bounds(open=100, waiting=4, waiting_of_one=2))
    shown: list[int] = []
    for number in range(1, 10):
        crowd(doorway, shown, (number, "a"))
        doorway.settle(number)
        doorway.see_off(number)
    assert shown == list(range(1, 8))
    assert doorway.waiting == 2
    doorway.see_off(99)
    for number in range(1, 10):
        doorway.leave(number)
    assert (doorway.open, doorway.waiting) == (0, 0)


def test_many_may_leave_at_once_where_nobody_comes() -> None:
    """A server that ends cuts nobody's goodbye short."""
    doorway = Doorway(Bounds(open=100, waiting=4, waiting_of_one=2))
    shown: list[int] = []
    for number in range(10):
        crowd(doorway, shown, (number, "a"))
        doorway.settle(number)
    for number in range(10):
        doorway.see_off(number)
    assert shown == []


def test_one_port_of_theirs_may_be_connected_to_two_addresses_of_ours() -> None:
    """They are two guests, and each leaves by itself."""
    theirs = ("10.0.0.1", 4000)
    guests = {guest_of(theirs, (ours, 8377)) for ours in ("10.0.0.2", "10.0.0.3")}
    assert len(guests) == 2
    assert guest_of(("::1", 1, 0, 0), ("::1", 2, 0, 0)) == guest_of(("::1", 1), ("::1", 2))


def test_lines_that_strangers_cause_are_left_out_and_counted() -> None:
    """Twenty of a kind at once, then one in ten seconds; other kinds have their own."""
    now = 0.0
    sparing = Sparing(lambda: now)
    assert [sparing.admit("a") for _ in range(1000)] == [0] * 20 + [None] * 980
    assert sparing.admit("b") == 0
    now = 9.0
    assert sparing.admit("a") is None
    now = 10.0
    assert sparing.admit("a") == 981
