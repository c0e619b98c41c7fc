"""``streamser cluster``."""

from __future__ import annotations

import pytest

from streamser.cli.cluster import named
from streamser.cluster.records import NodeState
from streamser.errors import ConfigError
from tests.cli.running import refuses, run

LIVING = [NodeState(name=name, address="ws://x") for name in ("pod-0-1a2b3c", "vm-1", "vm-2")]


@pytest.mark.parametrize(("name", "meant"), [("pod-0", "pod-0-1a2b3c"), ("vm-2", "vm-2")])
def test_a_server_is_called_by_its_name_or_its_machines(name: str, meant: str) -> None:
    """As long as that is one."""
    assert named(name, LIVING).name == meant


@pytest.mark.parametrize(("name", "says"), [("vm", "vm-1, vm-2"), ("a", "no server a lives")])
def test_one_name_never_lets_several_leave(name: str, says: str) -> None:
    """Two servers of one machine have one name before the dash."""
    with pytest.raises(ConfigError, match=says):
        named(name, LIVING)


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        (
            "redis://127.0.0.1:1/0",
            1,
            "nobody answers at its address: see that it runs, and --redis.",
        ),
        ("redis://:secret@127.0.0.1:1", 1, "nobody answers at its address"),
        ("redis://127.0.0.1:1/first", 2, "write it like redis://HOST:6379/0"),
        ("http://127.0.0.1", 2, "write it like redis://HOST:6379/0"),
    ],
)
def test_a_redis_that_cannot_be_asked_is_told_in_a_line_that_says_what_to_do(
    url: str, code: int, says: str
) -> None:
    """By the name of the option; no password, and no words of a library, stand in it."""
    done = run("cluster", "nodes", "--redis", url)
    refuses(done, code, says)
    assert "secret" not in done.output
