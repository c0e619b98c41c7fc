"""An engine in a process of its own: the child's side, and what crosses to it and back."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import msgspec

from streamser.errors import ModelError, StreamserError
from streamser.runtime.assembly import Part, build_engine
from streamser.runtime.engine import Abilities, Engine, Spent
from streamser.runtime.faults import fault_of
from streamser.runtime.jobs import Job, Outcome
from streamser.settings import Settings

__all__ = ["Answer", "Forget", "Message", "Ready", "Refused", "Run", "Said", "serve_engine"]

logger = logging.getLogger(__name__)

_ORPHANED = 3


class Said(msgspec.Struct, frozen=True):
    """Carry a line for people, while models are loaded."""

    line: str


class Refused(msgspec.Struct, frozen=True):
    """Say that there is no engine, and why."""

    error: StreamserError


class Ready(msgspec.Struct, frozen=True):
    """Say what was loaded, with a listener that knows nobody yet, pickled, if any is there."""

    abilities: Abilities
    listener: bytes | None


class Run(msgspec.Struct, frozen=True, eq=False):
    """Ask for the outcomes of a batch; the answer is an ``Answer``."""

    jobs: list[Job]


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
            case Run(jobs):
                _answer(link, engine.run(jobs), engine.spent)
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
        return pickle.dumps(engine.listener())
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
