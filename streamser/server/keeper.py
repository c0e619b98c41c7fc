"""Keep what the sessions of a server leave: a file of events each, and formats made of it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from streamser.errors import StreamserError
from streamser.events import SessionClosed, SessionCreated
from streamser.export.formats import ExportFormat, render, save
from streamser.export.log import EventLog
from streamser.export.read import read_recording
from streamser.server.backlog import Letter

__all__ = ["Keeper"]

_CREATED = str(SessionCreated.__struct_config__.tag)
_CLOSED = str(SessionClosed.__struct_config__.tag)


class _Kind(msgspec.Struct, frozen=True):
    type: str


class Keeper:
    """Write each session's events to ``TIME_SESSION.jsonl`` as they come, on a thread of its own.

    When a session is over, the other ``formats`` are made of its file, which stays in any
    case: it is all that a killed server leaves. A fault (disk full) costs one line and the
    rest of that session's files. ``folder`` is made, for its owner's eyes only; raises
    ``OSError`` where it cannot be.
    """

    def __init__(
        self, folder: Path, formats: Sequence[ExportFormat], tell: Callable[[str], None]
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._formats = [form for form in formats if form is not ExportFormat.JSONL]
        self._tell = tell
        self._letters: queue.SimpleQueue[Letter | None] = queue.SimpleQueue()
        self._logs: dict[str, EventLog] = {}
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def deliver(self, letter: Letter) -> None:
        """Take an event, as the hub gives it; never waits."""
        self._letters.put(letter)

    def close(self) -> None:
        """Wait until all that was delivered is written, and finish what is open."""
        self._letters.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (letter := self._letters.get()) is not None:
            # What is told of a meeting is no session's; it follows from those.
            if letter.session_id:
                self._keep(letter)
        for session_id in list(self._logs):
            self._finish(session_id)

    def _keep(self, letter: Letter) -> None:
        session_id = letter.session_id
        line = letter.bodies[0]
        kind = msgspec.json.decode(line, type=_Kind).type
        try:
            if kind == _CREATED:
                now = time.time()
                at = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
                self._logs[session_id] = EventLog(self._folder / f"{at}_{session_id}.jsonl")
                line = b'%b,"unix_ms":%d}' % (line[:-1], round(now * 1000))
            if session_id in self._logs:
                self._logs[session_id].write(line + b"\n")
        except OSError as error:
            self._give_up(session_id, error)
        if kind == _CLOSED:
            self._finish(session_id)

    def _finish(self, session_id: str) -> None:
        log = self._logs.pop(session_id, None)
        if log is None:
            return
        log.close()
        try:
            recording = read_recording(log.path) if self._formats else None
            for form in self._formats:
                assert recording is not None
                made = render(form, recording)
                save(made, log.path.with_suffix(form.ending), private=True)
        except (OSError, StreamserError) as error:
            self._give_up(session_id, error)

    def _give_up(self, session_id: str, error: OSError | StreamserError) -> None:
        log = self._logs.pop(session_id, None)
        if log is not None:
            log.close()
        why = getattr(error, "strerror", None) or error
        self._tell(f"what {session_id} leaves is not complete: {why}")
