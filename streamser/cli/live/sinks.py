"""Where a session's events go: JSON lines, plain lines, plug-ins, a folder of its own, a report."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TextIO

import msgspec
import typer

from streamser.cli.console import clock, complain, counted, signed, tell, warn
from streamser.errors import ConfigError, StreamserError
from streamser.events import (
    Advice,
    EmotionBody,
    EmotionCompleted,
    ErrorRaised,
    Event,
    Overload,
    PartEmotion,
    SessionCreated,
    SpeakerPart,
    SpeakersChanged,
    encode_event,
)
from streamser.export.formats import EventLog, line_of
from streamser.export.records import listed
from streamser.export.utterances import (
    UNCERTAIN,
    Utterance,
    attributed,
    name_of,
    read_utterance,
)
from streamser.taxonomy import DIMENSIONS
from streamser.text import visible

if TYPE_CHECKING:
    from streamser.audio.clip import Samples
    from streamser.events import Event
    from streamser.export.sink_thread import SinkThread
    from streamser.server.outgoing import EncodedEvent

SinkNames = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        metavar="NAME[=ARGUMENT]",
        help="Give every event to a plug-in that takes them (docs/plugins.md); repeat.",
    ),
]

_SHOWN = 500
"""Utterances of which people are told whose they are after all."""


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
        self._shown = Shown()
        self._transcribed = True

    def take(self, event: Event) -> None:
        """Write the utterance that an event finishes."""
        event = visible(event)
        if isinstance(event, SessionCreated):
            self._transcribed = event.session.models.asr is not None
        spoken = read_utterance(event, transcribed=self._transcribed)
        lines = []
        if spoken is not None:
            spoken = with_voice(spoken)
            self._shown.add(spoken)
            lines.append(plain_line(spoken))
        lines += self._shown.lines(event)
        self._out.writelines(f"{line}\n" for line in lines)
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


def with_voice(spoken: Utterance) -> Utterance:
    """Name whose voice an utterance is taken for, where a session tells voices apart."""
    emotion = spoken.emotion
    if emotion is None or not emotion.speaker_provisional:
        return spoken
    return msgspec.structs.replace(spoken, speaker=name_of(emotion))


class Shown:
    """Remember the last utterances that people have seen, to say whose they are after all."""

    def __init__(self) -> None:
        self._said: dict[str, Utterance] = {}

    def add(self, spoken: Utterance) -> None:
        """Remember an utterance, as it was shown."""
        self._said[spoken.item_id] = spoken
        if len(self._said) > _SHOWN:
            del self._said[next(iter(self._said))]

    def lines(self, event: Event) -> list[str]:
        """Follow an event; return what it changes or adds, in lines for people."""
        if isinstance(event, EmotionCompleted):
            return [part_line(part) for part in event.parts]
        if not isinstance(event, SpeakersChanged):
            return []
        lines = [f"after all: {old} is {new}" for old, new in event.renamed.items()]
        moved: dict[str, list[str]] = {}
        for item_id, before in self._said.items():
            spoken = self._said[item_id] = with_voice(attributed(before, event))
            names = dict.fromkeys(part.speaker or UNCERTAIN for part in spoken.parts)
            if spoken.speaker != event.renamed.get(before.speaker or "", before.speaker):
                who = " and ".join(names) or spoken.speaker or UNCERTAIN
                moved.setdefault(who, []).append(clock(spoken.start_ms))
        lines += [f"after all: {who} spoke at {listed(times)}" for who, times in moved.items()]
        return lines


def part_line(part: SpeakerPart) -> str:
    """Write what is read of one who speaks in an utterance beside others."""
    length = (part.end_ms - part.start_ms) / 1000
    who = f"    {part.speaker or UNCERTAIN}, {length:.1f} s of it"
    if part.emotion is None:
        return f"{who}: too short to be read"
    return f"{who}: {part.emotion.category} {part.emotion.confidence:.0%}  {_figures(part.emotion)}"


def _figures(emotion: EmotionBody | PartEmotion) -> str:
    dimensions = emotion.dimensions
    values = (f"{name[0].upper()} {signed(getattr(dimensions, name))}" for name in DIMENSIONS)
    return " ".join(values)


def plain_line(spoken: Utterance) -> str:
    """Write an utterance without colour or layout."""
    span = f"{clock(spoken.start_ms)}-{clock(spoken.end_ms)}"
    if spoken.speaker:
        span = f"{span}  {spoken.speaker}"
    if spoken.emotion is None:
        return f"{span}  not analysed: {spoken.fault}"
    emotion = spoken.emotion
    parts = [span, f"{emotion.category} {emotion.confidence:.0%}", _figures(emotion)]
    if spoken.lag_ms is not None:
        parts.append(f"{spoken.lag_ms:.0f} ms")
    if spoken.transcript:
        parts.append(spoken.transcript)
    return "  ".join(parts)


class RecordSink:
    """Write ``session.jsonl``, each event as it happens, and ``audio.flac``.

    Raises ``ConfigError`` where the folder holds a session already or cannot be made. A fault
    later on (disk full) ends the one file it concerns with one line, and ``complete`` turns
    false; the other file and the session go on. Of a session that never began nothing is left
    behind. What people say is theirs: a new folder and its files are for their owner's eyes
    only.
    """

    def __init__(self, folder: Path) -> None:
        from streamser.audio.output import FlacRecorder

        events, sound = folder / "session.jsonl", folder / "audio.flac"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if sound.exists() or sound.is_symlink():
                raise FileExistsError
            self._events = EventLog(events)
        except FileExistsError:
            held = "holds a session already" if folder.is_dir() else "is not a folder"
            raise ConfigError(f"--record {folder}: it {held}; name another folder.") from None
        except OSError as error:
            raise ConfigError(f"--record {folder}: {error.strerror or error}.") from None
        try:
            self._sound = FlacRecorder(sound)
        except StreamserError:
            self._events.close()
            events.unlink()
            raise
        self._files = (events, sound)
        self._begun = False
        self._writes_events = self._writes_sound = True

    @property
    def complete(self) -> bool:
        """Tell whether both files hold all there was."""
        return self._writes_events and self._writes_sound

    def take(self, event: Event) -> None:
        """Write an event."""
        self._begun = True
        if self._writes_events:
            try:
                self._events.write(line_of(event, round(time.time() * 1000)))
            except OSError as error:
                self._stop_events(error)

    def hear(self, samples: Samples) -> None:
        """Write sound."""
        if self._writes_sound:
            try:
                self._sound.write(samples)
            except StreamserError as error:
                self._stop_sound(error)

    def close(self) -> None:
        """Finish both files."""
        try:
            self._events.close()
        except OSError as error:
            self._stop_events(error)
        try:
            self._sound.close()
        except StreamserError as error:
            self._stop_sound(error)
        for file in () if self._begun else self._files:
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def _stop_events(self, error: OSError) -> None:
        if self._writes_events:
            self._writes_events = False
            warn(f"the recording is not complete: {self._files[0]}: {error.strerror or error}")

    def _stop_sound(self, error: StreamserError) -> None:
        if self._writes_sound:
            self._writes_sound = False
            warn(f"the recording is not complete: {error}")


class PluggedSinks:
    """Hand every event to sinks that are plug-ins."""

    def __init__(self, threads: Sequence[SinkThread]) -> None:
        self._threads = threads

    @property
    def names(self) -> list[str]:
        """Return which plug-ins they are."""
        return [thread.sink_name for thread in self._threads]

    @property
    def complete(self) -> bool:
        """Return whether every sink has taken every event so far, or may still."""
        return all(thread.complete for thread in self._threads)

    def take(self, event: Event) -> None:
        """Take the next event."""
        if self._threads:
            self._put(encode_event(event))

    def deliver(self, letter: EncodedEvent) -> None:
        """Take an event as a server's hub gives it."""
        self._put(letter.bodies[0])

    def hear(self, samples: Samples) -> None:
        """Need no sound."""

    def close(self) -> None:
        """Let the sinks take what is left, and close them; a second time do nothing."""
        for thread in self._threads:
            thread.close()

    def _put(self, body: bytes) -> None:
        for thread in self._threads:
            thread.put(body)


@contextmanager
def plugged_sinks(values: Sequence[str] | None, *, patient: bool = False) -> Iterator[PluggedSinks]:
    """Make the sinks that ``--sink`` names, and close them when the block ends.

    ``patient``: nothing is live, so slow ones are waited for. Raises ``ConfigError`` for a
    name that no plug-in has, ``ModelError`` where one cannot be made.
    """
    threads = []
    with ExitStack() as stack:
        for value in values or ():
            thread = _opened(value, patient)
            stack.callback(thread.close)
            threads.append(thread)
        yield PluggedSinks(threads)


def _opened(value: str, patient: bool) -> SinkThread:
    from streamser.export.sink_thread import SinkThread
    from streamser.plugins import SINKS, check_made, make

    name, _, argument = value.partition("=")
    if not name.strip():
        raise ConfigError(f"--sink {value}: write it as NAME or NAME=ARGUMENT.")
    sink = make(SINKS, name, argument)
    check_made(SINKS, name, sink, {"take": None, "close": None})
    return SinkThread(name, sink, warn, patient=patient)


class ReportSink:
    """Gather the events of a session, and write its report at the end: no sound is in it.

    On a terminal it is opened in the browser. Of a session that never began there is none. A
    fault costs one line, and ``complete`` turns false.
    """

    def __init__(self, path: Path) -> None:
        from streamser.export.gather import Gatherer

        self.complete = True
        self._path = path
        self._gatherer = Gatherer()
        self._begun = False

    def take(self, event: Event) -> None:
        """Take the next event."""
        from streamser.export.gather import LineStamp

        began = round(time.time() * 1000) if isinstance(event, SessionCreated) else None
        self._gatherer.collect(event, LineStamp(unix_ms=began))
        self._begun = True

    def hear(self, samples: Samples) -> None:
        """Need no sound."""

    def close(self) -> None:
        """Write the report."""
        if not self._begun:
            return
        from streamser.export.formats import save
        from streamser.report.figures import figures_of
        from streamser.report.page import render_page

        try:
            # Several sessions here are one stream whose server was restarted.
            recording = self._gatherer.recording()
            figures = figures_of(recording, one_clock=True, title=self._path.stem)
            save(render_page(figures, []), self._path)
        except (OSError, StreamserError) as error:
            self.complete = False
            warn(f"--report {self._path}: {getattr(error, 'strerror', None) or error}")
            return
        tell(f"Written: {self._path}.")
        if sys.stdout.isatty():
            import webbrowser

            webbrowser.open(self._path.absolute().as_uri())
