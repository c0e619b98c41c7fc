"""Drive one stream from its source to its last event, on the thread that asks for events."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import msgspec

from streamser.audio.clip import Samples, to_samples
from streamser.audio.source import AudioSource
from streamser.errors import StreamserError
from streamser.events import Event
from streamser.runtime.conductor import Conductor
from streamser.runtime.feed import Ended, Feed, FeedItem, Heard, Missed
from streamser.runtime.jobs import Job, Outcome
from streamser.runtime.pools import WorkerPools
from streamser.runtime.session import Session

__all__ = ["Tap", "Venue", "drive"]

Tap: TypeAlias = Callable[[Samples], None]

_WAKE_S = 0.25
"""Waiting in short spells lets signal handlers run on systems where a wait shuts them out."""


class Venue(msgspec.Struct, frozen=True, eq=False):
    """Hold what a stream needs besides its source.

    ``live`` events tell their lag. A source that can wait waits while ``ahead`` jobs are with
    the workers. ``tell`` gets single lines meant for people, ``on_audio`` all sound
    before it is analysed.
    """

    session_id: str
    session: Session
    workers: WorkerPools
    live: bool
    ahead: int
    channel: int | None
    tell: Callable[[str], None]
    on_audio: Tap | None


def drive(source: AudioSource, venue: Venue) -> Iterator[Event]:
    """Yield a stream's events until it has ended; stops the source if the iterator is dropped."""
    mailbox: queue.SimpleQueue[FeedItem | tuple[Job, Outcome]] = queue.SimpleQueue()
    clock = time.monotonic if venue.live else None
    conductor = Conductor(
        venue.session, venue.workers, lambda job, outcome: mailbox.put((job, outcome)), clock
    )
    waiting: deque[FeedItem] = deque()
    with ExitStack() as stack:
        stack.callback(source.stop)
        feed = Feed(source, venue.channel, mailbox.put, time.monotonic)
        venue.workers.enter(venue.session_id)
        stack.callback(venue.workers.leave, venue.session_id)
        stack.callback(feed.abandon)
        yield from conductor.begin()
        feed.start()
        while not conductor.closed:
            free = source.live or conductor.pending < venue.ahead
            item: FeedItem | tuple[Job, Outcome]
            if waiting and free and mailbox.empty():
                item = waiting.popleft()
            else:
                try:
                    item = mailbox.get(timeout=_WAKE_S)
                except queue.Empty:
                    if conductor.waits_for_words:
                        yield from conductor.lapse(to_samples(1000 * _WAKE_S))
                    continue
                if not isinstance(item, tuple):
                    waiting.append(item)
                    continue
            match item:
                case Heard():
                    if venue.on_audio is not None:
                        venue.on_audio(item.samples)
                    feed.heard()
                    yield from conductor.hear(item.samples, item.arrived, item.reached)
                case Missed():
                    yield from conductor.miss(item.samples, item.reason, item.at)
                case Ended():
                    yield from _end(item, source, venue, conductor)
                case (job, outcome):
                    yield from conductor.take(job, outcome)


def _end(ended: Ended, source: AudioSource, venue: Venue, conductor: Conductor) -> Iterator[Event]:
    if ended.repaired:
        venue.tell(
            f"{source.name}: {ended.repaired} samples were not numbers and were taken as silence."
        )
    if ended.clipped_share > 0.01:
        venue.tell(
            f"{source.name}: {ended.clipped_share:.0%} of the samples are at full scale; "
            "the sound is clipped, lower the recording level."
        )
    error = ended.error
    if isinstance(error, StreamserError):
        yield from conductor.report(error.code, str(error))
    elif error is not None:
        yield from conductor.report("internal_error", f"{type(error).__name__}: {error}")
    yield from conductor.end()
