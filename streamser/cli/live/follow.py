"""Follow one live session to its end, and end it well on Ctrl-C."""

from __future__ import annotations

import os
import signal
import stat
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import accumulate
from types import FrameType
from typing import TYPE_CHECKING, Protocol

import msgspec

from streamser.audio.clip import to_ms
from streamser.cli.console import (
    INTERRUPTED,
    EndRequest,
    Stopped,
    catching,
    clock,
    counted,
    leave_at_once,
    mute,
    signed,
)
from streamser.cli.live.sinks import Sink
from streamser.errors import StreamserError
from streamser.events import ErrorRaised, Event, SessionClosed, SessionCreated
from streamser.export.utterances import Utterance, read_utterance

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamser.audio.clip import Samples
    from streamser.audio.source import AudioSource


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
    wish = EndRequest()

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


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what there is to say when a session is over."""

    closed: SessionClosed
    fault: str | None
    """Why the source broke off, if it did."""
    lost: StreamserError | None = None
    """Why the session has no end of its own, if it has none."""
    shares: dict[str, float]
    """Share of the utterances by category, ``unsure`` among them, the largest first."""
    valence: float | None
    arousal: float | None
    lag_median_ms: float | None
    lag_p95_ms: float | None


class Tally:
    """Count what a summary needs of utterances, and keep none: a session may last for days."""

    def __init__(self) -> None:
        self._categories: Counter[str] = Counter()
        self._valence = _Mean()
        self._arousal = _Mean()
        self._lags: Counter[float] = Counter()
        self._utterances = 0
        self._failed = 0
        self._speech_ms = 0

    def add(self, spoken: Utterance) -> None:
        """Count an utterance."""
        self._utterances += 1
        self._failed += spoken.fault is not None
        self._speech_ms += spoken.end_ms - spoken.start_ms
        if spoken.lag_ms is not None:
            # To three digits, so that there are some thousand different ones at most.
            self._lags[float(f"{spoken.lag_ms:.3g}")] += 1
        if spoken.emotion is not None:
            self._categories[spoken.emotion.category] += 1
            self._valence.add(spoken.emotion.dimensions.valence)
            self._arousal.add(spoken.emotion.dimensions.arousal)

    def broken_off(self, audio_ms: int) -> SessionClosed:
        """Return what the last event would have said of a session that never had one."""
        return SessionClosed(
            event_id="",
            session_id="",
            seq=0,
            audio_ms=audio_ms,
            speech_ms=self._speech_ms,
            utterances=self._utterances,
            failed=self._failed,
            partials_dropped=0,
            audio_dropped_ms=0,
        )

    def summary(
        self,
        closed: SessionClosed,
        fault: str | None = None,
        lost: StreamserError | None = None,
    ) -> Summary:
        """Sum the session up, with its last event and what went wrong."""
        judged, lags = self._categories.total(), self._lags.total()
        middle = [self._lag_at((lags - 1) // 2), self._lag_at(lags // 2)] if lags else []
        return Summary(
            closed=closed,
            fault=fault,
            lost=lost,
            shares={name: count / judged for name, count in self._categories.most_common()},
            valence=self._valence.mean,
            arousal=self._arousal.mean,
            lag_median_ms=sum(middle) / 2 if lags else None,
            lag_p95_ms=self._lag_at(min(lags - 1, int(lags * 0.95))) if lags else None,
        )

    def _lag_at(self, place: int) -> float:
        ordered = sorted(self._lags.items())
        upto = accumulate(count for _, count in ordered)
        return next(lag for (lag, _), end in zip(ordered, upto, strict=True) if place < end)


class _Mean:
    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self._sum += value
            self._count += 1

    @property
    def mean(self) -> float | None:
        return self._sum / self._count if self._count else None
