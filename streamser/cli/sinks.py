"""Where a session's events go: JSON lines, plain lines, or the live view of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TextIO

from streamser.cli.talk import clock, complain, counted, signed, warn
from streamser.cli.utterance import Utterance, read_utterance
from streamser.events import Advice, ErrorRaised, Event, Overload, SessionCreated, encode_event
from streamser.taxonomy import DIMENSIONS
from streamser.visible import visible

if TYPE_CHECKING:
    from streamser.audio.clip import Samples

__all__ = ["JsonLines", "PlainLines", "Sink", "advice_of", "advise", "plain_line"]


class Sink(Protocol):
    """Take the events of one session as they come."""

    def take(self, event: Event) -> None:
        """Take the next event."""
        ...

    def hear(self, samples: Samples) -> None:
        """Take sound that was heard, mono at 16 kHz."""
        ...

    def close(self) -> None:
        """Let go of the terminal or file; called once, also after a fault."""
        ...


class JsonLines:
    """Write every event as one line of JSON, at once."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def take(self, event: Event) -> None:
        """Write an event."""
        self._out.write(encode_event(event).decode() + "\n")
        self._out.flush()
        advise(event)

    def hear(self, samples: Samples) -> None:
        """Need no sound."""

    def close(self) -> None:
        """Have nothing to let go."""


class PlainLines:
    """Write one line an utterance, for pipes and dumb terminals."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._transcribed = True

    def take(self, event: Event) -> None:
        """Write the utterance that an event finishes."""
        event = visible(event)
        if isinstance(event, SessionCreated):
            self._transcribed = event.session.models.asr is not None
        spoken = read_utterance(event, transcribed=self._transcribed)
        if spoken is not None:
            self._out.write(plain_line(spoken) + "\n")
            self._out.flush()
        advise(event)

    def hear(self, samples: Samples) -> None:
        """Need no sound."""

    def close(self) -> None:
        """Have nothing to let go."""


def advise(event: Event) -> None:
    """Tell people on stderr of an event that reports a fault or a loss; of others nothing."""
    advice = advice_of(event)
    if advice is not None:
        (complain if isinstance(event, ErrorRaised) else warn)(advice)


def advice_of(event: Event) -> str | None:
    """Return the line for people of an event that reports a fault or a loss."""
    match event:
        case ErrorRaised():
            return event.error.message
        case Advice():
            return event.message
        case Overload(kind="partials"):
            return (
                f"kept up by leaving out {counted(event.dropped, 'reading')} in mid-utterance"
                f" ({event.reason})"
            )
        case Overload(kind="audio"):
            lost = f"{event.dropped} ms of sound" if event.dropped else "some sound"
            return f"{lost} lost at {clock(event.since_ms)} ({event.reason})"
        case Overload(kind="finals"):
            return f"the server is busy: {counted(event.total, 'reading')} came late so far"
    return None


def plain_line(spoken: Utterance) -> str:
    """Write an utterance without colour or layout."""
    span = f"{clock(spoken.start_ms)}-{clock(spoken.end_ms)}"
    if spoken.speaker:
        span = f"{span}  {spoken.speaker}"
    if spoken.emotion is None:
        return f"{span}  not analysed: {spoken.fault}"
    emotion = spoken.emotion
    values = [
        f"{name[0].upper()} {signed(getattr(emotion.dimensions, name))}" for name in DIMENSIONS
    ]
    parts = [span, f"{emotion.category} {emotion.confidence:.0%}", " ".join(values)]
    if spoken.lag_ms is not None:
        parts.append(f"{spoken.lag_ms:.0f} ms")
    if spoken.transcript:
        parts.append(spoken.transcript)
    return "  ".join(parts)
