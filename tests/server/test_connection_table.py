"""The door: how many connections there may be, who is shown out, and what is written of it."""

from __future__ import annotations

from functools import partial

import pytest

from streamser.errors import ConfigError
from streamser.server.connections import ConnectionTable, Proxies, ends_of
from streamser.server.limits import ConnectionBounds
from streamser.server.telemetry import LogThrottle


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


@pytest.mark.parametrize(
    ("host", "forwarded", "client"),
    [
        ("192.0.2.1", ["203.0.113.9"], "192.0.2.1"),
        ("10.0.0.5", [], "10.0.0.5"),
        ("10.0.0.5", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.5", ["6.6.6.6, 10.0.0.5, 203.0.113.9 ,10.1.2.3"], "203.0.113.9"),
        ("10.0.0.5", ["6.6.6.6", "203.0.113.9:4711", "10.1.2.3"], "203.0.113.9"),
        ("10.0.0.5", ["10.1.2.3"], "10.1.2.3"),
        ("::ffff:10.0.0.5", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("fd00::7", ["2001:db8::1"], "2001:db8::1"),
        ("fd00::7%eth0", ["[2001:db8::1]:443"], "2001:db8::1"),
        ("10.0.0.5", ["203.0.113.9, unknown"], "10.0.0.5"),
        ("10.0.0.5", ["203.0.113.9, x, 10.1.2.3"], "10.1.2.3"),
        ("10.0.0.5", ["203.0.113.9,"], "10.0.0.5"),
        ("10.0.0.5", ["\udcff", ""], "10.0.0.5"),
        ("unix", ["203.0.113.9"], "unix"),
    ],
)
def test_the_last_address_that_is_no_proxys_is_the_clients(
    host: str, forwarded: list[str], client: str
) -> None:
    """What a client has written itself stands before it; what is no address ends the search."""
    proxies = Proxies("10.0.0.5, 10.1.0.0/16,fd00::/64,")
    assert proxies.client_of(host, forwarded) == client
    assert Proxies().client_of(host, forwarded) == host


@pytest.mark.parametrize("given", ["haproxy", "10.0.0.5/8", "10.0.0.5:80", "10.0.0.0/33", "*"])
def test_a_proxy_is_an_address_or_a_network(given: str) -> None:
    """Anything else is refused with the right form."""
    with pytest.raises(ConfigError, match=r"server\.proxies: .* write them like"):
        Proxies(f"10.0.0.1,{given}")


def test_clients_of_a_proxy_count_by_themselves() -> None:
    """Before they are known, as many may come at once as there is room for."""
    table = ConnectionTable(
        ConnectionBounds(open=300, waiting=8, waiting_of_one=2, brought=200), Proxies("10.0.0.5")
    )
    shown: list[int] = []
    crowd(table, shown, *((number, "10.0.0.5") for number in range(100)))
    for number in range(100):
        assert table.identify(number, "10.0.0.5", [f"192.0.2.{number}"]) == f"192.0.2.{number}"
        table.settle(number)
    assert (shown, table.open, table.waiting) == ([], 100, 0)
    assert table.identify(1, "192.0.2.9", ["203.0.113.9"]) is None


def test_one_client_of_a_proxy_is_held_to_what_one_may() -> None:
    """Who lingers is shown out as more of its own come; those of others stay."""
    table = ConnectionTable(
        ConnectionBounds(open=300, waiting=8, waiting_of_one=2, brought=3), Proxies("10.0.0.5")
    )
    shown: list[int] = []
    for number in range(10):
        crowd(table, shown, (number, "10.0.0.5"))
        table.identify(number, "10.0.0.5", ["192.0.2.1" if number else "192.0.2.2"])
    assert shown == list(range(1, 8))
    crowd(table, shown, *((number, "10.0.0.5") for number in range(10, 14)))
    assert shown == [*range(1, 8), 10]
    for number in range(14):
        table.leave(number)
    assert (table.open, table.waiting) == (0, 0)


def test_who_is_inside_is_known_by_its_client_when_it_leaves() -> None:
    """It was let in before it was named, and counts as its client's as it lingers."""
    bounds = ConnectionBounds(open=300, waiting=8, waiting_of_one=1, brought=1)
    table = ConnectionTable(bounds, Proxies("10.0.0.5"))
    shown: list[int] = []
    for number in (1, 2):
        crowd(table, shown, (number, "10.0.0.5"))
        table.settle(number)
        table.identify(number, "10.0.0.5", ["192.0.2.1"])
        table.start_closing(number)
    crowd(table, shown, (3, "192.0.2.1"))
    assert shown == [1]


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
