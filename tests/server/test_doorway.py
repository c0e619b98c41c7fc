"""The door: how many connections there may be, who is shown out, and what is written of it."""

from __future__ import annotations

from functools import partial

from streamser.server.doorway import Bounds, Doorway, Sparing


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
