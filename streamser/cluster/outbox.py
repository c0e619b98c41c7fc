"""Keep what is to be told to the cluster until it has it; pure."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Iterable
from itertools import islice
from typing import TypeAlias

import msgspec

from streamser.cluster.records import StreamState, ToldEvent
from streamser.pipeline.session_config import SessionSnapshot

__all__ = ["Hold", "Outbox", "Post"]

Place: TypeAlias = tuple[str, int, bytes]

_PASSING = 2000
"""Partials and the like that may wait: a second of a busy server."""


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """Hold an event on its way, and what is to be kept with it once it is there.

    ``session`` is what it introduces, or ``ends``. ``stream`` names the stream that it ends an
    utterance of; ``speaker`` whose ``voice`` it is, in a meeting.
    """

    event: ToldEvent
    session: str | None = None
    ends: bool = False
    stream: str | None = None
    state: StreamState | None = None
    speaker: str | None = None
    voice: SessionSnapshot | None = None

    @property
    def place(self) -> Place:
        """Return what tells it apart: two servers may have given one cursor, to two events."""
        event = self.event
        kind_and_id = b",".join(event.line.split(b",", 2)[:2])
        return event.meeting, event.cursor, kind_and_id


class Hold(asyncio.Event):
    """Hold an event back until it is written, or need not be; ``void`` if it is not to be told."""

    def __init__(self) -> None:
        super().__init__()
        self.void = False


class Outbox:
    """Hold posts in their order, until they are written.

    While Redis is away what stays is kept, up to ``most``: then the oldest is left out, and
    counted. What only matters now is left out as soon as it is late.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._posts: deque[Post] = deque()
        self._passing = 0
        self.left_out = 0

    def __len__(self) -> int:
        return len(self._posts)

    @property
    def newest(self) -> int:
        """Return the cursor of the newest; 0 where nothing waits."""
        return self._posts[-1].event.cursor if self._posts else 0

    def put(self, post: Post) -> None:
        """Add the newest."""
        self._posts.append(post)
        self._passing += not post.event.stays
        if self._passing > _PASSING:
            self.drop_passing()
        while len(self._posts) - self._passing > self._most:
            self._drop_oldest()

    def batch(self, most: int) -> list[Post]:
        """Return the oldest ones; they stay until ``written``."""
        return list(islice(self._posts, most))

    def written(self, posts: Iterable[Post]) -> None:
        """Let go of a ``batch``, as far as it is still there; nothing else goes with it."""
        for post in posts:
            # Meanwhile some may have been left out, or others put before them.
            if self._posts and self._posts[0] is post:
                self._posts.popleft()
                self._passing -= not post.event.stays

    def drop_passing(self) -> None:
        """Leave out what only matters at its time."""
        self._posts = deque(post for post in self._posts if post.event.stays)
        self._passing = 0

    def put_again(self, posts: Iterable[Post]) -> None:
        """Put posts before all others that were written once, and are lost there; in order."""
        waiting = self.places()
        again = [post for post in posts if post.place not in waiting]
        self._posts.extendleft(reversed(again))
        while len(self._posts) - self._passing > self._most:
            self._drop_oldest()

    def restate(self, posts: Iterable[Post]) -> None:
        """Let what waits of some posts be told as they are now."""
        now = {post.place: post.event for post in posts}
        self._posts = deque(
            msgspec.structs.replace(post, event=now.get(post.place, post.event))
            for post in self._posts
        )

    def leave_out(self, posts: Collection[Post]) -> None:
        """Leave out some that are never to be told."""
        out = {post.place for post in posts}
        self._posts = deque(post for post in self._posts if post.place not in out)
        self._passing = sum(not post.event.stays for post in self._posts)

    def places(self) -> set[Place]:
        """Return where what waits is to be."""
        return {post.place for post in self._posts}

    def _drop_oldest(self) -> None:
        oldest = self._posts.popleft()
        if oldest.event.stays:
            self.left_out += 1
        else:
            self._passing -= 1
