"""Keep what the sessions of a server leave, and say so to those who are heard."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Final

import msgspec

from streamser.errors import describe
from streamser.events import SessionClosed, SessionCreated
from streamser.export.formats import EventLog, ExportFormat, began_at, kept_stem, render, save
from streamser.export.read import read_recording
from streamser.export.sink_thread import BoundedThread
from streamser.server.outgoing import EncodedEvent
from streamser.server.telemetry import log_loss
from streamser.settings import ServerSettings

_CREATED = str(SessionCreated.__struct_config__.tag)
_CLOSED = str(SessionClosed.__struct_config__.tag)

_MOST: Final = 10_000
"""Events that may wait for the disk: tens of MB, minutes of many streams."""
_PATIENCE_S: Final = 10.0
"""How long the disk may take nothing at the end, before what is left is given up."""


class _Kind(msgspec.Struct, frozen=True):
    type: str


class _Names(msgspec.Struct, frozen=True):
    meeting: str | None = None
    speaker: str | None = None


class _SessionStart(msgspec.Struct, frozen=True):
    session: _Names
    meeting: str | None = None


class SessionRecorder:
    """Write each session's events to a file of its own as they come, on a thread of its own.

    It is called ``TIME_MEETING_SPEAKER_SESSION.jsonl``, names made safe.
    When a session is over, the other ``formats`` are made of its file, which stays in any
    case: it is all that a killed server leaves. A fault of a file (disk full) costs one line
    and the rest of that session's files, a fault of a format that format alone. At most
    ``most`` events wait for the disk: from half of that on those that can be left out are, then
    all but the end of a session, and the session is told to be incomplete. ``count`` is told
    how many ``events`` and ``files`` are lost. ``close`` waits while the disk takes anything
    within ``patience_s``. ``folder`` is made, for its owner's eyes only;
    raises ``OSError`` where it cannot be.
    """

    def __init__(
        self,
        folder: Path,
        formats: Sequence[ExportFormat],
        tell: Callable[[str], None],
        count: Callable[[str, int], None] = lambda kind, number: None,
        *,
        most: int = _MOST,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._formats = [form for form in formats if form is not ExportFormat.JSONL]
        self._tell = tell
        self._count = count
        self._most = most
        self._logs: dict[str, EventLog] = {}
        self._missed: dict[str, int] = {}
        self._skipped: set[str] = set()
        self._reason: str | None = None
        self._thread = BoundedThread[EncodedEvent](
            "--export",
            self._write_event,
            self._finish_all,
            tell,
            patient=False,
            most=most,
            patience_s=patience_s,
        )

    @property
    def waiting(self) -> int:
        """Return how many events wait for the disk."""
        return self._thread.waiting

    @property
    def incomplete(self) -> str | None:
        """Return why something is not kept that should be, first of all; ``None`` where all is."""
        if self._reason is None and not self._thread.complete:
            return "the disk is too slow, or hangs"
        return self._reason

    def deliver(self, event: EncodedEvent) -> None:
        """Take an event, as the hub gives it; never waits."""
        session_id = event.session_id
        # What is told of a meeting is no session's; it follows from those.
        if not session_id:
            return
        if self._thread.over:
            self._count("events", 1)
        elif session_id in self._skipped:
            self._count("events", 1)
            if _kind(event) == _CLOSED:
                self._skipped.discard(session_id)
        elif event.droppable and self._thread.waiting >= self._most // 2:
            self._miss(session_id)
        elif not self._thread.put(event):
            self._refuse(event)

    def remove_older(self, days: float, now_s: float | None = None) -> int:
        """Remove what is left of sessions that began ``days`` before ``now_s``; return how many.

        Of the folder only files that are called as kept ones are, and none that is still
        written. May be called on any thread; a fault is told.
        """
        limit = (time.time() if now_s is None else now_s) - days * 86_400
        written = {log.path.stem for log in list(self._logs.values())}
        removed = set()
        faults: list[OSError] = []
        try:
            paths = list(self._folder.iterdir())
        except OSError as error:
            paths, faults = [], [error]
        for path in paths:
            began = began_at(path)
            if began is None or began >= limit or path.stem in written:
                continue
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                removed.add(path.stem)
            except OSError as error:
                # The others are to go all the same.
                faults.append(error)
        if faults:
            self._tell(f"--keep-days: what is older may still be there: {describe(faults[0])}")
        return len(removed)

    def close(self) -> None:
        """Wait until all that was delivered is written, and finish what is open."""
        self._thread.close()
        if self._reason is None and not self._thread.complete:
            self._reason = "the disk takes nothing any more"

    def _refuse(self, event: EncodedEvent) -> None:
        kind = _kind(event)
        if kind == _CLOSED:
            # Its file is open, and must be closed: these are not more than there are sessions.
            self._thread.put(event, in_any_case=True)
        elif kind == _CREATED:
            self._skipped.add(event.session_id)
            self._report(event.session_id, "the disk is too slow: nothing of it is kept")
            self._count("events", 1)
        else:
            self._miss(event.session_id)

    def _miss(self, session_id: str) -> None:
        self._missed[session_id] = self._missed.get(session_id, 0) + 1
        self._count("events", 1)

    def _finish_all(self) -> None:
        for session_id in list(self._logs):
            self._finish(session_id)
            self._thread.note_progress()

    def _write_event(self, event: EncodedEvent) -> None:
        session_id = event.session_id
        line = event.bodies[0]
        kind = _kind(event)
        try:
            if kind == _CREATED:
                now = time.time()
                begins = msgspec.json.decode(line, type=_SessionStart)
                meeting = begins.session.meeting or begins.meeting
                stem = kept_stem(now, meeting, begins.session.speaker, session_id)
                self._logs[session_id] = EventLog(self._folder / f"{stem}.jsonl")
                line = b'%b,"unix_ms":%d}' % (line[:-1], round(now * 1000))
            if session_id in self._logs:
                self._logs[session_id].write(line + b"\n")
        except Exception as error:
            self._give_up(session_id, error)
        if kind == _CLOSED:
            self._finish(session_id)

    def _finish(self, session_id: str) -> None:
        missed = self._missed.pop(session_id, 0)
        log = self._logs.pop(session_id, None)
        if log is None:
            return
        if missed:
            self._report(session_id, f"{missed} events are left out, as the disk is too slow")
        try:
            log.close()
            recording = read_recording(log.path) if self._formats else None
        except Exception as error:
            self._give_up(session_id, error)
            return
        for form in self._formats:
            assert recording is not None
            try:
                made = render(form, recording)
                save(made, log.path.with_suffix(form.ending))
            except OSError as error:
                self._give_up(session_id, error)
                return
            except Exception as error:
                # A fault of this format alone; and what it says may quote what people said.
                self._give_up(session_id, error, f"no {form.value}: ")

    def _give_up(self, session_id: str, error: Exception, what: str = "") -> None:
        log = self._logs.pop(session_id, None)
        if log is not None:
            with suppress(OSError):
                log.close()
        self._report(session_id, f"{what}{describe(error)}")
        self._count("files", 1)

    def _report(self, session_id: str, why: str) -> None:
        if self._reason is None:
            self._reason = why
        self._tell(f"what {session_id} leaves is not complete: {why}")
        log_loss("export_incomplete", session=session_id, reason=why)


def _kind(event: EncodedEvent) -> str:
    return msgspec.json.decode(event.bodies[0], type=_Kind).type


class Retention(msgspec.Struct, frozen=True):
    """Say in a sentence each what becomes of words and readings, and how long they stay."""

    what: str
    how_long: str


def kept_in_files(formats: Sequence[str], days: int | None) -> Retention:
    """Say that the events of sessions are kept in files of the server."""
    kinds = ", ".join(dict.fromkeys(("jsonl", *formats)))
    return Retention(
        f"This server writes words and readings, with your name and the meeting's, into files on"
        f" its own disk ({kinds}).",
        "They stay until its operator removes them."
        if days is None
        else f"It removes them {days} {'day' if days == 1 else 'days'} after a session began.",
    )


def shared_by_redis(keep_s: int) -> Retention:
    """Say that several servers share what is told of a meeting."""
    return Retention(
        "This server shares words and readings, with your name and the meeting’s, and what is usual"
        " for each speaker, with others by way of a database (Redis).",
        f"They are gone {keep_s} s after the meeting’s last event.",
    )


def given_to_plugin(name: str) -> Retention:
    """Say that a plug-in gets all events."""
    return Retention(
        f"This server hands words and readings to its extension “{name}”.",
        "What that keeps, where and how long, is up to that: ask its operator.",
    )


def retention_html(own: ServerSettings, kept: Sequence[Retention]) -> str:
    """Return the points of the page on what is kept, and on the operator, as HTML."""
    memory = "in the server’s memory until newer ones take their place or it stops"
    points = [
        (
            "No sound is stored",
            f"by the server itself. Words and readings stay {memory}, and in this page until you"
            " leave it.",
        ),
        (
            "Voiceprints are made",
            "only where the voices at one microphone are told apart. They are biometric data: they"
            " stay in memory, are gone with the session, and at once if it is told to forget them.",
        ),
    ]
    points += [("What is kept:", f"{each.what} {each.how_long}") for each in kept]
    points += [
        (title, text)
        for title, text in (
            ("What it is for:", own.purpose),
            ("Who is responsible:", own.responsible),
            ("Whom to ask:", own.contact),
        )
        if text
    ]
    return "\n          ".join(
        f"<li><strong>{escape(title)}</strong> {escape(text)}</li>" for title, text in points
    )
