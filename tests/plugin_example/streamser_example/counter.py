"""A transcriber that cannot hear, but can count: it says how long each utterance is."""

from __future__ import annotations

from collections.abc import Sequence

from streamser.audio.clip import SAMPLE_RATE, Clip
from streamser.settings import AsrSettings
from streamser.speech.transcriber import Transcript

__all__ = ["Counter"]


class Counter:
    """Say "about N seconds" of each clip."""

    name = "example/counter"
    batches = False  # clips cost as much together as one after another

    def __init__(self, settings: AsrSettings, *, offline: bool) -> None:
        # A real one loads its model here: settings.model, settings.language, settings.device.
        self._language = settings.language or "en"

    def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
        """Return a transcript for each clip, in order; never called from two threads."""
        return [self._heard(clip) for clip in clips]

    def forget(self, session_id: str) -> None:
        """Forget nothing: nothing is kept of a session."""

    def _heard(self, clip: Clip) -> Transcript:
        seconds = len(clip.samples) / SAMPLE_RATE
        return Transcript(f"about {seconds:.0f} seconds", language=self._language, confidence=1.0)
