"""``streamser cluster``."""

from __future__ import annotations

import pytest

from streamser.cli.cluster import named
from streamser.cluster.records import NodeState
from streamser.errors import ConfigError

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
