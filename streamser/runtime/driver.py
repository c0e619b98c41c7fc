"""Drive one stream from its source to its last event, on the thread that asks for events."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TypeAlias

import msgspec

from streamser.audio.clip import Samples, to_samples
from streamser.audio.source import AudioSource
from streamser.errors import StreamserError
from streamser.events import Event
from streamser.runtime.conductor import Conductor
from streamser.runtime.feed import KEPT, Ended, Feed, FeedItem, Heard, Missed
from streamser.runtime.jobs import Job, Outcome
from streamser.runtime.pools import WorkerPools
from streamser.runtime.session import Session

__all__ = ["Tap", "Terms", "Venue", "drive"]

Tap: TypeAlias = Callable[[Samples], None]

_WAKE_S = 0.25
"""Waiting in short spells lets signal handlers run on systems where a wait shuts them out."""


class Venue(msgspec.Struct, frozen=True, eq=False):
    """Hold what a stream needs besides its source, once the models are there.

    A source that can wait waits while ``ahead`` jobs are with the workers.
    """

    session_id: str
    session: Session
    workers: WorkerPools
    ahead: int


_Letter: TypeAlias = FeedItem | tuple[Job, Outcome] | Future[Venue]
"""What comes to the thread that drives a stream: sound, answers, and once, early, the venue."""


class Terms(msgspec.Struct, frozen=True, eq=False):
    """Say how a stream is driven.

    ``live`` events tell their lag. ``tell`` gets single lines meant for people, ``on_audio``
    all sound before it is analysed. The stream ends, without another event, once it is
    ``unwanted``.
    """

    live: bool
    channel: int | None
    tell: Callable[[str], None]
    on_audio: Tap | None
    unwanted: Callable[[], bool]


def drive(source: AudioSource, prepare: Callable[[], Venue], terms: Terms) -> Iterator[Event]:
    """Yield a stream's events until it has ended; stops the source if the iterator is dropped.

    ``prepare`` waits for the models. Meanwhile a live source is read, on its own thread, and
    what it gives is kept, two minutes at most: beyond, it is lost where it would be lost to
    anybody who is late. Raises what ``prepare`` raises, and before that the error of a live
    source that has given nothing.
    """
    mailbox: queue.SimpleQueue[_Letter] = queue.SimpleQueue()
    waiting: deque[FeedItem] = deque()
    with ExitStack() as stack:
        stack.callback(source.stop)
        feed = Feed(source, terms.channel, mailbox.put, time.monotonic)
        stack.callback(feed.abandon)
        if source.live:
            feed.start(KEPT)
            venue = _await_models(prepare, mailbox, waiting, terms)
            feed.narrow()
        else:
            venue = prepare()
            feed.start()
        if venue is None:
            return
        conductor = Conductor(
            venue.session,
            venue.workers,
            lambda job, outcome: mailbox.put((job, outcome)),
            time.monotonic if terms.live else None,
        )
        venue.workers.enter(venue.session_id)
        stack.callback(venue.workers.leave, venue.session_id)
        yield from conductor.begin()
        while not conductor.closed:
            free = source.live or conductor.pending < venue.ahead
            item: _Letter
            if waiting and free and mailbox.empty():
                item = waiting.popleft()
            else:
                try:
                    item = mailbox.get(timeout=_WAKE_S)
                except queue.Empty:
                    if conductor.waits_for_time:
                        all_heard = source.live and not waiting
                        passed = to_samples(1000 * _WAKE_S)
                        yield from conductor.lapse(passed, all_heard=all_heard)
                    continue
                if isinstance(item, FeedItem):
                    _receive(item, waiting, terms)
                    continue
            match item:
                case Heard():
                    feed.heard(len(item.samples))
                    yield from conductor.hear(item.samples, item.arrived, item.reached)
                case Missed():
                    yield from conductor.miss(item.samples, item.reason, item.at)
                case Ended():
                    yield from _end(item, source, terms, conductor)
                case (job, outcome):
                    yield from conductor.take(job, outcome)


def _await_models(
    prepare: Callable[[], Venue],
    mailbox: queue.SimpleQueue[_Letter],
    waiting: deque[FeedItem],
    terms: Terms,
) -> Venue | None:
    """Prepare on another thread, and receive what comes meanwhile; ``None`` once unwanted."""
    venue: Future[Venue] = Future()

    def load() -> None:
        try:
            venue.set_result(prepare())
        except BaseException as error:
            venue.set_exception(error)
        mailbox.put(venue)

    threading.Thread(target=load, name="streamser-loading", daemon=True).start()
    while not terms.unwanted():
        try:
            letter = mailbox.get(timeout=_WAKE_S)
        except queue.Empty:
            continue
        if letter is venue:
            return venue.result()
        if isinstance(letter, Ended) and isinstance(letter.error, StreamserError) and not waiting:
            raise letter.error
        if isinstance(letter, FeedItem):
            _receive(letter, waiting, terms)
    return None


def _receive(item: FeedItem, waiting: deque[FeedItem], terms: Terms) -> None:
    """Let sound be tapped as it comes, and wait for its turn."""
    if isinstance(item, Heard) and terms.on_audio is not None:
        terms.on_audio(item.samples)
    waiting.append(item)


def _end(ended: Ended, source: AudioSource, terms: Terms, conductor: Conductor) -> Iterator[Event]:
    if ended.repaired:
        terms.tell(
            f"{source.name}: {ended.repaired} samples were not numbers and were taken as silence."
        )
    if ended.clipped_share > 0.01:
        terms.tell(
            f"{source.name}: {ended.clipped_share:.0%} of the samples are at full scale; "
            "the sound is clipped, lower the recording level."
        )
    error = ended.error
    if isinstance(error, StreamserError):
        yield from conductor.report(error.code, str(error))
    elif error is not None:
        yield from conductor.report("internal_error", f"{type(error).__name__}: {error}")
    yield from conductor.end()
