"""Follow one live session to its end, and end it well on Ctrl-C."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from streamser.audio.clip import to_ms
from streamser.cli.asking import Wish
from streamser.cli.ending import INTERRUPTED, Stopped, catching, leave_at_once, mute
from streamser.cli.sinks import Sink
from streamser.cli.talk import clock, counted, signed
from streamser.cli.utterance import Summary, Tally, read_utterance
from streamser.errors import StreamserError
from streamser.events import ErrorRaised, Event, SessionClosed, SessionCreated

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamser.audio.clip import Samples
    from streamser.audio.source import AudioSource

__all__ = ["Streaming", "follow", "summary_lines"]


class Streaming(Protocol):
    """Analyse a source, here (``Analyzer``) or on a server."""

    def stream(
        self,
        source: AudioSource,
        *,
        live: bool | None = None,
        speaker: str | None = None,
        on_audio: Callable[[Samples], None] | None = None,
    ) -> Iterator[Event]:
        """Yield the events of a source, as ``Analyzer.stream`` does."""
        ...


def follow(
    analyzer: Streaming, source: AudioSource, sinks: Sequence[Sink], *, speaker: str | None = None
) -> Summary | None:
    """Stream a source into sinks until it ends or a signal stops it; sum it up.

    The first of SIGINT, SIGTERM and SIGHUP ends the source, so that the open utterance is
    analysed and shown; the second ends the program at once, with exit code 130. Before the
    first event, while models are loaded, the first is raised as ``Stopped``. The sinks are
    closed in any case. What comes to nothing after the first event is summed up, too, with the
    ``StreamserError`` that is why.
    """
    tally = Tally()
    closed: SessionClosed | None = None
    fault: str | None = None
    transcribed = True
    begun = False
    lost: StreamserError | None = None
    heard = 0

    def hear(samples: Samples) -> None:
        nonlocal heard
        heard += len(samples)
        for sink in sinks:
            sink.hear(samples)

    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        stack.enter_context(_stopping(source, lambda: begun))
        try:
            for event in analyzer.stream(source, live=True, speaker=speaker, on_audio=hear):
                begun = True
                for sink in sinks:
                    sink.take(event)
                if isinstance(event, SessionCreated):
                    transcribed = event.session.models.asr is not None
                    closed = None
                elif isinstance(event, SessionClosed):
                    closed = event
                elif isinstance(event, ErrorRaised):
                    fault = event.error.message
                spoken = read_utterance(event, transcribed=transcribed)
                if spoken is not None:
                    tally.add(spoken)
        except StreamserError as error:
            if not begun:
                raise
            lost = error
            closed = closed or tally.broken_off(to_ms(heard))
    return None if closed is None else tally.summary(closed, fault, lost)


def summary_lines(summary: Summary) -> list[str]:
    """Write a summary for people, in one to three lines."""
    closed = summary.closed
    heard, spoken = clock(closed.audio_ms), clock(closed.speech_ms)
    lines = [f"{heard} heard, {spoken} of speech, {counted(closed.utterances, 'utterance')}"]
    if summary.shares:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in summary.shares.items())
        means = [
            f"mean {name} {signed(value)}"
            for name, value in [("valence", summary.valence), ("arousal", summary.arousal)]
            if value is not None
        ]
        lines.append("; ".join([shares, *means]))
    notes = []
    if summary.lag_median_ms is not None and summary.lag_p95_ms is not None:
        median, high = summary.lag_median_ms, summary.lag_p95_ms
        notes.append(f"answered after {median:.0f} ms (median), {high:.0f} ms (95 %)")
    if closed.failed:
        notes.append(f"{counted(closed.failed, 'utterance')} not analysed")
    if closed.partials_dropped:
        early = counted(closed.partials_dropped, "reading")
        notes.append(f"{early} in mid-utterance left out, to keep up")
    if closed.audio_dropped_ms:
        notes.append(f"{closed.audio_dropped_ms} ms of sound lost")
    return [*lines, "; ".join(notes)] if notes else lines


@contextmanager
def _stopping(source: AudioSource, begun: Callable[[], bool]) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP stop the source, and a second of them the program.

    What has not ``begun`` has nothing to end: there the first is raised.
    """
    wish = Wish()

    def stop(number: int, frame: FrameType | None) -> None:
        match wish.heard():
            case "again":
                leave_at_once(INTERRUPTED)
            case "echo":
                return
        if not begun():
            raise Stopped(number)
        if number == getattr(signal, "SIGHUP", None):
            _let_go_of_terminals()
        source.stop()

    with catching(stop, "SIGINT", "SIGTERM", "SIGHUP"):
        yield


def _let_go_of_terminals() -> None:
    """Write no more to a terminal that has gone, so that the recording still gets its end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            # Not isatty(): it denies a terminal that has hung up.
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
                mute(stream)
