"""What every recogniser looks like from outside, and its words in plain types."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Final, Protocol

import msgspec

from streamser.audio.clip import SAMPLE_RATE, Clip
from streamser.errors import ModelError

__all__ = ["Transcriber", "Transcript", "Word", "plain_transcript"]


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
    or fused (see ``streamser.speech.hypothesis``).
    """

    text: str
    words: tuple[Word, ...] = ()
    language: str | None = None
    confidence: float | None = None
    no_speech: float | None = None
    avg_logprob: float | None = None
    distrust: str = ""


class Transcriber(Protocol):
    """Turn clips into text; lives on the worker thread and is never called from two threads.

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


_SIGNS_A_SECOND: Final = 100
"""Nobody speaks half as fast; what loops is caught elsewhere, and this before it."""
_SIGNS: Final = 1000
"""So many are no fault however short a clip is."""


def plain_transcript(heard: Any, clip: Clip, name: str) -> Transcript:
    """Return what a recogniser ``name`` heard in a clip, with nothing in it that cannot be written.

    Halves of surrogate pairs become question marks, and numbers plain ones. Raises ``ModelError``
    for what is no transcript, or longer than anybody speaks.
    """
    if not isinstance(heard, Transcript):
        raise ModelError(f"{name}: transcribe() gave {type(heard).__name__}, not a Transcript")
    most = _SIGNS + _SIGNS_A_SECOND * len(clip.samples) // SAMPLE_RATE
    words = heard.words
    if not isinstance(words, tuple | list) or not all(isinstance(word, Word) for word in words):
        raise ModelError(f"{name}: words are Words, in a tuple")
    for text in (heard.text, *(word.text for word in words)):
        if not isinstance(text, str):
            raise ModelError(f"{name}: a text is {type(text).__name__}, not str")
    if max(len(heard.text), sum(len(word.text) for word in words)) > most:
        seconds = len(clip.samples) / SAMPLE_RATE
        raise ModelError(f"{name}: more than {most} letters for {seconds:.1f} s of speech")
    return Transcript(
        text=_writable(heard.text),
        words=tuple(_plain_word(word, name) for word in words),
        language=None if heard.language is None else _writable(str(heard.language)),
        confidence=_number(heard.confidence, "confidence", name),
        no_speech=_number(heard.no_speech, "no_speech", name),
        avg_logprob=_number(heard.avg_logprob, "avg_logprob", name),
        distrust=_writable(str(heard.distrust or "")),
    )


def _plain_word(word: Word, name: str) -> Word:
    start, end = (_number(place, "a word's place", name) for place in (word.start, word.end))
    if start is None or end is None:
        raise ModelError(f"{name}: a word's place is a sample")
    confidence = _number(word.confidence, "a word's confidence", name)
    return Word(_writable(word.text), round(start), round(end), confidence)


def _number(value: Any, what: str, name: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, Real):
        raise ModelError(f"{name}: {what} is {type(value).__name__}, not a number")
    # What is none, as a mean of nothing, says nothing.
    return float(value) if math.isfinite(value) else None


def _writable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
