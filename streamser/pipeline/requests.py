"""What crosses the wall between a session and the models: requests, and what comes of them."""

from __future__ import annotations

import logging
from typing import TypeAlias

import msgspec

from streamser.audio.clip import Clip, Samples
from streamser.emotion.frontend import HOP
from streamser.emotion.model import Features, Place
from streamser.emotion.tempo import Tempo
from streamser.errors import StreamserError
from streamser.speech.diarisation import VoiceWindow
from streamser.speech.transcriber import Transcript


class WordsRequest(msgspec.Struct, frozen=True, eq=False):
    """Ask for the words of a clip; answered by a ``Transcript``.

    ``id`` is unique within the session. A ``droppable`` request may be left out under pressure; one
    that is ``refusable`` fails where too many wait already; a ``suspect``, over which models may
    have been lost before, is run alone; one of the ``background`` when no other can be.
    """

    id: int
    clip: Clip
    droppable: bool
    refusable: bool = True
    suspect: bool = False
    background: bool = False


class EmotionRequest(msgspec.Struct, frozen=True, eq=False):
    """Ask for the emotion of a clip, and of its words as far as they are known: ``Observed``.

    ``window`` is the number of samples at the clip's end that emotion is read from at most.
    ``certainty`` is how sure the recogniser is of the ``text``, as in ``Transcript.confidence``.
    With ``embed`` what the voices sound like is asked for, too, with ``tempo`` how fast the whole
    clip is spoken. A ``part`` is of an utterance that is over: nothing is kept for it, which would
    take the place of what is kept for one that goes on. ``waited_s`` is how long a final that
    somebody waits for was in a queue. The rest is as in ``WordsRequest``.
    """

    id: int
    clip: Clip
    window: int
    droppable: bool
    refusable: bool = True
    suspect: bool = False
    background: bool = False
    text: str | None = None
    certainty: float | None = None
    embed: bool = False
    part: bool = False
    tempo: bool = False
    waited_s: float = 0.0

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

    @property
    def place(self) -> Place | None:
        """Return where what is heard is from; it grows until the utterance is over.

        The voice of a final may be left out, and is its whole reading where there are no words.
        """
        clip = self.clip
        if self.part:
            return None
        return Place(clip.session_id, clip.utterance, self.heard_from, growing=not clip.final)


Request: TypeAlias = WordsRequest | EmotionRequest


class Cancel(msgspec.Struct, frozen=True):
    """Take a request back: its result is of no more use to the session."""

    session_id: str
    request_id: int


UNCERTAIN = 0.3
"""Share of an utterance in which two speak at once, from which on it is nobody's."""


class Observed(msgspec.Struct, frozen=True, eq=False):
    """Hold what an emotion model found in a clip, for a model of its speaker to judge.

    ``voices`` are those of its windows that could be described; ``None``: nobody asked for them.
    ``overlap`` is the share of the clip in which two speak at once, [0, 1], ``tempo`` how fast it
    is spoken, where that was asked for and it is long enough to say.
    """

    features: Features
    voices: tuple[VoiceWindow, ...] | None = None
    overlap: float = 0.0
    tempo: Tempo | None = None


class Fault(msgspec.Struct, frozen=True):
    """Say why a request has no result: a code for programs and a line for people."""

    code: str
    message: str


class Skipped(msgspec.Struct, frozen=True):
    """Say that a droppable request was left out.

    ``reason`` is ``"coalesced"`` (a newer one took its place before it began) or ``"full"``
    (too many were waiting).
    """

    reason: str


Outcome: TypeAlias = Transcript | Observed | Fault | Skipped


logger = logging.getLogger(__name__)


def fault_of(error: Exception) -> Fault:
    """Turn an exception into the fault of a request; one that nobody foresaw is logged."""
    if isinstance(error, StreamserError):
        return Fault(error.code, str(error))
    logger.error("a request failed", exc_info=error)
    code = "out_of_memory" if memory_ran_out(error) else "internal_error"
    return Fault(code, f"{type(error).__name__}: {error}")


def memory_ran_out(error: Exception) -> bool:
    """Return whether an exception says that there was no memory, of whichever device."""
    return isinstance(error, MemoryError) or "out of memory" in str(error).lower()
