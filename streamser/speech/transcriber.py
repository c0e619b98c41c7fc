"""What every recogniser looks like from outside, and what of its words is taken.

A plug-in's words may be anything, and events are written: ``plain_transcript``. And recognisers
write fluent nonsense over silence and noise: ``guarded``. The quantities are those of OpenAI's
Whisper (Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", §4.5,
and its ``transcribe``): the no-speech probability and the mean log-probability. The limits were
chosen by ``tools.measure_guards`` (docs/guards.md). A loop is sure of itself, and so is who says
"no, no, no, no, no!": repetition alone proves nothing, unless it is more than can be said in the
time. None of the guards knows a language.

Which language is spoken a recogniser guesses of each utterance by itself. Of less than a second it
often guesses wrong, but then it is not sure (``tools.measure_language``). So guesses are added up
as log-probabilities, each weighted by its seconds of sound (``LanguageMemory``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from numbers import Real
from typing import Any, Final, Protocol

import msgspec
import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples
from streamser.errors import ConfigError, ModelError
from streamser.speech.hypothesis import (
    find_loops,
    is_ideograph,
    kept_words,
    letters_of,
    units,
    without,
)


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


def said_within(transcript: Transcript, start: int, end: int) -> str | None:
    """Return the words whose middle lies from sample ``start`` to just before ``end``.

    As the text has them, with what stands between. ``None`` where there are none, or words have
    no times, or are not those of the text.
    """
    first = last = place = 0
    for word in transcript.words:
        found = transcript.text.find(word.text, place)
        if found < 0:
            return None
        place = found + len(word.text)
        if start <= (word.start + word.end) // 2 < end:
            first, last = (first if last else found), place
    return transcript.text[first:last] or None


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


_LOUDNESS_WINDOW = SAMPLE_RATE // 10


class GuardLimits(msgspec.Struct, frozen=True):
    """Say where distrust begins.

    ``min_dbfs``: RMS of the loudest 100 ms, in dB re full scale (a full-scale square wave is
    0 dB). Quiet speech into a poorly set microphone is around -50; 16-bit hiss is below -65.

    How sure a recogniser must be of a text, as the mean log-probability of its tokens, depends on
    its no-speech probability. Up to ``clear_no_speech`` somebody speaks, and ``clear_logprob`` will
    do (laughter, single words); then, or where there is no such probability, ``min_logprob``. From
    ``max_no_speech`` on that rises evenly, to ``no_speech_logprob`` at ``sure_no_speech``: larger
    models put real words of a second at .6 to .7, and none puts noise that it is sure of there.
    What is said four times or more in a row must be ``loop_logprob`` wherever it is not clear that
    somebody speaks.

    The three rates bound what a mouth can do. Fast English is 5 words or 25 letters a second;
    letters are counted for scripts without spaces, and Han characters and kana apart, for
    each stands for a syllable or more and nobody speaks 15 syllables a second. A clip shorter
    than ``min_seconds`` is judged as if it lasted that long.
    """

    min_dbfs: float = -60.0
    clear_no_speech: float = 0.35
    max_no_speech: float = 0.6
    sure_no_speech: float = 0.85
    clear_logprob: float = -1.3
    min_logprob: float = -1.0
    no_speech_logprob: float = -0.5
    loop_logprob: float = -0.75
    max_words_per_second: float = 10.0
    max_letters_per_second: float = 50.0
    max_ideographs_per_second: float = 15.0
    min_seconds: float = 0.3


_DEFAULTS = GuardLimits()


def guarded(transcript: Transcript, clip: Clip, limits: GuardLimits = _DEFAULTS) -> Transcript:
    """Return the transcript with ``distrust`` filled in, or without the loops in its text.

    Of a loop only the repetitions go: its first phrase stays, and what stands before and behind
    it. Where all of the text is a loop, it stays only if it seems that somebody speaks.
    """
    text = transcript.text.strip()
    if not text:
        return transcript
    if reason := _doubt(transcript, clip, limits):
        return replace(transcript, distrust=reason)
    seconds = len(clip.samples) / SAMPLE_RATE
    unsure = _unsure_of_loops(transcript, limits)
    parts = units(text)
    loops = find_loops(parts, lambda loop: unsure or loop.seconds > seconds)
    if loops:
        stays = without(parts, loops)
        looping = sum(loop.end - loop.start for loop in loops)
        text = "".join(part for part, stay in zip(parts, stays, strict=True) if stay).strip()
        no_speech = transcript.no_speech
        nobody = unsure or no_speech is None or no_speech > limits.max_no_speech
        if not text or (looping == len(parts) and nobody):
            return replace(transcript, distrust="repetitive")
        kept = kept_words([word.text for word in transcript.words], parts, stays)
        words = tuple(word for word, keep in zip(transcript.words, kept, strict=True) if keep)
        transcript = replace(transcript, text=text, words=words)
    return replace(transcript, distrust="too_fast" if _too_fast(text, seconds, limits) else "")


def distrust(transcript: Transcript, clip: Clip, limits: GuardLimits = _DEFAULTS) -> str:
    """Return why the text must not be believed, or an empty string.

    The first that applies of ``"too_quiet"``, ``"no_speech"``, ``"low_logprob"``,
    ``"repetitive"``, ``"too_fast"``. An empty text claims nothing and is never distrusted;
    what an engine does not report (``None``) is not held against it.
    """
    return guarded(transcript, clip, limits).distrust


def _doubt(transcript: Transcript, clip: Clip, limits: GuardLimits) -> str:
    """Return what speaks against a text whatever it says."""
    if loudest_dbfs(clip.samples) < limits.min_dbfs:
        return "too_quiet"
    no_speech, logprob = transcript.no_speech, transcript.avg_logprob
    nobody = no_speech is not None and no_speech > limits.max_no_speech
    if logprob is None:
        return "no_speech" if nobody else ""
    if logprob >= _least_logprob(transcript, limits):
        return ""
    return "no_speech" if nobody else "low_logprob"


def _least_logprob(transcript: Transcript, limits: GuardLimits) -> float:
    """Return how sure a recogniser must be of a text."""
    if _is_clear(transcript, limits):
        return limits.clear_logprob
    beyond = (transcript.no_speech or 0.0) - limits.max_no_speech
    share = min(1.0, max(0.0, beyond) / (limits.sure_no_speech - limits.max_no_speech))
    return limits.min_logprob + share * (limits.no_speech_logprob - limits.min_logprob)


def _is_clear(transcript: Transcript, limits: GuardLimits) -> bool:
    """Return whether the recogniser says that somebody speaks."""
    no_speech = transcript.no_speech
    return no_speech is not None and no_speech <= limits.clear_no_speech


def _unsure_of_loops(transcript: Transcript, limits: GuardLimits) -> bool:
    no_speech, logprob = transcript.no_speech, transcript.avg_logprob
    if no_speech is None or logprob is None:
        return False
    return no_speech > limits.clear_no_speech and logprob < limits.loop_logprob


def loudest_dbfs(samples: Samples) -> float:
    """Return the RMS of the loudest 100 ms (in steps of 50 ms) in dBFS; -inf for silence.

    Samples that are not finite count as silence.
    """
    power = np.square(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), dtype=np.float64)
    if not power.size:
        return float("-inf")
    sums = np.concatenate(([0.0], np.cumsum(power)))
    width = min(_LOUDNESS_WINDOW, power.size)
    starts = np.arange(0, power.size - width + 1, max(1, width // 2))
    loudest = float(np.max(sums[starts + width] - sums[starts])) / width
    return 10.0 * float(np.log10(loudest)) if loudest > 0.0 else float("-inf")


def _too_fast(text: str, seconds: float, limits: GuardLimits) -> bool:
    seconds = max(seconds, limits.min_seconds)
    letters = letters_of(text)
    ideographs = sum(map(is_ideograph, letters))
    return (
        len(text.split()) > limits.max_words_per_second * seconds
        or len(letters) - ideographs > limits.max_letters_per_second * seconds
        or ideographs > limits.max_ideographs_per_second * seconds
    )


_LEAST = 1e-3
"""Probability below which languages are all the same: no guess says more against one than that."""
_LONGEST_S = 8.0
_PAST_S = 1.5
"""Seconds of sound that the whole past counts as: a clear utterance of 2 s outweighs it."""
_HALF_LIFE_S = 4.0
"""Seconds of later sound after which a guess counts half."""
_REACH = 32
"""Utterances back that are looked at."""
_ALIASES = {
    "cmn": "zh",
    "fil": "tl",
    "in": "id",
    "iw": "he",
    "ji": "yi",
    "jv": "jw",
    "nb": "no",
}
"""Codes of today and of old for what Whisper calls otherwise."""
_LONGEST_CODE = 40
_FEW = 5
"""So many languages are not listed any more in a message."""


class Guess(msgspec.Struct, frozen=True):
    """Hold what a recogniser thinks of one utterance: seconds of sound, probability by code."""

    seconds: float
    chances: Mapping[str, float]


class LanguageMemory:
    """Judge the language of utterances in the light of those before them in their session.

    What is said of an utterance follows from its own guess and from the last ones noted for
    earlier utterances alone: not from when, in what company or how often any was asked for.
    """

    def __init__(self) -> None:
        self._noted: dict[str, dict[int, Guess]] = {}

    def note(self, session_id: str, utterance: int, guess: Guess) -> None:
        """Keep the guess about a finished utterance; one that was noted before is replaced."""
        noted = self._noted.setdefault(session_id, {})
        noted[utterance] = guess
        for old in [number for number in noted if number < utterance - 2 * _REACH]:
            del noted[old]

    def judge(self, session_id: str, utterance: int, own: Guess) -> str:
        """Return the likeliest language; raises ``ValueError`` for a guess of no language."""
        noted = self._noted.get(session_id, {})
        numbers = range(utterance - 1, max(0, utterance - 1 - _REACH), -1)
        past = [noted[number] for number in numbers if number in noted]
        codes = sorted({code for guess in (own, *past) for code in guess.chances})
        before = _summed(past, codes)
        weight = min(_LONGEST_S, own.seconds)
        return max(
            codes,
            key=lambda code: (
                weight * _log(own.chances.get(code, 0.0)) + before[code],
                own.chances.get(code, 0.0),
            ),
        )

    def forget(self, session_id: str) -> None:
        """Drop what was noted of a session; unknown ones are ignored."""
        self._noted.pop(session_id, None)


def base_language(code: str) -> str | None:
    """Return the language of a code, without region or script: ``"de"`` for ``"de-DE"``.

    ``None`` where the code asks for detection: an empty one, ``"auto"``, and Deepgram's
    ``"multi"``. Raises ``ConfigError`` for what is no code.
    """
    language = code.strip().replace("_", "-").partition("-")[0].lower()
    if language in ("", "auto", "multi"):
        return None
    if not (language.isascii() and language.isalpha() and 2 <= len(language) <= 3):
        raise ConfigError(
            f"language is a code such as en, de or pt-BR, not {code[:_LONGEST_CODE]!r}",
            code="unsupported_language",
        )
    return _ALIASES.get(language, language)


def known_language(code: str | None, known: Collection[str] | None, model: str) -> str | None:
    """Return the language that a code asks for, ``None`` for whichever is spoken.

    ``known`` are the languages of the model, which is named in messages; ``None`` where it does
    not say. Raises ``ConfigError`` with the code ``unsupported_language`` for another one.
    """
    language = None if code is None else base_language(code)
    if language is None or known is None or language in known:
        return language
    names = "English" if set(known) == {"en"} else ", ".join(sorted(known))
    why = f"knows only {names}" if len(known) < _FEW else "does not know it"
    raise ConfigError(
        f"language {language!r} cannot be recognised, {model} {why}: leave the language out, or"
        " choose a model that knows it",
        code="unsupported_language",
    )


def _summed(past: Sequence[Guess], codes: Sequence[str]) -> dict[str, float]:
    """Add up guesses, the latest first: log-probabilities as of at most ``_PAST_S`` seconds."""
    sums, weights, later = dict.fromkeys(codes, 0.0), 0.0, 0.0
    for guess in past:
        seconds = min(_LONGEST_S, guess.seconds)
        weight = seconds * 0.5 ** (later / _HALF_LIFE_S)
        weights += weight
        later += seconds
        for code in codes:
            sums[code] += weight * _log(guess.chances.get(code, 0.0))
    scale = min(1.0, _PAST_S / weights) if weights else 0.0
    return {code: scale * total for code, total in sums.items()}


def _log(chance: float) -> float:
    return math.log(max(_LEAST, min(1.0, chance)))
