"""A session core driven on one thread, so that the time it takes can be told from all else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from streamser.audio.clip import Samples
from streamser.audio.intake import Intake
from streamser.audio.source import Frames
from streamser.emotion.model import Finding, Reading, Spoken
from streamser.events import Event
from streamser.runtime.assembly import build_session
from streamser.runtime.engine import Engine
from streamser.runtime.jobs import Cancel, Job, Observed, Outcome
from streamser.runtime.session import Output, Session
from streamser.settings import Settings
from streamser.speech.vad import Vad
from streamser.taxonomy import CATEGORIES, Dimensions

__all__ = ["NullModel", "answer_nothing", "make_session", "run_core"]


class NullModel:
    """Find nothing, at no cost."""

    name = "null"
    modalities: tuple[str, ...] = ("audio",)

    def observe(self, batch: Sequence[Spoken]) -> list[Finding]:
        """Return nothing for each item."""
        return [None] * len(batch)

    def forget(self, session_id: str) -> None:
        """Forget nothing: there is no state."""

    def listener(self) -> _NullListener:
        """Return a listener that always says the same."""
        return _NullListener()


class _NullListener:
    def __init__(self) -> None:
        self._reading = Reading(
            category=CATEGORIES[0],
            confidence=1 / len(CATEGORIES),
            scores=dict.fromkeys(CATEGORIES, 1 / len(CATEGORIES)),
            dimensions=Dimensions(),
            uncertainty=1.0,
            modalities=(),
        )

    def interpret(self, finding: Finding) -> Reading:
        return self._reading

    def learn(self, finding: Finding) -> None:
        """Learn nothing."""

    def snapshot(self) -> bytes:
        return b""

    def restore(self, state: bytes) -> None:
        """Take nothing."""

    def reset(self) -> None:
        """Forget nothing."""


def answer_nothing(job: Job) -> Outcome:
    """Answer a job at once, with nothing."""
    return Observed(finding=None)


def make_session(settings: Settings, vad: Vad, engine: Engine) -> Session:
    """Make a live session core, as the analyzer would."""
    return build_session(
        settings,
        "bench",
        vad,
        engine.abilities,
        engine.listener,
        ordered=False,
        patient=False,
        source=None,
        speaker=None,
    )


def run_core(
    session: Session,
    intake: Intake,
    blocks: Iterable[Frames],
    answer: Callable[[Job], Outcome],
) -> list[Event]:
    """Bring blocks of sound through conversion and session core; return all events.

    Jobs are answered on the spot, in the order in which they are asked.
    """
    events: list[Event] = []

    def carry(output: list[Output]) -> None:
        tasks: deque[Job] = deque()
        while True:
            for item in output:
                if isinstance(item, Event):
                    events.append(item)
                elif isinstance(item, Cancel):
                    # Whatever still waits here was asked for in the same breath.
                    tasks = deque(job for job in tasks if job.id != item.job_id)
                else:
                    tasks.append(item)
            if not tasks:
                return
            job = tasks.popleft()
            output = session.resolve(job.id, answer(job))

    def hear(samples: Samples) -> None:
        if len(samples):
            carry(session.push(samples))

    carry(session.begin())
    for block in blocks:
        hear(intake.feed(block))
    hear(intake.flush())
    carry(session.flush())
    return events
