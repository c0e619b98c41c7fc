"""Keep a session in a folder: its events as JSON lines and its sound as FLAC."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from streamser.cli.talk import warn
from streamser.errors import ConfigError, StreamserError
from streamser.events import Event
from streamser.export.log import EventLog, line_of

if TYPE_CHECKING:
    from streamser.audio.clip import Samples

__all__ = ["Recording"]


class Recording:
    """Write ``session.jsonl``, each event as it happens, and ``audio.flac``.

    Raises ``ConfigError`` where the folder holds a session already or cannot be made. A fault
    later on (disk full) stops the recording with one line and ``complete`` turns false; the
    session goes on. Of a session that never began nothing is left behind. What people say is
    theirs: a new folder and its files are for their owner's eyes only.
    """

    def __init__(self, folder: Path) -> None:
        from streamser.audio.recorder import FlacRecorder

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
        self.complete = True

    def take(self, event: Event) -> None:
        """Write an event."""
        self._begun = True
        if not self.complete:
            return
        try:
            self._events.write(line_of(event, round(time.time() * 1000)))
        except OSError as error:
            self._stop(f"session.jsonl: {error.strerror or error}")

    def hear(self, samples: Samples) -> None:
        """Write sound."""
        if self.complete:
            try:
                self._sound.write(samples)
            except StreamserError as error:
                self._stop(str(error))

    def close(self) -> None:
        """Finish both files."""
        for finish in (self._events.close, self._sound.close, self._tidy):
            try:
                finish()
            except (OSError, StreamserError) as error:
                self._stop(str(error))

    def _tidy(self) -> None:
        for file in () if self._begun else self._files:
            file.unlink(missing_ok=True)

    def _stop(self, why: str) -> None:
        if self.complete:
            self.complete = False
            warn(f"the recording is not complete: {why}")
