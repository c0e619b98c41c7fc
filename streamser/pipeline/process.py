"""An engine in a process of its own.

Models then do not hold the interpreter's lock of the process that talks to clients, and several
recognisers that use one core each use several. ``RemoteEngine`` is the parent's side,
``serve_engine`` the child's; what crosses between them stands first.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import msgspec

from streamser.emotion.model import SpeakerModel
from streamser.errors import ModelError, StreamserError
from streamser.machine import use_one_blas_thread
from streamser.pipeline.build import Part, build_engine
from streamser.pipeline.engine import Abilities, Engine, Spent
from streamser.pipeline.requests import Outcome, Request, fault_of
from streamser.settings import Settings

logger = logging.getLogger(__name__)

_ORPHANED = 3


class Said(msgspec.Struct, frozen=True):
    """Carry a line for people, while models are loaded."""

    line: str


class Refused(msgspec.Struct, frozen=True):
    """Say that there is no engine, and why."""

    error: StreamserError


class Ready(msgspec.Struct, frozen=True):
    """Say what was loaded, with a speaker model that knows nobody yet, pickled, if any."""

    abilities: Abilities
    speaker: bytes | None


class Run(msgspec.Struct, frozen=True, eq=False):
    """Ask for the outcomes of a batch; the answer is an ``Answer``."""

    requests: list[Request]


class Forget(msgspec.Struct, frozen=True):
    """Ask to drop what is kept for a session; nothing is answered."""

    session_id: str


class Answer(msgspec.Struct, frozen=True, eq=False):
    """Hold the outcomes of a batch, in order, and what has been spent since the start."""

    outcomes: list[Outcome]
    spent: Spent


Message: TypeAlias = Said | Refused | Ready | Answer


def serve_engine(link: Connection[Any, Any], settings: Settings, part: Part) -> None:
    """Load the models of a part, say so, and answer what is asked until the other end is closed.

    For the main thread of a child process. Signals that end a program well are left to the
    parent: it still has finals to tell.
    """
    _leave_signals_to_parent()
    threading.Thread(target=_end_with_parent, name="parent's end", daemon=True).start()
    try:
        engine = build_engine(settings, lambda line: link.send(Said(line)), part)
        ready = Ready(engine.abilities, _packed(engine))
    except StreamserError as error:
        link.send(Refused(error))
        return
    except BaseException as error:
        # Of a library or a plug-in: whoever waits is to know of it, and not of an exit code.
        why = f"the models cannot be loaded: {type(error).__name__}: {error}"
        link.send(Refused(ModelError(why)))
        return
    link.send(ready)
    while True:
        try:
            asked = link.recv()
        except EOFError:
            return
        match asked:
            case Run(requests):
                _answer(link, engine.run(requests), engine.spent)
            case Forget(session_id):
                _forget(engine, session_id)


def _answer(link: Connection[Any, Any], outcomes: list[Outcome], spent: Spent) -> None:
    try:
        link.send(Answer(outcomes, spent))
    except OSError:
        raise
    except Exception:
        # Nothing of it has been sent. What a plug-in finds may be bound to this process.
        link.send(Answer([_sendable(outcome) for outcome in outcomes], spent))


def _sendable(outcome: Outcome) -> Outcome:
    try:
        pickle.dumps(outcome)
    except Exception as error:
        why = f"what the model finds cannot go to another process ({error}): worker.processes=0"
        return fault_of(ModelError(why))
    return outcome


def _forget(engine: Engine, session_id: str) -> None:
    try:
        engine.forget(session_id)
    except Exception:
        # Worth less than the models, which all other sessions need.
        logger.exception("what was kept of a session could not be dropped")


def _packed(engine: Engine) -> bytes | None:
    if engine.model is None:
        return None
    try:
        return pickle.dumps(engine.new_speaker())
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ModelError(
            f"the emotion model {engine.model.name} cannot run in a process of its own ({error}):"
            " set worker.processes=0"
        ) from error


def _leave_signals_to_parent() -> None:
    ours = (signal.SIGINT, signal.SIGTERM)
    for each in ours:
        signal.signal(each, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ours)


def _end_with_parent() -> None:
    """End the process where the parent is killed while the models are busy, or hang."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(_ORPHANED)


_LEAVE_S = 2.0
_LOOK_S = 0.25
"""How often who waits for models looks whether anybody still wants them."""

_UNBEGUN = (
    ", before they were loaded: what it has written says why, and so may worker.processes=0,"
    " which loads them here. A program that uses processes must be one that can be imported"
    " without running anything"
)


class RemoteEngine:
    """Run requests through a part of the models that the settings ask for, in a child process.

    Used by one thread, but for ``abandon``. Building it waits for the models; raises what
    loading them raised, and ``ModelError`` after ``worker.load_s``. Where the process ends,
    whatever is asked raises ``ModelError`` with code ``worker_died``. ``tell`` gets the lines
    for people of the loading. The process is killed, and ``ModelError`` raised, where models
    have become ``unwanted`` before they are there.

    A program that uses it must be one that can be imported without running anything, as
    ``multiprocessing`` demands of those who spawn.
    """

    def __init__(
        self,
        settings: Settings,
        tell: Callable[[str], None],
        part: Part,
        unwanted: Callable[[], bool] = lambda: False,
    ) -> None:
        use_one_blas_thread()
        context = multiprocessing.get_context("spawn")
        self._link, theirs = context.Pipe()
        self._process = context.Process(
            target=serve_engine,
            args=(theirs, settings, part),
            name=f"streamser-{part}",
            daemon=True,
        )
        try:
            with _signals_held():
                self._process.start()
            theirs.close()
            ready = self._await_models(tell, settings.worker.load_s, unwanted)
        except BaseException:
            # Whoever loads does not look up, and leaves signals to us.
            if self._process.pid is not None:
                self.abandon()
            self.close()
            raise
        self.abilities = ready.abilities
        self._speaker = ready.speaker
        self.spent = Spent()

    @property
    def pid(self) -> int | None:
        """Return the number of the process."""
        return self._process.pid

    def new_speaker(self) -> SpeakerModel:
        """Return a speaker of the emotion model, for a new session; any thread may ask."""
        if self._speaker is None:
            raise ModelError("there is no emotion model here")
        speaker: SpeakerModel = pickle.loads(self._speaker)
        return speaker

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer a batch of requests, each with a result or a fault, in order."""
        try:
            self._link.send(Run(list(requests)))
            answer = self._link.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        except Exception as error:
            # It has come whole, and cannot be read: what a plug-in finds may be like that.
            if len(requests) > 1:
                return [outcome for request in requests for outcome in self.run([request])]
            why = f"what the model finds cannot be read here ({type(error).__name__}: {error})"
            return [fault_of(ModelError(f"{why}: set worker.processes=0"))]
        assert isinstance(answer, Answer)
        self.spent = answer.spent
        return answer.outcomes

    def forget(self, session_id: str) -> None:
        """Drop what the models keep for a session that has ended."""
        try:
            self._link.send(Forget(session_id))
        except OSError:
            raise self._gone() from None

    def close(self) -> None:
        """Let the process end, and wait until it has."""
        self._link.close()
        if self._process.pid is None:
            return
        self._process.join(_LEAVE_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()

    def abandon(self) -> None:
        """End the process whatever it does; any thread may. Who waits for it is told."""
        with suppress(OSError, ValueError):
            self._process.kill()

    def _await_models(
        self, tell: Callable[[str], None], within_s: float, unwanted: Callable[[], bool]
    ) -> Ready:
        until = time.monotonic() + within_s if within_s else math.inf
        while True:
            left_s = max(0.0, until - time.monotonic())
            try:
                if not self._link.poll(min(left_s, _LOOK_S)):
                    if unwanted():
                        raise ModelError("the models are not wanted any more")
                    if left_s > _LOOK_S:
                        continue
                    why = f"the models did not load within {within_s:g} s (worker.load_s)"
                    raise ModelError(why)
                told: Any = self._link.recv()
            except (EOFError, OSError):
                raise self._gone(_UNBEGUN) from None
            match told:
                case Said(line):
                    tell(line)
                case Refused(error):
                    raise error
                case Ready():
                    return told

    def _gone(self, hint: str = "") -> ModelError:
        self._process.join(_LEAVE_S)
        code = self._process.exitcode
        how = "" if code is None else f", exit code {code}" if code >= 0 else f", signal {-code}"
        return ModelError(f"the process of the models ended{how}{hint}", code="worker_died")


@contextmanager
def _signals_held() -> Iterator[None]:
    """Let a child begin with signals held back, until it has said what it does about them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
