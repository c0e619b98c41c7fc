"""What crosses the wall between a session and the device thread."""

from __future__ import annotations

import msgspec

from streamser.audio.clip import Clip, Samples
from streamser.emotion.frontend import HOP
from streamser.emotion.model import Finding
from streamser.speech.speakers import Voice
from streamser.speech.transcriber import Transcript

__all__ = ["Cancel", "Fault", "Job", "Outcome", "Result", "Skipped"]


class Job(msgspec.Struct, frozen=True, eq=False):
    """Ask for the words and the emotion of a clip.

    ``id`` is unique within the session. ``window`` is the number of samples at the clip's end
    that emotion is read from at most. A ``droppable`` job may be left out under pressure; one
    that is ``refusable`` fails where too many wait already. Without ``transcribe`` no words
    are asked for; with ``embed`` what the voice sounds like is, for a final.
    """

    id: int
    clip: Clip
    window: int
    droppable: bool
    refusable: bool = True
    transcribe: bool = True
    embed: bool = False

    @property
    def heard_from(self) -> int:
        """Return the absolute sample from which on emotion is read.

        A whole number of the front end's steps (16 ms) after the clip's first sample: windows
        of one utterance then share their frames, whatever they leave out.
        """
        left_out = max(0, len(self.clip.samples) - self.window)
        return self.clip.start + -(-left_out // HOP) * HOP

    @property
    def heard(self) -> Samples:
        """Return the samples that emotion is read from."""
        return self.clip.samples[self.heard_from - self.clip.start :]


class Cancel(msgspec.Struct, frozen=True):
    """Take a job back: its result is of no more use to the session."""

    session_id: str
    job_id: int


class Result(msgspec.Struct, frozen=True, eq=False):
    """Answer a job; ``transcript`` is ``None`` where nothing transcribes.

    So is ``voice`` where nobody asked for it, or it could not be described.
    """

    transcript: Transcript | None
    finding: Finding
    voice: Voice | None = None


class Fault(msgspec.Struct, frozen=True):
    """Say why a job has no result: a code for programs and a line for people."""

    code: str
    message: str


class Skipped(msgspec.Struct, frozen=True):
    """Say that a droppable job was left out.

    ``reason`` is ``"coalesced"`` (a newer one took its place before it began) or ``"full"``
    (too many were waiting).
    """

    reason: str


Outcome = Result | Fault | Skipped
