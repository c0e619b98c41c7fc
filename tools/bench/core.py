"""A session core driven on one thread, so that the time it takes can be told from all else."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from streamser.audio.clip import Samples
from streamser.audio.reader import Resampler
from streamser.audio.source import Frames
from streamser.emotion.model import Features, Prediction, Segment
from streamser.events import Event
from streamser.pipeline.build import build_session
from streamser.pipeline.engine import Engine
from streamser.pipeline.requests import Cancel, Observed, Outcome, Request
from streamser.pipeline.session import Output, Session
from streamser.settings import Settings
from streamser.speech.vad import Vad
from streamser.taxonomy import CATEGORIES, Dimensions

__all__ = ["NullModel", "answer_nothing", "make_session", "run_core"]


class NullModel:
    """Find nothing, at no cost."""

    name = "null"
    modalities: tuple[str, ...] = ("audio",)

    def extract(self, batch: Sequence[Segment]) -> list[Features]:
        """Return nothing for each item."""
        return [None] * len(batch)

    def forget(self, session_id: str) -> None:
        """Forget nothing: there is no state."""

    def new_speaker(self) -> _NullListener:
        """Return a listener that always says the same."""
        return _NullListener()


class _NullListener:
    def __init__(self) -> None:
        self._reading = Prediction(
            category=CATEGORIES[0],
            confidence=1 / len(CATEGORIES),
            scores=dict.fromkeys(CATEGORIES, 1 / len(CATEGORIES)),
            dimensions=Dimensions(),
            uncertainty=1.0,
            modalities=(),
        )

    def predict(self, finding: Features) -> Prediction:
        return self._reading

    def adapt(self, finding: Features) -> None:
        """Learn nothing."""

    def snapshot(self) -> bytes:
        return b""

    def restore(self, state: bytes) -> None:
        """Take nothing."""

    def reset(self) -> None:
        """Forget nothing."""


def answer_nothing(job: Request) -> Outcome:
    """Answer a job at once, with nothing."""
    return Observed(features=None)


def make_session(settings: Settings, vad: Vad, engine: Engine) -> Session:
    """Make a live session core, as the analyzer would."""
    return build_session(
        settings,
        "bench",
        vad,
        engine.abilities,
        engine.new_speaker,
        ordered=False,
        patient=False,
        source=None,
        speaker=None,
    )


def run_core(
    session: Session,
    intake: Resampler,
    blocks: Iterable[Frames],
    answer: Callable[[Request], Outcome],
) -> list[Event]:
    """Bring blocks of sound through conversion and session core; return all events.

    Jobs are answered on the spot, in the order in which they are asked.
    """
    events: list[Event] = []

    def carry(output: list[Output]) -> None:
        tasks: deque[Request] = deque()
        while True:
            for item in output:
                if isinstance(item, Event):
                    events.append(item)
                elif isinstance(item, Cancel):
                    # Whatever still waits here was asked for in the same breath.
                    tasks = deque(job for job in tasks if job.id != item.request_id)
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
