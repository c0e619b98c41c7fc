"""Sessions written by hand, and texts that formats may stumble over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from hypothesis import strategies as st

from streamser.events import (
    Cleared,
    Committed,
    EmotionBody,
    EmotionCompleted,
    EmotionDelta,
    EmotionProvisional,
    ErrorBody,
    Event,
    ModelNames,
    MoodUpdated,
    SessionClosed,
    SessionCreated,
    SessionInfo,
    SpeakerChange,
    SpeakersChanged,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionFailed,
    TranscriptPartial,
    Usage,
    Window,
    WordTiming,
    encode_event,
)
from streamser.export.gather import Gatherer
from streamser.export.records import Recording
from streamser.taxonomy import Dimensions

__all__ = ["ODD", "Script", "gathered", "odd_texts", "saved", "stamped"]

ODD: Final = (
    "a --> b",
    "00:00:01,000 --> 00:00:02,000",
    "<b>bold</b> & <v Somebody> &amp; ]]>",
    'he said "no"; \'yes\', and ""more""',
    "first line\nsecond line\r\n\r\nfourth",
    "שלום עולם, مرحبا بالعالم",
    "😀 👩‍👩‍👧 🇩🇪",
    "tab\tnul\x00bell\x07escape\x1b[31m",
    "line\u2028paragraph\u2029next\x85end",
    "=1+1,;\\t{x}",
    "\ufeffmark\ufffe\uffff",
    "",
    "   ",
)


def odd_texts() -> st.SearchStrategy[str]:
    """Return anything that might be said, and pieces that mean something to some format."""
    pieces = st.sampled_from(ODD) | st.text(max_size=12)
    return st.lists(pieces, max_size=4).map("".join)


class Script:
    """Write the events of one session, as the program would say them."""

    def __init__(
        self,
        session_id: str = "s",
        *,
        speaker: str | None = None,
        meeting: str | None = None,
        asr: str | None = "faster-whisper/tiny.en",
        arithmetic: str | None = None,
        source: str | None = None,
    ) -> None:
        self.events: list[Event] = []
        self._id = session_id
        self._speaker = speaker
        self._items = 0
        self._end = 0
        info = SessionInfo(
            id=session_id,
            models=ModelNames(vad="silero", asr=asr, asr_arithmetic=arithmetic, emotion="compact"),
            silence_ms=500,
            max_utterance_ms=20_000,
            source=source,
            speaker=speaker,
            meeting=meeting,
        )
        self.tell(SessionCreated, session=info)

    def tell(self, kind: type[Event], /, **fields: Any) -> None:
        """Add an event with the next number."""
        seq = len(self.events) + 1
        envelope: dict[str, Any] = {
            "event_id": f"event_{self._id}_{seq}",
            "session_id": self._id,
            "seq": seq,
        }
        self.events.append(kind(**envelope, **fields))

    def emotion(
        self,
        start: int,
        end: int,
        category: str = "happy",
        speaker: str | None = None,
        scores: dict[str, float] | None = None,
    ) -> EmotionBody:
        """Make a judgement; a ``speaker`` of its own is a guess."""
        base = scores or {"neutral": 0.2, "happy": 0.1, "sad": 0.05, "angry": 0.05}
        scores = {name: 0.6 * (name == category) + value for name, value in base.items()}
        return EmotionBody(
            category=category,
            confidence=max(scores.values()),
            scores=scores,
            dimensions=Dimensions(valence=0.5, arousal=-0.25),
            uncertainty=0.5,
            modalities=("audio", "text"),
            speaker=speaker or self._speaker,
            speaker_provisional=speaker is not None,
            window=Window(start_ms=start, end_ms=end),
            model="compact",
        )

    def begin(self, start: int) -> str:
        """Let somebody begin to speak; return which utterance it is."""
        self._items += 1
        item = f"item_{self._id}_{self._items}"
        self.tell(SpeechStarted, item_id=item, audio_start_ms=start, lag_ms=20.0)
        return item

    def read(self, item: str, start: int, end: int, text: str, category: str = "happy") -> None:
        """Tell what is understood and felt while somebody speaks."""
        self.tell(
            TranscriptPartial,
            item_id=item,
            text=text,
            committed="",
            revisable=text,
            audio_start_ms=start,
            audio_end_ms=end,
        )
        self.tell(EmotionDelta, item_id=item, emotion=self.emotion(start, end, category))

    def sound(self, item: str, start: int, end: int, category: str = "sad") -> None:
        """Tell what the voice alone says of an utterance whose words are late."""
        body = msgspec.structs.replace(self.emotion(start, end, category), modalities=("audio",))
        self.tell(EmotionProvisional, item_id=item, emotion=body, lag_ms=60.0)

    def stop(self, item: str, end: int) -> None:
        """Let the utterance be over and handed to the models."""
        self.tell(SpeechStopped, item_id=item, audio_end_ms=end, reason="pause", lag_ms=30.0)
        self.tell(Committed, item_id=item, previous_item_id=None)
        self._end = max(self._end, end)

    def say(
        self,
        start: int,
        end: int,
        text: str | None = "hello there",
        category: str = "happy",
        *,
        words: Sequence[tuple[str, int, int]] = (),
        speaker: str | None = None,
        scores: dict[str, float] | None = None,
        alone: str | None = None,
    ) -> str:
        """Tell a whole utterance; ``text`` ``None``: the session is not transcribed.

        ``alone`` is what its voice is taken for before its words are there.
        """
        item = self.begin(start)
        self.stop(item, end)
        if alone is not None:
            self.sound(item, start, end, alone)
        body = self.emotion(start, end, category, speaker, scores)
        if text is not None:
            self.tell(
                TranscriptionCompleted,
                item_id=item,
                transcript=text,
                language="en",
                words=tuple(WordTiming(word=w, start_ms=a, end_ms=b) for w, a, b in words),
                usage=Usage(seconds=(end - start) / 1000),
                audio_start_ms=start,
                audio_end_ms=end,
                emotion=body,
                lag_ms=80.0,
            )
        self.tell(EmotionCompleted, item_id=item, emotion=body, lag_ms=90.0)
        self.tell(
            MoodUpdated,
            category=category,
            scores=body.scores,
            dimensions=body.dimensions,
            shift=False,
            previous=None,
            audio_end_ms=end,
        )
        return item

    def revise(
        self,
        changes: Mapping[str, str | None] | None = None,
        renamed: Mapping[str, str] | None = None,
    ) -> None:
        """Tell whose utterances are after all, and what speakers are called now."""
        self.tell(
            SpeakersChanged,
            changes=tuple(
                SpeakerChange(item_id=item, speaker=name) for item, name in (changes or {}).items()
            ),
            renamed=dict(renamed or {}),
        )

    def fail(self, start: int, end: int, message: str = "the queue is full") -> str:
        """Tell an utterance that could not be analysed."""
        item = self.begin(start)
        self.stop(item, end)
        self.tell(
            TranscriptionFailed,
            item_id=item,
            error=ErrorBody(type="server_error", code="overloaded", message=message),
            audio_start_ms=start,
            audio_end_ms=end,
        )
        return item

    def clear(self) -> None:
        """Throw away what has not been handed over."""
        self.tell(Cleared)

    def close(self, audio_ms: int | None = None) -> list[Event]:
        """End the session; return its events."""
        self.tell(
            SessionClosed,
            audio_ms=self._end if audio_ms is None else audio_ms,
            speech_ms=0,
            utterances=self._items,
            failed=0,
            partials_dropped=0,
            audio_dropped_ms=0,
        )
        return self.events


def gathered(*sessions: Iterable[Event]) -> Recording:
    """Gather events without a file."""
    gatherer = Gatherer()
    for events in sessions:
        for event in events:
            gatherer.collect(event)
    return gatherer.recording()


def saved(path: Path, *sessions: Iterable[Event]) -> Path:
    """Write events as a file."""
    lines = [encode_event(event) for events in sessions for event in events]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def stamped(path: Path, sessions: Mapping[str, tuple[Sequence[Event], int]], meeting: str) -> Path:
    """Write sessions of a meeting as a listener hears them, in the order of their times.

    Of each: its events, and when on the meeting's clock its audio began.
    """
    told = []
    for events, began in sessions.values():
        last = began
        for event in events:
            if event.clock_ms is not None:
                last = max(last, round(began + event.clock_ms + (event.lag_ms or 0)))
            told.append((last, event))
    told.sort(key=lambda each: each[0])
    lines = []
    for cursor, (at_ms, event) in enumerate(told, 1):
        body = msgspec.json.decode(encode_event(event))
        lines.append(
            msgspec.json.encode(body | {"cursor": cursor, "meeting": meeting, "at_ms": at_ms})
        )
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
