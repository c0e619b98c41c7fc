"""Servers, Redis and HAProxy of which parts die: `make test-cluster`."""

from __future__ import annotations

import asyncio

import pytest

from tools.cluster.measures import a_server_joins
from tools.cluster.scenes import SCENES

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


@pytest.mark.parametrize("name", SCENES)
def test_everybody_is_told_everything_once_and_in_order(name: str) -> None:
    """Whatever has happened."""
    assert asyncio.run(SCENES[name]()).wrong == ()


def test_a_server_more_moves_its_share_of_meetings_and_no_more() -> None:
    """Hashing is consistent."""
    assert asyncio.run(a_server_joins()).wrong == ()
