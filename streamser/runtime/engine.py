"""Words and emotion for a batch of jobs: what the device thread runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE, Clip
from streamser.emotion.model import EmotionModel, Listener, Place, Spoken
from streamser.errors import StreamserError
from streamser.runtime.jobs import Fault, Job, Outcome, Result
from streamser.speech.embedder import GuardedEmbedder
from streamser.speech.guards import guarded
from streamser.speech.speakers import SpeakerEmbedder, Voice
from streamser.speech.transcriber import Transcriber, Transcript

__all__ = ["Engine", "Runner", "Spent"]

logger = logging.getLogger(__name__)


class Spent(msgspec.Struct, frozen=True):
    """Sum up seconds spent in each model, successful or not."""

    transcribing_s: float = 0.0
    judging_s: float = 0.0
    embedding_s: float = 0.0

    def __sub__(self, before: Spent) -> Spent:
        return Spent(
            self.transcribing_s - before.transcribing_s,
            self.judging_s - before.judging_s,
            self.embedding_s - before.embedding_s,
        )


class Runner(Protocol):
    """Run jobs on a device; what a device thread needs of an engine, wherever its models are."""

    spent: Spent

    @property
    def asr(self) -> str | None:
        """Return the recogniser's name; ``None`` where nothing transcribes."""
        ...

    @property
    def emotion(self) -> str:
        """Return the emotion model's name."""
        ...

    @property
    def languages(self) -> frozenset[str] | None:
        """Return the codes of the languages that are recognised; ``None``: it is not said."""
        ...

    @property
    def batches(self) -> bool:
        """Return whether jobs cost less together than one after another."""
        ...

    def listener(self) -> Listener:
        """Return a listener of the emotion model, for a new session; any thread may ask."""
        ...

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer a batch of jobs, each with a result or a fault, in order."""
        ...

    def forget(self, session_id: str) -> None:
        """Drop what the models keep for a session that has ended."""
        ...

    def close(self) -> None:
        """Let the models go."""
        ...

    def abandon(self) -> None:
        """Let the models go whatever they do, where that can be done; any thread may ask."""
        ...


class Engine:
    """Hold the models of a device and run jobs through them.

    A batch that fails is halved when memory ran out and else retried one by one, so that one
    bad item fails alone. What an ``embedder`` cannot describe does not fail at all: it is an
    utterance of nobody in particular.
    """

    def __init__(
        self,
        transcriber: Transcriber | None,
        model: EmotionModel,
        embedder: SpeakerEmbedder | None = None,
    ) -> None:
        self.transcriber = transcriber
        self.model = model
        self._embedder = None if embedder is None else GuardedEmbedder(embedder)
        self.spent = Spent()

    @property
    def asr(self) -> str | None:
        """Return the recogniser's name; ``None`` where nothing transcribes."""
        return None if self.transcriber is None else self.transcriber.name

    @property
    def emotion(self) -> str:
        """Return the emotion model's name."""
        return self.model.name

    @property
    def languages(self) -> frozenset[str] | None:
        """Return the codes of the languages that are recognised; ``None``: it is not said."""
        found: frozenset[str] | None = getattr(self.transcriber, "languages", None)
        return found

    @property
    def batches(self) -> bool:
        """Return whether jobs cost less together than one after another."""
        return self.transcriber is None or self.transcriber.batches

    def listener(self) -> Listener:
        """Return a listener of the emotion model, for a new session."""
        return self.model.listener()

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Answer a batch of jobs, each with a result or a fault, in order."""
        try:
            return list(self._attempt(jobs))
        except Exception as error:
            if len(jobs) == 1:
                return [_fault(error)]
            if _memory_ran_out(error):
                half = len(jobs) // 2
                return self.run(jobs[:half]) + self.run(jobs[half:])
            logger.warning("a batch of %d failed (%s); retrying one by one", len(jobs), error)
            return [outcome for job in jobs for outcome in self.run([job])]

    def warm(self) -> None:
        """Run a second of faint noise through the models, so that nobody waits for a first time.

        Raises what the models raise: one that cannot run at all is better known at the start.
        """
        noise = np.random.default_rng(0).uniform(-0.01, 0.01, SAMPLE_RATE).astype(np.float32)
        clip = Clip(session_id="warm-up", utterance=1, start=0, samples=noise, final=True)
        self._attempt([Job(id=0, clip=clip, window=SAMPLE_RATE, droppable=False)])
        self.forget(clip.session_id)
        if self._embedder is not None:
            self._embedder.try_out(noise)

    def forget(self, session_id: str) -> None:
        """Drop what the models keep for a session that has ended."""
        if self.transcriber is not None:
            self.transcriber.forget(session_id)
        self.model.forget(session_id)

    def close(self) -> None:
        """Do nothing: the models go with whoever holds the engine."""

    def abandon(self) -> None:
        """Do nothing: what a thread of this process is at cannot be ended."""

    def _attempt(self, jobs: Sequence[Job]) -> list[Result]:
        began = heard = time.perf_counter()
        try:
            transcripts = self._transcribe(jobs)
            heard = time.perf_counter()
            spoken = [
                Spoken(job.heard, _trusted(transcript), _place(job))
                for job, transcript in zip(jobs, transcripts, strict=True)
            ]
            findings = self.model.observe(spoken)
        finally:
            judged = time.perf_counter()
            spent = self.spent
            self.spent = Spent(
                spent.transcribing_s + heard - began,
                spent.judging_s + judged - heard,
                spent.embedding_s,
            )
        # Last, as it cannot fail: what fails before is done again, item by item.
        voices = self._embed(jobs)
        embedding_s = self.spent.embedding_s + time.perf_counter() - judged
        self.spent = replace(self.spent, embedding_s=embedding_s)
        return [Result(*found) for found in zip(transcripts, findings, voices, strict=True)]

    def _transcribe(self, jobs: Sequence[Job]) -> list[Transcript | None]:
        asked = [] if self.transcriber is None else [job.clip for job in jobs if job.transcribe]
        if self.transcriber is None or not asked:
            return [None] * len(jobs)
        heard = self.transcriber.transcribe(asked)
        guarding = (guarded(*pair) for pair in zip(heard, asked, strict=True))
        return [next(guarding) if job.transcribe else None for job in jobs]

    def _embed(self, jobs: Sequence[Job]) -> list[Voice | None]:
        asked = [job.clip.samples for job in jobs if job.embed]
        if self._embedder is None or not asked:
            return [None] * len(jobs)
        voices = iter(self._embedder.embed(asked))
        return [next(voices) if job.embed else None for job in jobs]


def _place(job: Job) -> Place:
    return Place(job.clip.session_id, job.clip.utterance, job.heard_from)


def _trusted(transcript: Transcript | None) -> str | None:
    if transcript is None or transcript.distrust or not transcript.text:
        return None
    return transcript.text


def _fault(error: Exception) -> Fault:
    if isinstance(error, StreamserError):
        return Fault(error.code, str(error))
    logger.exception("a job failed", exc_info=error)
    if _memory_ran_out(error):
        return Fault("out_of_memory", f"{type(error).__name__}: {error}")
    return Fault("internal_error", f"{type(error).__name__}: {error}")


def _memory_ran_out(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
