"""Plain stand-ins for detector and models, so that the runtime can be tested for itself."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from streamser.audio.clip import Clip, Samples, to_samples
from streamser.emotion.model import Prediction, Segment
from streamser.emotion.tempo import Tempo
from streamser.events import Event, ModelNames
from streamser.pipeline.requests import (
    Cancel,
    EmotionRequest,
    Observed,
    Outcome,
    Request,
    WordsRequest,
)
from streamser.pipeline.session import Output, Session
from streamser.pipeline.session_config import SessionConfig, VoicesApart
from streamser.speech.diarisation import VoiceWindow, voice_windows
from streamser.speech.endpointing import EndpointerSettings
from streamser.speech.speakers import Voice
from streamser.speech.transcriber import Transcript
from streamser.taxonomy import Dimensions
from tests.speech.voices import LIKENESS
from tests.speech.voices import voice_of as made_voice

__all__ = [
    "APART",
    "CountingListener",
    "ForgetfulTranscriber",
    "LevelVad",
    "LoudnessModel",
    "SpellingTranscriber",
    "answer",
    "answer_all",
    "events_of",
    "make_config",
    "make_session",
    "requests_of",
    "speech",
    "voice_of",
    "voices_of",
]

WINDOW = 512
APART = VoicesApart(embedder="doubles", likeness=LIKENESS)


def speech(*pattern: tuple[float, float], seed: int = 0) -> Samples:
    """Make sound from (seconds, level) pairs: noise at that level, or silence at 0."""
    random = np.random.default_rng(seed)
    parts = [
        level * random.uniform(-1, 1, to_samples(1000 * seconds)) for seconds, level in pattern
    ]
    return np.concatenate(parts).astype(np.float32)


class LevelVad:
    """Call a window speech if it is loud."""

    name = "level"
    window = WINDOW

    def probability(self, window: Samples) -> float:
        """Return 1 above -34 dB, else 0."""
        return float(np.sqrt(np.mean(window**2)) > 0.02)

    def probabilities(self, windows: Samples) -> list[float]:
        """Judge one after the other."""
        return [self.probability(window) for window in windows]

    def reset(self) -> None:
        """Forget nothing: there is no state."""

    def snapshot(self) -> bytes:
        """Return nothing: there is no state."""
        return b""

    def restore(self, state: bytes) -> None:
        """Go on from nothing."""


class CountingListener:
    """Read a finding together with the number of utterances learnt before it."""

    def __init__(self) -> None:
        self.learnt = 0

    def predict(self, finding: float) -> Prediction:
        """Judge loudness as arousal."""
        return Prediction(
            category="neutral",
            confidence=1.0,
            scores={"neutral": 1.0, "happy": 0.0, "sad": 0.0, "angry": 0.0},
            dimensions=Dimensions(arousal=round(min(1.0, finding), 6)),
            uncertainty=0.0,
            modalities=("audio",),
            evidence={"learnt": float(self.learnt)},
        )

    def adapt(self, finding: float) -> None:
        """Count an utterance."""
        self.learnt += 1

    def snapshot(self) -> bytes:
        """Return the number."""
        return str(self.learnt).encode()

    def restore(self, state: bytes) -> None:
        """Take a number."""
        self.learnt = int(state)

    def reset(self) -> None:
        """Start anew."""
        self.learnt = 0


class LoudnessModel:
    """Measure the loudness of clips."""

    name = "loudness"
    modalities: tuple[str, ...] = ("audio",)

    def extract(self, batch: Sequence[Segment]) -> list[float]:
        """Return the root mean square of each item."""
        return [float(np.sqrt(np.mean(item.samples**2))) for item in batch]

    def forget(self, session_id: str) -> None:
        """Forget nothing: there is no state."""

    def new_speaker(self) -> CountingListener:
        """Return a listener that has learnt nothing."""
        return CountingListener()


class SpellingTranscriber:
    """Hear one word for each half second of sound."""

    name = "spelling"
    batches = True

    def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
        """Return "word0 word1 …" for each clip."""
        return [
            Transcript(" ".join(f"word{n}" for n in range(len(clip.samples) // 8000)))
            for clip in clips
        ]

    def forget(self, session_id: str) -> None:
        """Forget nothing: there is no state."""


class ForgetfulTranscriber(SpellingTranscriber):
    """Keep the names of the sessions that it was told to forget."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    def forget(self, session_id: str) -> None:
        """Note a session that has ended."""
        self.forgotten.append(session_id)


def answer(request: Request) -> Outcome:
    """Answer a request as the doubles would."""
    if isinstance(request, WordsRequest):
        return SpellingTranscriber().transcribe([request.clip])[0]
    finding = float(np.sqrt(np.mean(request.heard**2)))
    voices = voices_of(request.clip) if request.embed else None
    return Observed(finding, voices, tempo=Tempo(4.0, 0.0, 0.0) if request.tempo else None)


def answer_all(session: Session, output: Sequence[Output]) -> list[Event]:
    """Answer the requests among a session's output, and those that follow; return all events."""
    told = events_of(output)
    for request in requests_of(output):
        told += answer_all(session, session.resolve(request.id, answer(request)))
    return told


def voices_of(clip: Clip) -> tuple[VoiceWindow, ...]:
    """Describe the voices in the windows of a clip."""
    return tuple(
        VoiceWindow(start, end, voice_of(clip.samples[start - clip.start : end - clip.start]))
        for start, end in voice_windows(clip.start, clip.end)
    )


def voice_of(sound: Samples) -> Voice:
    """Describe a voice by its loudness: below a third of full scale it is another one."""
    loud = float(np.quantile(np.abs(sound), 0.99)) > 0.33
    return made_voice(int(loud), np.random.default_rng(zlib.crc32(sound.tobytes())))


def make_config(
    *,
    ordered: bool = False,
    speculative: bool = True,
    partial_every_ms: int = 500,
    max_length_ms: int = 20_000,
    apart: VoicesApart | None = None,
    speaker: str | None = None,
    words: bool = True,
) -> SessionConfig:
    """Set a session up, with a hangover of 500 ms; without ``words``, of voices alone."""
    return SessionConfig(
        session_id="s",
        models=ModelNames(vad="level", asr="spelling" if words else None, emotion="loudness"),
        endpointing=EndpointerSettings.from_ms(max_length_ms=max_length_ms),
        partial_every=to_samples(partial_every_ms),
        window=to_samples(10_000),
        speculative=speculative,
        ordered=ordered,
        apart=apart,
        speaker=speaker,
    )


def make_session(**how: Any) -> Session:
    """Make a session on doubles, set up as ``make_config`` does."""
    return Session(make_config(**how), LevelVad(), CountingListener)


def events_of(output: Sequence[Output]) -> list[Event]:
    """Return the events among a session's output."""
    return [item for item in output if isinstance(item, Event)]


def requests_of(output: Sequence[Output]) -> list[Request]:
    """Return the requests among a session's output that were not taken back in it."""
    cancelled = {item.request_id for item in output if isinstance(item, Cancel)}
    requests = [item for item in output if isinstance(item, WordsRequest | EmotionRequest)]
    return [request for request in requests if request.id not in cancelled]
