"""What a member of a cluster asks of its own server, and tells it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from streamser.cluster.outbox import Post
from streamser.cluster.records import MeetingPast, NodeState, ToldEvent

__all__ = ["LocalNode"]


class LocalNode(Protocol):
    """What a member asks of its server, and tells it."""

    def state(self) -> NodeState:
        """Return how the server does."""
        ...

    def kept(self, meeting: str, after: int) -> Sequence[Post]:
        """Return what the server keeps of a meeting of its own, past a cursor, in order."""
        ...

    def known_up_to(self, meeting: str) -> int:
        """Return the last cursor of a meeting that the server knows; 0 where it knows none."""
        ...

    def closings(self, meeting: str) -> Sequence[Post]:
        """Return what ends the sessions of a meeting whose server is gone."""
        ...

    def on_past(self, meeting: str, past: MeetingPast) -> None:
        """Take in what was told of a meeting elsewhere."""
        ...

    def on_home(self, meeting: str, past: MeetingPast) -> None:
        """Take in what was told of a meeting that is here now; its sessions elsewhere are over."""
        ...

    def on_told(self, told: ToldEvent) -> None:
        """Take in what is told of a meeting elsewhere."""
        ...

    def on_lost(self, meeting: str, past: MeetingPast, untold: Collection[int]) -> None:
        """Let go of a meeting that another server has now, or that counts as ended.

        ``past`` is what was told there meanwhile; ``untold`` are the cursors of what was held
        here, and is told to nobody.
        """
        ...

    def on_drain(self, within_s: float) -> None:
        """End all streams within some seconds, and the server."""
        ...
