"""An engine in a process of its own: the parent's side.

Models then do not hold the interpreter's lock of the process that talks to clients, and several
recognisers that use one core each use several.
"""

from __future__ import annotations

import math
import multiprocessing
import pickle
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from streamser.emotion.model import Listener
from streamser.errors import ModelError
from streamser.machine import use_one_blas_thread
from streamser.runtime.assembly import Part
from streamser.runtime.child import Answer, Forget, Ready, Refused, Run, Said, serve_engine
from streamser.runtime.engine import Spent
from streamser.runtime.faults import fault_of
from streamser.runtime.jobs import Job, Outcome
from streamser.settings import Settings

__all__ = ["RemoteEngine"]

_LEAVE_S = 2.0
_LOOK_S = 0.25
"""How often who waits for models looks whether anybody still wants them."""

_UNBEGUN = (
    ", before they were loaded: what it has written says why, and so may worker.processes=0,"
    " which loads them here. A program that uses processes must be one that can be imported"
    " without running anything"
)


class RemoteEngine:
    """Run jobs through a part of the models that the settings ask for, in a child process.

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
        self._listener = ready.listener
        self.spent = Spent()

    @property
    def pid(self) -> int | None:
        """Return the number of the process."""
        return self._process.pid

    def listener(self) -> Listener:
        """Return a listener of the emotion model, for a new session; any thread may ask."""
        if self._listener is None:
            raise ModelError("there is no emotion model here")
        listener: Listener = pickle.loads(self._listener)
        return listener

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer a batch of jobs, each with a result or a fault, in order."""
        try:
            self._link.send(Run(list(jobs)))
            answer = self._link.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        except Exception as error:
            # It has come whole, and cannot be read: what a plug-in finds may be like that.
            if len(jobs) > 1:
                return [outcome for job in jobs for outcome in self.run([job])]
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
