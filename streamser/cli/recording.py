"""Keep a session in a folder: its events as JSON lines and its sound as FLAC."""

from __future__ import annotations

import time
from contextlib import suppress
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
    later on (disk full) ends the one file it concerns with one line, and ``complete`` turns
    false; the other file and the session go on. Of a session that never began nothing is left
    behind. What people say is theirs: a new folder and its files are for their owner's eyes
    only.
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
