"""What every speech recogniser of the program looks like from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from streamser.audio.clip import Clip

__all__ = ["Transcriber", "Transcript", "Word"]


class Word(msgspec.Struct, frozen=True):
    """Hold one word; ``start`` and ``end`` are absolute samples of the session."""

    text: str
    start: int
    end: int
    confidence: float | None = None


class Transcript(msgspec.Struct, frozen=True):
    """Hold what a recogniser heard in one clip.

    ``confidence`` is in [0, 1]; ``no_speech`` is the recogniser's probability that nobody
    spoke; ``avg_logprob`` is the mean log-probability of the tokens. ``None`` means that the
    engine does not say. ``distrust`` is empty, or the reason why ``text`` must not be shown
    or fused (see ``streamser.speech.guards``).
    """

    text: str
    words: tuple[Word, ...] = ()
    language: str | None = None
    confidence: float | None = None
    no_speech: float | None = None
    avg_logprob: float | None = None
    distrust: str = ""


class Transcriber(Protocol):
    """Turn clips into text; lives on the device thread and is never called from two threads.

    The result for a clip does not depend on the other clips of the batch. One that knows certain
    languages only may say so: ``languages``, a frozenset of codes such as ``"de"``; a client that
    asks for another is then refused. A clip's own ``language`` comes before the settings'.
    """

    name: str
    """Engine and model, as events report it: ``"faster-whisper/tiny"``."""
    batches: bool
    """Whether clips cost less together than one after another; else none waits for another."""

    def transcribe(self, clips: Sequence[Clip]) -> list[Transcript]:
        """Recognise clips of one or many sessions; one transcript per clip, in order."""
        ...

    def forget(self, session_id: str) -> None:
        """Drop whatever is kept for a session that has ended; unknown ids are ignored."""
        ...
