"""One stream from its source to its last event, on the thread that asks for events.

``run_stream`` reads a source, pushes its sound into a session, and yields the events;
``SessionRunner`` is what it shares with a server's streams: it joins a session to the worker
pools and tells it, by ``ArrivalClock``, how late its events are.
"""

from __future__ import annotations

import queue
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TypeAlias

import msgspec

from streamser.audio.clip import SAMPLE_RATE, Samples, to_samples
from streamser.audio.reader import KEPT, AudioItem, AudioReader, Chunk, EndOfStream, LostAudio
from streamser.audio.source import AudioSource, Doubt
from streamser.errors import StreamserError
from streamser.events import Event
from streamser.pipeline.build import WorkerPair
from streamser.pipeline.requests import Cancel, EmotionRequest, Outcome, Request, WordsRequest
from streamser.pipeline.session import Output, Session

Tap: TypeAlias = Callable[[Samples], None]

_WAKE_S = 0.25
"""Waiting in short spells lets signal handlers run on systems where a wait shuts them out."""

_FINEST = SAMPLE_RATE // 200
"""Closer arrivals than 5 ms are kept as one: a stream of tiny frames would fill the memory."""
_COARSE = SAMPLE_RATE
"""Older than the fine memory, one arrival a second is enough."""
_TIDY_EVERY = 10 * SAMPLE_RATE
"""By sound and not by how much is kept: what is young enough to stay cannot be tidied away."""


class StreamContext(msgspec.Struct, frozen=True, eq=False):
    """Hold what a stream needs besides its source, once the models are there.

    A source that can wait waits while ``ahead`` requests are with the workers.
    """

    session_id: str
    session: Session
    workers: WorkerPair
    ahead: int


_Letter: TypeAlias = AudioItem | tuple[Request, Outcome] | Future[StreamContext]
"""What comes to the thread that drives a stream: sound, answers, and once, early, the context."""


class StreamOptions(msgspec.Struct, frozen=True, eq=False):
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


def run_stream(
    source: AudioSource, prepare: Callable[[], StreamContext], options: StreamOptions
) -> Iterator[Event]:
    """Yield a stream's events until it has ended; stops the source if the iterator is dropped.

    ``prepare`` waits for the models. Meanwhile a live source is read, on its own thread, and
    what it gives is kept, two minutes at most: beyond, it is lost where it would be lost to
    anybody who is late. Raises what ``prepare`` raises, and before that the error of a live
    source that has given nothing.
    """
    mailbox: queue.SimpleQueue[_Letter] = queue.SimpleQueue()
    waiting: deque[AudioItem] = deque()
    with ExitStack() as stack:
        stack.callback(source.stop)
        reader = AudioReader(source, options.channel, mailbox.put, time.monotonic)
        stack.callback(reader.abandon)
        if source.live:
            reader.start(KEPT)
            context = _await_context(prepare, mailbox, waiting, options)
            reader.keep_less()
        else:
            context = prepare()
            reader.start()
        if context is None:
            return
        runner = SessionRunner(
            context.session,
            context.workers,
            lambda request, outcome: mailbox.put((request, outcome)),
            time.monotonic if options.live else None,
        )
        context.workers.enter(context.session_id)
        stack.callback(context.workers.leave, context.session_id)
        yield from runner.begin()
        while not runner.closed:
            free = source.live or runner.pending < context.ahead
            item: _Letter
            if waiting and free and mailbox.empty():
                item = waiting.popleft()
            else:
                try:
                    item = mailbox.get(timeout=_WAKE_S)
                except queue.Empty:
                    if runner.waits_for_time:
                        all_heard = source.live and not waiting
                        passed = to_samples(1000 * _WAKE_S)
                        yield from runner.lapse(passed, all_heard=all_heard)
                    continue
                if isinstance(item, AudioItem):
                    _receive(item, waiting, options)
                    continue
            match item:
                case Chunk():
                    reader.consumed(len(item.samples))
                    yield from runner.push_audio(item.samples, item.arrived, item.reached)
                case LostAudio():
                    yield from runner.lose_audio(item.samples, item.reason, item.at)
                case EndOfStream():
                    yield from _end(item, source, options, runner)
                case (request, outcome):
                    yield from runner.resolve(request, outcome)


def _await_context(
    prepare: Callable[[], StreamContext],
    mailbox: queue.SimpleQueue[_Letter],
    waiting: deque[AudioItem],
    options: StreamOptions,
) -> StreamContext | None:
    """Prepare on another thread, and receive what comes meanwhile; ``None`` once unwanted."""
    context: Future[StreamContext] = Future()

    def load() -> None:
        try:
            context.set_result(prepare())
        except BaseException as error:
            context.set_exception(error)
        mailbox.put(context)

    threading.Thread(target=load, name="streamser-loading", daemon=True).start()
    while not options.unwanted():
        try:
            letter = mailbox.get(timeout=_WAKE_S)
        except queue.Empty:
            continue
        if letter is context:
            return context.result()
        if (
            isinstance(letter, EndOfStream)
            and isinstance(letter.error, StreamserError)
            and not waiting
        ):
            raise letter.error
        if isinstance(letter, AudioItem):
            _receive(letter, waiting, options)
    return None


def _receive(item: AudioItem, waiting: deque[AudioItem], options: StreamOptions) -> None:
    """Let sound be tapped as it comes, and wait for its turn."""
    if isinstance(item, Chunk) and options.on_audio is not None:
        options.on_audio(item.samples)
    waiting.append(item)


def _end(
    ended: EndOfStream, source: AudioSource, options: StreamOptions, runner: SessionRunner
) -> Iterator[Event]:
    if ended.repaired:
        options.tell(
            f"{source.name}: {ended.repaired} samples were not numbers and were taken as silence."
        )
    if ended.clipped_share > 0.01:
        options.tell(
            f"{source.name}: {ended.clipped_share:.0%} of the samples are at full scale; "
            "the sound is clipped, lower the recording level."
        )
    error = ended.error
    if isinstance(error, StreamserError):
        yield from runner.report(error.code, str(error))
    elif error is not None:
        yield from runner.report("internal_error", f"{type(error).__name__}: {error}")
    yield from runner.flush()


class SessionRunner:
    """Carry a session's requests to the worker pools and put the lag into its events.

    ``post`` is called on a worker's thread with each outcome, and has to bring it to whoever
    drives the runner, who hands it to ``resolve``. Without a ``clock`` (a file read as fast as
    possible) events tell no lag.
    """

    def __init__(
        self,
        session: Session,
        workers: WorkerPair,
        post: Callable[[Request, Outcome], None],
        clock: Callable[[], float] | None,
    ) -> None:
        self._session = session
        self._workers = workers
        self._post = post
        self._arrivals = ArrivalClock(clock)
        session.time_events(self._arrivals.event_lag_ms)
        self._pending: set[int] = set()

    def set_clock(self, clock: Callable[[], float] | None) -> None:
        """Tell the lag of events by another clock from here on, or not at all."""
        self._arrivals.now = clock

    @property
    def pending(self) -> int:
        """Return how many requests that must be done are with the workers."""
        return len(self._pending)

    @property
    def closed(self) -> bool:
        """Return whether the last event has been told."""
        return self._session.closed

    def begin(self) -> list[Event]:
        """Open the session."""
        return self.dispatch(self._session.begin())

    def push_audio(self, samples: Samples, arrived: float, reached: int) -> list[Event]:
        """Push sound; at the clock's ``arrived``, all up to the sample ``reached`` was here."""
        if self._arrivals.now is not None:
            self._arrivals.arrived(reached, arrived)
        return self.dispatch(self._session.push(samples))

    @property
    def waits_for_time(self) -> bool:
        """Return whether time must be told to ``lapse`` should no sound come."""
        return self._session.waits_for_time

    def lapse(self, samples: int, *, all_heard: bool = True) -> list[Event]:
        """Let time pass in which no sound comes, in samples; see ``Session.lapse``."""
        return self.dispatch(self._session.lapse(samples, all_heard=all_heard))

    def lose_audio(self, samples: int, reason: str, at: int) -> list[Event]:
        """Note sound that was lost at an absolute sample."""
        return self.dispatch(self._session.lose_audio(samples, reason, at))

    def report(self, code: str, message: str) -> list[Event]:
        """Tell of a fault of the source."""
        return self.dispatch(self._session.report(code, message))

    def advise(self, doubt: Doubt) -> list[Event]:
        """Tell that the sound is likely of the wrong kind."""
        return self.dispatch(self._session.advise(doubt))

    def resolve(self, request: Request, outcome: Outcome) -> list[Event]:
        """Hand an outcome to the session."""
        self._pending.discard(request.id)
        return self.dispatch(self._session.resolve(request.id, outcome))

    def flush(self) -> list[Event]:
        """Flush the session; outcomes still to come must be taken until it is closed."""
        return self.dispatch(self._session.flush())

    def detach(self) -> None:
        """Know nobody any more to bring outcomes to; for a session that is closed."""
        self._post = _to_nobody

    def dispatch(self, output: list[Output]) -> list[Event]:
        """Send the requests among a session's output on their way; return its events."""
        events: list[Event] = []
        for item in output:
            if isinstance(item, WordsRequest | EmotionRequest):
                if not item.droppable:
                    self._pending.add(item.id)
                self._workers.submit(item, self._post)
            elif isinstance(item, Cancel):
                self._pending.discard(item.request_id)
                self._workers.cancel(item.session_id, item.request_id)
            else:
                events.append(item)
        return events


def _to_nobody(request: Request, outcome: Outcome) -> None:
    return


class ArrivalClock:
    """Remember the wall time at which each stretch of sound arrived.

    To the piece, or 5 ms of them, for the last ``fine_s`` seconds of sound, to the second for
    ``coarse_s``, not beyond. Noting costs the same however long a stream is and its pieces are.
    ``now`` tells the time in s; where it is ``None``, nobody asks how late events are.
    """

    def __init__(
        self,
        now: Callable[[], float] | None = None,
        *,
        fine_s: float = 60.0,
        coarse_s: float = 3600.0,
    ) -> None:
        self.now = now
        self._fine = int(fine_s * SAMPLE_RATE)
        self._coarse = int(coarse_s * SAMPLE_RATE)
        self._ends: list[int] = []
        self._times: list[float] = []
        self._thinned = 0
        self._forgotten = 0
        self._tidied = 0

    def arrived(self, end: int, time: float) -> None:
        """Note that sound up to an absolute sample had arrived at a time in seconds."""
        ends, times = self._ends, self._times
        if ends and end <= ends[-1]:
            return
        if len(ends) > 1 and end - ends[-2] < _FINEST:
            ends[-1], times[-1] = end, time
        else:
            ends.append(end)
            times.append(time)
        if end - self._tidied >= _TIDY_EVERY:
            self._tidied = end
            self._tidy(end)

    def lag_ms(self, position: int, now: float) -> float | None:
        """Return ms from the arrival of a sample until now; ``None`` where it is not known."""
        if not self._ends or position < self._forgotten:
            return None
        index = min(bisect_left(self._ends, position), len(self._ends) - 1)
        return round((now - self._times[index]) * 1000, 1)

    def event_lag_ms(self, audio_ms: int) -> float | None:
        """Return how late an event about a place in the audio, in ms, is by now."""
        return None if self.now is None else self.lag_ms(to_samples(audio_ms), self.now())

    def _tidy(self, now: int) -> None:
        """Thin out what has left the fine memory since the last time, and drop the oldest."""
        begin, end = self._thinned, bisect_left(self._ends, now - self._fine)
        kept: list[int] = []
        last = self._ends[begin - 1] // _COARSE if begin else -1
        for index in range(begin, end):
            if self._ends[index] // _COARSE != last:
                kept.append(index)
                last = self._ends[index] // _COARSE
        self._times[begin:end] = [self._times[index] for index in kept]
        self._ends[begin:end] = [self._ends[index] for index in kept]
        gone = bisect_left(self._ends, now - self._coarse)
        if gone:
            self._forgotten = self._ends[gone - 1]
        del self._ends[:gone], self._times[:gone]
        self._thinned = max(0, begin + len(kept) - gone)
