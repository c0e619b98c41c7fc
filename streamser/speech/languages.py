"""Which language is spoken: codes as clients write them, and what a session's past says.

A recogniser guesses the language of each utterance by itself. Of less than a second it often
guesses wrong, but then it is not sure (``tools.measure_language``). So guesses are added up as
log-probabilities, each weighted by its seconds of sound.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import msgspec

from streamser.errors import ConfigError

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
