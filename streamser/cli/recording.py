"""Keep a session in a folder: its events as JSON lines and its sound as FLAC."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamser.cli.talk import warn
from streamser.errors import ConfigError, StreamserError
from streamser.events import Event, encode_event

if TYPE_CHECKING:
    from streamser.audio.clip import Samples

__all__ = ["Recording"]


class Recording:
    """Write ``session.jsonl``, each event as it happens, and ``audio.flac``.

    Raises ``ConfigError`` where the folder holds a session already or cannot be made. A fault
    later on (disk full) stops the recording with one line; the session goes on. Of a session
    that never began nothing is left behind.
    """

    def __init__(self, folder: Path) -> None:
        from streamser.audio.recorder import FlacRecorder

        events, sound = folder / "session.jsonl", folder / "audio.flac"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if sound.exists():
                raise FileExistsError
            self._events = events.open("xb")
        except FileExistsError:
            held = "holds a session already" if folder.is_dir() else "is not a folder"
            raise ConfigError(f"--record {folder}: it {held}; name another folder.") from None
        except OSError as error:
            raise ConfigError(f"--record {folder}: {error.strerror or error}.") from None
        self._sound = FlacRecorder(sound)
        self._files = (events, sound)
        self._begun = False
        self._stopped = False

    def take(self, event: Event) -> None:
        """Write an event."""
        self._begun = True
        try:
            self._events.write(encode_event(event) + b"\n")
            self._events.flush()
        except OSError as error:
            self._stop(f"session.jsonl: {error.strerror or error}")

    def hear(self, samples: Samples) -> None:
        """Write sound."""
        if not self._stopped:
            try:
                self._sound.write(samples)
            except StreamserError as error:
                self._stop(str(error))

    def close(self) -> None:
        """Finish both files."""
        try:
            self._events.close()
            self._sound.close()
            for file in () if self._begun else self._files:
                file.unlink()
        except (OSError, StreamserError) as error:
            self._stop(str(error))

    def _stop(self, why: str) -> None:
        if not self._stopped:
            self._stopped = True
            warn(f"the recording is not complete: {why}")
