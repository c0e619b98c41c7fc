"""Follow one live session to its end, and end it well on Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from streamser.cli.ending import INTERRUPTED, leave_at_once
from streamser.cli.sinks import Sink
from streamser.cli.talk import clock, counted, signed
from streamser.cli.utterance import Summary, Utterance, read_utterance, summarise
from streamser.events import ErrorRaised, SessionClosed, SessionCreated

if TYPE_CHECKING:
    from streamser import Analyzer
    from streamser.audio.clip import Samples
    from streamser.audio.source import AudioSource

__all__ = ["follow", "summary_lines"]


def follow(
    analyzer: Analyzer, source: AudioSource, sinks: Sequence[Sink], *, speaker: str | None = None
) -> Summary | None:
    """Stream a source into sinks until it ends or SIGINT or SIGTERM stops it; sum it up.

    The first signal ends the source, so that the open utterance is analysed and shown; the
    second ends the program at once, with exit code 130. The sinks are closed in any case.
    """
    utterances: list[Utterance] = []
    closed: SessionClosed | None = None
    fault: str | None = None
    transcribed = True

    def hear(samples: Samples) -> None:
        for sink in sinks:
            sink.hear(samples)

    with ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
        stack.enter_context(_stopping(source))
        for event in analyzer.stream(source, live=True, speaker=speaker, on_audio=hear):
            for sink in sinks:
                sink.take(event)
            if isinstance(event, SessionCreated):
                transcribed = event.session.models.asr is not None
            elif isinstance(event, SessionClosed):
                closed = event
            elif isinstance(event, ErrorRaised):
                fault = event.error.message
            spoken = read_utterance(event, transcribed=transcribed)
            if spoken is not None:
                utterances.append(spoken)
    return None if closed is None else summarise(utterances, closed, fault)


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
        notes.append(f"{counted(closed.partials_dropped, 'reading')} skipped")
    if closed.audio_dropped_ms:
        notes.append(f"{closed.audio_dropped_ms} ms of sound lost")
    return [*lines, "; ".join(notes)] if notes else lines


@contextmanager
def _stopping(source: AudioSource) -> Iterator[None]:
    """Let SIGINT and SIGTERM stop the source, and a second of them the program."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def stop(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            leave_at_once(INTERRUPTED)
        asked = True
        source.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
