"""Models at work: words and emotion for a batch of requests, as a worker runs them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.emotion.model import EmotionModel, Segment, SpeakerModel
from streamser.emotion.tempo import measure_tempo
from streamser.errors import ModelError, StreamserError, first_line
from streamser.pipeline.requests import (
    EmotionRequest,
    Observed,
    Outcome,
    Request,
    WordsRequest,
    fault_of,
    memory_ran_out,
)
from streamser.speech.diarisation import VoiceWindow, voice_windows
from streamser.speech.overlap import Segmentation
from streamser.speech.speakers import GuardedEmbedder, SpeakerEmbedder
from streamser.speech.transcriber import Transcriber, Transcript, guarded, plain_transcript

logger = logging.getLogger(__name__)


class Spent(msgspec.Struct, frozen=True):
    """Sum up seconds spent in each model, successful or not."""

    transcribing_s: float = 0.0
    judging_s: float = 0.0
    embedding_s: float = 0.0

    def __add__(self, more: Spent) -> Spent:
        return Spent(
            self.transcribing_s + more.transcribing_s,
            self.judging_s + more.judging_s,
            self.embedding_s + more.embedding_s,
        )

    def __sub__(self, before: Spent) -> Spent:
        return Spent(
            self.transcribing_s - before.transcribing_s,
            self.judging_s - before.judging_s,
            self.embedding_s - before.embedding_s,
        )


class Abilities(msgspec.Struct, frozen=True):
    """Say what the models of an engine are, and can do; ``None`` where there is no such model.

    ``arithmetic`` is the number format that the recogniser computes in, ``languages`` are the
    codes of those it knows, where it says.
    ``modalities`` are those that the emotion model reads. ``batches``: whether requests cost less
    together than one after another.
    """

    asr: str | None = None
    arithmetic: str | None = None
    languages: frozenset[str] | None = None
    emotion: str | None = None
    modalities: tuple[str, ...] = ()
    batches: bool = True


class Runner(Protocol):
    """Run requests on a device; what a worker needs of an engine, wherever its models are."""

    spent: Spent

    @property
    def abilities(self) -> Abilities:
        """Return what the models are, and can do."""
        ...

    def new_speaker(self) -> SpeakerModel:
        """Return a speaker of the emotion model, for a new session; any thread may ask.

        Raises ``ModelError`` where there is no emotion model.
        """
        ...

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer a batch of requests, each with a result or a fault, in order."""
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
    """Hold the models of a device and run requests through them.

    A batch that fails is halved when memory ran out and else retried one by one, so that one
    bad item fails alone. What an ``embedder`` cannot describe does not fail at all: it is an
    utterance of nobody in particular. ``load_overlap`` loads what hears two at once, when voices
    are first asked for. Requests for a model that is not there fail.
    """

    def __init__(
        self,
        transcriber: Transcriber | None,
        model: EmotionModel | None,
        embedder: SpeakerEmbedder | None = None,
        load_overlap: Callable[[], Segmentation] | None = None,
    ) -> None:
        self.transcriber = transcriber
        self.model = model
        self._embedder = None if embedder is None else GuardedEmbedder(embedder)
        self._load_overlap = load_overlap
        self._overlap: Segmentation | None = None
        self.spent = Spent()

    @property
    def abilities(self) -> Abilities:
        """Return what the models are, and can do."""
        transcriber, model = self.transcriber, self.model
        return Abilities(
            asr=None if transcriber is None else transcriber.name,
            arithmetic=getattr(transcriber, "arithmetic", None),
            languages=getattr(transcriber, "languages", None),
            emotion=None if model is None else model.name,
            modalities=() if model is None else model.modalities,
            batches=transcriber is None or transcriber.batches,
        )

    def new_speaker(self) -> SpeakerModel:
        """Return a speaker of the emotion model, for a new session."""
        if self.model is None:
            raise ModelError("there is no emotion model here")
        return self.model.new_speaker()

    def run(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answer a batch of requests, each with a result or a fault, in order."""
        try:
            return list(self._attempt(requests))
        except Exception as error:
            if len(requests) == 1:
                return [fault_of(error)]
            if memory_ran_out(error):
                half = len(requests) // 2
                return self.run(requests[:half]) + self.run(requests[half:])
            logger.warning("a batch of %d failed (%s); retrying one by one", len(requests), error)
            return [outcome for request in requests for outcome in self.run([request])]

    def warm(self) -> None:
        """Run a second of faint noise through the models, so that nobody waits for a first time.

        Raises ``ModelError`` where one fails: what cannot run at all is better known at the start.
        """
        noise = np.random.default_rng(0).uniform(-0.01, 0.01, SAMPLE_RATE).astype(np.float32)
        clip = Clip(session_id="warm-up", utterance=1, start=0, samples=noise, final=True)
        if self.transcriber is not None:
            with _named(self.transcriber.name):
                self._transcribe([WordsRequest(0, clip, droppable=False)])
        if self.model is not None:
            with _named(self.model.name):
                self._observe([EmotionRequest(0, clip, SAMPLE_RATE, droppable=False)])
        self.forget(clip.session_id)
        if self._embedder is not None and not self._embedder.is_late:
            self._embedder.try_out(noise)

    def forget(self, session_id: str) -> None:
        """Drop what the models keep for a session that has ended."""
        for model in (self.transcriber, self.model):
            if model is not None:
                model.forget(session_id)

    def close(self) -> None:
        """Do nothing: the models go with whoever holds the engine."""

    def abandon(self) -> None:
        """Do nothing: what a thread of this process is at cannot be ended."""

    def _attempt(self, requests: Sequence[Request]) -> list[Outcome]:
        words = [request for request in requests if isinstance(request, WordsRequest)]
        feelings = [request for request in requests if isinstance(request, EmotionRequest)]
        outcomes: dict[int, Outcome] = {}
        if words:
            outcomes.update(zip(map(id, words), self._transcribe(words), strict=True))
        if feelings:
            outcomes.update(zip(map(id, feelings), self._observe(feelings), strict=True))
        return [outcomes[id(request)] for request in requests]

    def _transcribe(self, requests: Sequence[WordsRequest]) -> list[Transcript]:
        if self.transcriber is None:
            raise ModelError("there is no recogniser here")
        began = time.perf_counter()
        try:
            clips = [request.clip for request in requests]
            heard = self.transcriber.transcribe(clips)
            name = self.transcriber.name
            return [
                guarded(plain_transcript(each, clip, name), clip)
                for each, clip in zip(heard, clips, strict=True)
            ]
        finally:
            self._spend(transcribing_s=time.perf_counter() - began)

    def _observe(self, requests: Sequence[EmotionRequest]) -> list[Observed]:
        if self.model is None:
            raise ModelError("there is no emotion model here")
        began = time.perf_counter()
        try:
            found = self.model.extract(
                [
                    Segment(
                        request.heard,
                        request.text,
                        request.place,
                        request.certainty,
                        request.waited_s,
                    )
                    for request in requests
                ]
            )
        finally:
            self._spend(judging_s=time.perf_counter() - began)
        tempos = [measure_tempo(each.clip.samples) if each.tempo else None for each in requests]
        # Last, as it cannot fail: what fails before is done again, item by item.
        voices, overlaps = self._embed(requests), self._overlaps(requests)
        return [Observed(*each) for each in zip(found, voices, overlaps, tempos, strict=True)]

    def _embed(self, requests: Sequence[EmotionRequest]) -> list[tuple[VoiceWindow, ...] | None]:
        """Describe the voices in the windows of clips; ``None`` where nobody asked."""
        if self._embedder is None or not any(request.embed for request in requests):
            return [None] * len(requests)
        began = time.perf_counter()
        places = [
            voice_windows(request.clip.start, request.clip.end) if request.embed else ()
            for request in requests
        ]
        sounds = [
            (
                request.clip.samples,
                [(a - request.clip.start, b - request.clip.start) for a, b in windows],
            )
            for request, windows in zip(requests, places, strict=True)
        ]
        voices = iter(self._embedder.embed_windows(sounds))
        self._spend(embedding_s=time.perf_counter() - began)
        described = [
            [VoiceWindow(*place, voice) for place in windows if (voice := next(voices)) is not None]
            for windows in places
        ]
        return [
            tuple(found) if request.embed else None
            for request, found in zip(requests, described, strict=True)
        ]

    def _overlaps(self, requests: Sequence[EmotionRequest]) -> list[float]:
        """Return in which share of each clip two speak at once; 0 where nobody asked."""
        shares = [0.0] * len(requests)
        asked = [number for number, request in enumerate(requests) if request.embed]
        if self._load_overlap is None or self._embedder is None or not asked:
            return shares
        began = time.perf_counter()
        try:
            if self._overlap is None:
                self._overlap = self._load_overlap()
            for number in asked:
                shares[number] = _share_of_two(self._overlap, requests[number].clip.samples)
        except StreamserError as error:
            logger.warning("two at once are not heard: %s", error)
        self._spend(embedding_s=time.perf_counter() - began)
        return shares

    def _spend(
        self, transcribing_s: float = 0.0, judging_s: float = 0.0, embedding_s: float = 0.0
    ) -> None:
        self.spent += Spent(transcribing_s, judging_s, embedding_s)


def _share_of_two(segmentation: Segmentation, samples: Samples) -> float:
    spans = segmentation.hear(samples).overlaps()
    return sum(span.end - span.start for span in spans) / max(1, len(samples))


@contextmanager
def _named(model: str) -> Iterator[None]:
    """Turn whatever a model raises into one line that names it."""
    try:
        yield
    except StreamserError:
        raise
    # Plug-ins are models too: they may raise anything, and even ask for the program's end.
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ModelError(
            f"{model} cannot run: it fails on a second of noise ({reason})."
        ) from error
