"""A sink that keeps a diary: a line for each utterance, in a file."""

from __future__ import annotations

from pathlib import Path

from streamser.errors import ConfigError
from streamser.events import AnyEvent, EmotionCompleted

__all__ = ["Diary"]


class Diary:
    """Write to the file that `--sink diary=FILE` names."""

    def __init__(self, argument: str) -> None:
        if not argument:
            raise ConfigError("--sink diary: name its file: --sink diary=FILE.")
        self._file = Path(argument).open("a", encoding="utf-8")

    def take(self, event: AnyEvent) -> None:
        """Take every event as it comes; this may wait, as it is on a thread of its own."""
        if isinstance(event, EmotionCompleted):
            emotion = event.emotion
            who = emotion.speaker or "somebody"
            seconds = emotion.window.start_ms / 1000
            self._file.write(f"{seconds:.1f} s: {who} sounds {emotion.category}\n")
            self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
