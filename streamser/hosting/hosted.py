"""Sessions on an event loop, next to their models: inputs in, what becomes of them out.

``HostedSession`` drives one; ``LocalHost`` has them in this process, as worker processes do
behind a pipe.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TypeVar, cast

import numpy as np

from streamser.audio.clip import to_samples
from streamser.errors import ModelError, describe
from streamser.events import ErrorBody, Event, SessionEvent, SpeechStopped
from streamser.hosting.records import (
    Advise,
    Clear,
    Commit,
    EndReplay,
    Expect,
    Flush,
    Hosted,
    Lapse,
    Listener,
    Mark,
    Notify,
    Push,
    Reconfigure,
    SessionInput,
    Told,
    TrustSound,
    WelcomeBack,
    WorkerLoad,
)
from streamser.pipeline.analyzer import Analyzer
from streamser.pipeline.build import WorkerPair
from streamser.pipeline.emitter import RefusedError
from streamser.pipeline.requests import Outcome, Request
from streamser.pipeline.restart import RestartPoint, ResumableSession, Resumption
from streamser.pipeline.scheduler import QueueLoad
from streamser.pipeline.session import Output, Session
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot
from streamser.pipeline.speaker_state import (
    AssignSpeaker,
    ForgetVoices,
    MergeSpeakers,
    RenameSpeaker,
)
from streamser.pipeline.stream import SessionRunner
from streamser.pipeline.worker import WorkerStats
from streamser.speech.vad import Vad

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_QUIET_S = 0.25
"""How often it is looked what is to be told, where no sound comes: by no more than so much at
once, so that a loop that was held up does not take what waits in its sockets for a pause."""


class HostedSession:
    """Drive one session on the event loop's thread.

    ``changed`` is called whenever there is something to ``take``; what is done meanwhile for the
    session is done ``at`` it.
    """

    def __init__(
        self,
        config: SessionConfig,
        session: Session,
        workers: WorkerPair,
        changed: Callable[[HostedSession], None],
        epoch: int = 0,
        at: Callable[[str], AbstractContextManager[None]] = nullcontext,  # type: ignore[assignment]
    ) -> None:
        self.session_id = config.session_id
        self._epoch = epoch
        self._at = at
        self._config = config
        self._session = session
        self._resumable = session if isinstance(session, ResumableSession) else None
        """The session, where another could go on from it, or it can go on from another."""
        self._workers = workers
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._runner = SessionRunner(session, workers, self._post, _clock(config))
        self._events: list[SessionEvent] = []
        self._refusals: list[tuple[int, ErrorBody]] = []
        self._lapses: list[tuple[int, Lapse]] = []
        self._fault: str | None = None
        self._applied = 0
        self._last_sound = time.monotonic()
        self._expects_more = False
        self._timer: asyncio.TimerHandle | None = None
        self._left = False

    def begin(self, voice: SessionSnapshot | None) -> None:
        """Open the session; ``voice`` is what was learnt of the speaker before."""
        self._workers.enter(self.session_id)
        if voice is not None:
            try:
                self._session.speakers.restore(voice)
            except ModelError as error:
                # Worth less than a session that begins: the voice is learnt anew.
                logger.warning("a voice is learnt anew: %s", error)
        self._do(self._session.begin)
        self._changed(self)

    def resume(self, past: Resumption) -> None:
        """Go on where another was."""
        self._workers.enter(self.session_id)
        session = self._resumable
        assert session is not None, "only such can take another's place"
        self._applied = past.point.boundary.inputs
        try:
            session.resume(past)
        except Exception as error:
            self._fail(error)
        self._changed(self)

    @property
    def pending(self) -> int:
        """Return how many requests that must be done are with the models."""
        return self._runner.pending

    def apply(self, item: SessionInput) -> None:
        """Give the session something."""
        if self._left or self._runner.closed:
            return
        if self._resumable is not None and not isinstance(item, Push):
            self._resumable.inputs += 1
        try:
            self._follow(item)
        except RefusedError as refused:
            self._refusals.append((self._applied, refused.body))
        except Exception as error:
            self._fail(error)
        self._applied += 1
        if self._resumable is not None:
            self._resumable.inputs = self._applied
        self._after()

    def snapshot(self) -> SessionSnapshot | None:
        """Return what has been learnt of the speaker; ``None`` where the model cannot say."""
        try:
            return self._session.speakers.snapshot()
        except Exception as error:
            # Of a model that may be anybody's: the session's end is to be told all the same.
            logger.error("what was learnt of a speaker is lost", exc_info=error)
            return None

    def take(self) -> Told:
        """Return what has become of the session since the last time."""
        told = Told(
            session_id=self.session_id,
            epoch=self._epoch,
            events=self._events,
            refusals=self._refusals,
            position=self._session.position,
            pending=self._runner.pending,
            lapses=self._lapses,
            point=self._point(),
            closed=self._runner.closed,
            fault=self._fault,
        )
        self._events, self._refusals, self._lapses, self._fault = [], [], [], None
        return told

    def leave(self) -> None:
        """Drop what waits with the models; nothing is told any more."""
        if not self._left:
            self._left = True
            self._workers.leave(self.session_id)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            # We would keep each other, and the sound, until somebody looks for such circles.
            self._changed = _to_nobody
            self._runner.detach()

    def _follow(self, item: SessionInput) -> None:
        session = self._session
        match item:
            case Push(samples, arrived, reached):
                self._last_sound = time.monotonic()
                heard = np.frombuffer(samples, np.float32)
                came = min(arrived, self._last_sound)
                self._add(self._runner.push_audio(heard, came, reached))
            case Commit(event_id, lenient):
                self._do(partial(session.commit, event_id, lenient=lenient))
            case Clear():
                self._do(session.clear)
            case Mark(marker):
                self._do(partial(session.mark, marker))
            case Notify(code, message):
                self._do(partial(session.report, code, message))
            case Advise(doubt):
                self._do(partial(session.advise, doubt))
            case TrustSound():
                session.trust_sound()
            case WelcomeBack(frames, lost, finals):
                fields = {"received_frames": frames, "lost_events": lost, "lost_finals": finals}
                self._do(partial(session.welcome_back, **fields))
            case Reconfigure(config, new_speaker):
                if new_speaker:
                    session.speakers.reset()
                self._config = config
                self._runner.set_clock(_clock(config))
                self._do(partial(session.configure, config))
            case RenameSpeaker() | MergeSpeakers() | AssignSpeaker() | ForgetVoices():
                self._do(partial(session.name_speakers, item))
            case Lapse(samples, all_heard):
                self._do(partial(session.lapse, samples, all_heard=all_heard))
            case Expect(more):
                self._expects_more = more
            case Flush():
                self._do(session.flush)
            case EndReplay():
                assert self._resumable is not None, "only such are given all again"
                self._do(self._resumable.end_replay)

    def _do(self, step: Callable[[], list[Output]]) -> None:
        self._add(self._runner.dispatch(step()))

    def _add(self, events: list[Event]) -> None:
        self._events += cast("list[SessionEvent]", events)

    def _after(self) -> None:
        if self._runner.waits_for_time and not self._runner.closed and self._timer is None:
            self._timer = self._loop.call_later(_QUIET_S, self._let_time_pass)
        self._changed(self)
        if self._runner.closed:
            self.leave()

    def _fail(self, error: Exception) -> None:
        self._fault = describe(error)
        logger.error("a session has failed: %s", self._fault)

    def _post(self, request: Request, outcome: Outcome) -> None:
        """Bring an outcome from a worker's thread to the loop's."""
        try:
            self._loop.call_soon_threadsafe(self._on_outcome, request, outcome)
        except RuntimeError:
            # The loop has ended: nobody waits for outcomes any more.
            return

    def _on_outcome(self, request: Request, outcome: Outcome) -> None:
        if self._left:
            return
        try:
            with self._at(self.session_id):
                self._add(self._runner.resolve(request, outcome))
        except Exception as error:
            self._fail(error)
        self._after()

    def _let_time_pass(self) -> None:
        self._timer = None
        if self._left:
            return
        quiet = time.monotonic() - self._last_sound >= _QUIET_S
        passed = to_samples(1000 * _QUIET_S) if quiet else 0
        try:
            with self._at(self.session_id):
                found = self._runner.lapse(passed, all_heard=not self._expects_more)
        except Exception as error:
            found = []
            self._fail(error)
        if any(isinstance(event, SpeechStopped) for event in found):
            # All the time that has passed counts at once where it is given again.
            self._lapses.append((self._applied, Lapse(self._config.no_sound, True)))
        self._add(found)
        self._after()

    def _point(self) -> RestartPoint | None:
        if self._resumable is None:
            return None
        try:
            return self._resumable.restart_point()
        except Exception as error:
            logger.error("no point to go on from", exc_info=error)
            return None


def _clock(config: SessionConfig) -> Callable[[], float] | None:
    return None if config.ordered else time.monotonic


def _to_nobody(session: HostedSession) -> None:
    return


class LocalSession:
    """Hold a session of this process; what becomes of it is told before ``apply`` returns."""

    def __init__(
        self,
        config: SessionConfig,
        session: Session,
        workers: WorkerPair,
        voice: SessionSnapshot | None,
        listener: Listener,
    ) -> None:
        self._listener = listener
        self._hosted = HostedSession(config, session, workers, self._tell)
        self._hosted.begin(voice)

    @property
    def in_flight(self) -> int:
        """Return 0: all that is given is heard at once."""
        return 0

    def apply(self, item: SessionInput) -> None:
        """Give the session something."""
        self._hosted.apply(item)

    def snapshot(self) -> SessionSnapshot | None:
        """Return what is known of the speaker."""
        return self._hosted.snapshot()

    def leave(self) -> None:
        """Let the session go."""
        self._hosted.leave()

    def _tell(self, hosted: HostedSession) -> None:
        self._listener(hosted.take())


class LocalHost:
    """Host sessions with the models of an analyzer, on the event loop's thread."""

    def __init__(self, analyzer: Analyzer) -> None:
        self._analyzer = analyzer
        self._make_vad: Callable[[], Vad] | None = None
        self._workers: WorkerPair | None = None

    @property
    def stats(self) -> WorkerStats:
        """Return what workers have done so far."""
        return WorkerStats() if self._workers is None else self._workers.stats

    @property
    def is_ready(self) -> bool:
        """Return whether words and emotion can be asked for, and answered at once."""
        return self._workers is not None and self._workers.is_ready

    def load(self) -> QueueLoad:
        """Return what waits now."""
        return QueueLoad() if self._workers is None else self._workers.load()

    def workers(self) -> list[WorkerLoad]:
        """Return nothing: there are no other processes."""
        return []

    @property
    def kept_bytes(self) -> int:
        """Return 0: there is nowhere else to go on."""
        return 0

    async def start(self) -> Hosted:
        """Load the models; raises ``ModelError`` or ``ConfigError`` where they cannot be had."""
        make_vad, workers = await run_beside(self._analyzer.equipment, "streamser-loading")
        self._make_vad, self._workers = make_vad, workers
        return Hosted(make_vad().name, await run_beside(workers.wait, "streamser-loading"))

    def open(
        self, config: SessionConfig, voice: SessionSnapshot | None, listener: Listener
    ) -> LocalSession:
        """Begin a session."""
        make_vad, workers = self._make_vad, self._workers
        assert make_vad is not None, "models are loaded first"
        assert workers is not None, "models are loaded first"
        session = Session(config, make_vad(), workers.new_speaker)
        return LocalSession(config, session, workers, voice, listener)

    async def close(self, within_s: float) -> None:
        """Answer what waits, as far as that can be done in time, and let the models go."""
        await run_beside(partial(self._analyzer.close, within_s), "streamser-closing")


async def run_beside(work: Callable[[], _T], name: str) -> _T:
    """Do ``work`` on a daemon thread called ``name``; returns or raises what it does.

    Unlike those of ``asyncio.to_thread`` it keeps neither the loop nor the interpreter from
    ending. Where nobody waits any more, it is left to itself.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: _T | None = None
        failed: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failed = error
        # The loop may have ended meanwhile.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await done
