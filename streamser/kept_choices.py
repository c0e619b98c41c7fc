"""Choices that a measured time decided, kept so that every later start decides alike."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import msgspec

__all__ = ["KeptChoices", "choices_file"]


def choices_file() -> Path:
    """Return the file in the user's cache folder that choices are kept in by default."""
    home = os.environ.get("XDG_CACHE_HOME")
    if not home and sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA")
    if not home:
        home = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    return Path(home).expanduser() / "streamser" / "choices.json"


class KeptChoices:
    """Keep what was chosen, by key, in a file of JSON.

    A file that is missing or cannot be read holds nothing; one that cannot be written keeps
    nothing, and whoever chooses has to choose again. Several processes may share it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, key: str) -> str | None:
        """Return what was chosen under a key, ``None`` where nothing was."""
        return self._read().get(key)

    def keep(self, key: str, choice: str) -> str:
        """Keep a choice; return the one that stands: what was kept before, if anything was."""
        choices = self._read()
        if key in choices:
            return choices[key]
        with contextlib.suppress(OSError):
            self._write(choices | {key: choice})
        return choice

    def _read(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=dict[str, str])
        except (OSError, msgspec.DecodeError):
            return {}

    def _write(self, choices: dict[str, str]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, written = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(choices)))
            # Readers see the old file or the new one, never a part.
            os.replace(written, self.path)
        except OSError:
            Path(written).unlink(missing_ok=True)
            raise
