"""A server's session without a server: it hears numbered sound and speaks the protocol; pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from streamser.events import (
    AudioConfig,
    AudioFormat,
    AudioInput,
    Cleared,
    Committed,
    EmotionBody,
    EmotionCompleted,
    ErrorBody,
    ErrorRaised,
    Event,
    Marker,
    ModelNames,
    SessionClosed,
    SessionCreated,
    SessionInfo,
    SessionResumed,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TurnDetection,
    Usage,
    Window,
)
from streamser.taxonomy import Dimensions

__all__ = ["FRAMES_A_MS", "RATE", "PretendSession", "numbered"]

RATE = 8000
FRAMES_A_MS = RATE // 1000


def numbered(start_ms: int, end_ms: int) -> bytes:
    """Return s16le sound at 8 kHz in which every sample is the number of its millisecond."""
    return np.repeat(np.arange(start_ms, end_ms), FRAMES_A_MS).astype("<i2").tobytes()


class PretendSession:
    """Cut its sound into utterances of a fixed length, and finish them when told to ``think``.

    The transcript of an utterance tells which sound it was: the first and last sample. All
    events are kept, as they are for a client that comes back.
    """

    def __init__(self, session_id: str, utterance_ms: int = 100, max_utterance_ms: int = 100):
        self.session_id = session_id
        self.events: list[Event] = []
        self.settings: list[dict[str, Any]] = []
        self.closed = False
        self.forgotten = 0
        self._heard = np.empty(0, np.int16)
        self._length = utterance_ms
        self._max_ms = max_utterance_ms
        self._open_at: int | None = None
        self._items = 0
        self._first_frame = 0
        self._waiting: list[tuple[str, int, int] | Callable[[], None]] = []
        self._say(SessionCreated, session=self._info())

    @property
    def received_frames(self) -> int:
        """Return how much sound has come."""
        return len(self._heard)

    @property
    def now_ms(self) -> int:
        """Return the same in ms."""
        return len(self._heard) // FRAMES_A_MS

    def receive(self, message: str | bytes) -> None:
        """Follow a message of the client."""
        if self.closed:
            return
        if isinstance(message, bytes):
            self._hear(np.frombuffer(message, "<i2"))
            return
        asked = json.loads(message)
        match asked["type"]:
            case "session.update":
                self.settings.append(asked["session"])
                self._say(SessionUpdated, session=self._info())
            case "input_audio_buffer.commit":
                if self._open_at is None:
                    self._refuse("input_audio_buffer_commit_empty", asked["event_id"])
                else:
                    self._stop("commit")
            case "input_audio_buffer.clear":
                self._open_at = None
                self._say(Cleared)
            case "streamser.marker":
                name, at = asked["id"], self.now_ms
                self._waiting.append(lambda: self._say(Marker, id=name, audio_ms=at))
            case "streamser.finish":
                self.finish()

    def think(self, most: int = 1) -> None:
        """Finish so many of the utterances and markers that wait."""
        for _ in range(min(most, len(self._waiting))):
            waiting = self._waiting.pop(0)
            if callable(waiting):
                waiting()
            else:
                self._finish_item(*waiting)

    def finish(self) -> None:
        """Tell everything that is to tell, and close."""
        if self._open_at is not None:
            self._stop("flush")
        self.think(len(self._waiting))
        self.closed = True
        self._say(
            SessionClosed,
            audio_ms=self.now_ms,
            speech_ms=self.now_ms,
            utterances=self._items,
            failed=0,
            partials_dropped=0,
            audio_dropped_ms=0,
        )

    def welcome(self, after: int) -> list[Event]:
        """Return what a client is told that has come back and has seen events up to one.

        The first ``forgotten`` of what it missed are not kept any more.
        """
        missed = [event for event in self.events if event.seq > after][self.forgotten :]
        self._say(SessionResumed, received_frames=self.received_frames, lost_events=self.forgotten)
        return [*missed, self.events[-1]]

    def _hear(self, frames: np.ndarray[Any, np.dtype[np.int16]]) -> None:
        until = self.received_frames + len(frames)
        self._heard = np.concatenate([self._heard, frames])
        if self._open_at is None and until > self._first_frame:
            self._start(self._first_frame // FRAMES_A_MS)
        while self._open_at is not None and until >= self._end_of_open:
            end = self._open_at + self._length
            self._stop("pause", end)
            if until > end * FRAMES_A_MS:
                self._start(end)

    @property
    def _end_of_open(self) -> int:
        assert self._open_at is not None
        return (self._open_at + self._length) * FRAMES_A_MS

    def _start(self, at_ms: int) -> None:
        self._items += 1
        self._open_at = at_ms
        self._say(SpeechStarted, item_id=self._item(), audio_start_ms=at_ms)

    def _stop(self, reason: str, end_ms: int | None = None) -> None:
        assert self._open_at is not None
        end = self.now_ms if end_ms is None else end_ms
        self._say(SpeechStopped, item_id=self._item(), audio_end_ms=end, reason=reason)
        self._say(Committed, item_id=self._item(), previous_item_id=None)
        self._waiting.append((self._item(), self._open_at, end))
        self._open_at = None
        self._first_frame = end * FRAMES_A_MS

    def _finish_item(self, item_id: str, start: int, end: int) -> None:
        first, last = self._heard[start * FRAMES_A_MS], self._heard[end * FRAMES_A_MS - 1]
        body = EmotionBody(
            category="neutral",
            confidence=1.0,
            scores={"neutral": 1.0},
            dimensions=Dimensions(valence=0.0, arousal=0.0, dominance=0.0),
            uncertainty=0.0,
            modalities=("audio",),
            speaker=None,
            window=Window(start_ms=start, end_ms=end),
            model="pretend",
        )
        self._say(
            TranscriptionCompleted,
            item_id=item_id,
            transcript=f"{first} {last}",
            usage=Usage(seconds=(end - start) / 1000),
            audio_start_ms=start,
            audio_end_ms=end,
            emotion=body,
        )
        self._say(EmotionCompleted, item_id=item_id, emotion=body)

    def _refuse(self, code: str, event_id: str | None) -> None:
        error = ErrorBody(type="invalid_request_error", code=code, message=code, event_id=event_id)
        self._say(ErrorRaised, error=error)

    def _item(self) -> str:
        return f"item_{self.session_id}_{self._items}"

    def _say(self, kind: type[Event], **fields: Any) -> None:
        seq = len(self.events) + 1
        name = f"{self.session_id}_{seq}"
        self.events.append(kind(event_id=name, session_id=self.session_id, seq=seq, **fields))

    def _info(self) -> SessionInfo:
        turns = TurnDetection(threshold=0.5, prefix_padding_ms=0, silence_duration_ms=300)
        sound = AudioInput(
            format=AudioFormat(type="audio/pcm", rate=RATE),
            transcription=None,
            turn_detection=turns,
        )
        return SessionInfo(
            id=self.session_id,
            models=ModelNames(vad="pretend", asr="pretend", emotion="pretend"),
            silence_ms=300,
            max_utterance_ms=self._max_ms,
            audio=AudioConfig(input=sound),
        )
