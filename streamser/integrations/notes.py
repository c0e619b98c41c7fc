"""What an agent's language model is told of how its user sounded.

The form is that of Pipecat's Real-time Context Standard 0.1, a note at the head of what the user
said: ``([emotion happy=0.62, neutral=0.30],[arousal value=0.34],[valence value=0.71]) words``.
Categories have their probabilities; values lie between 0 and 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from streamser.events import EmotionBody
from streamser.taxonomy import UNSURE, weighted_mean

__all__ = [
    "INSTRUCTIONS",
    "UserReading",
    "explain_note",
    "find_emotion",
    "put_note",
    "readings_of",
    "take_note",
    "write_note",
]

_MEANING: Final = (
    "The figures after emotion are probabilities; arousal goes from 0, calm, to 1, excited, valence"
    " from 0, negative, to 1, positive, with 0.5 in the middle. Take it as a hint to weigh with"
    " the words, not as a fact; never mention, quote or imitate it."
)
INSTRUCTIONS: Final = (
    "A message of the user may begin with a note such as ([emotion happy=0.62, neutral=0.30],"
    "[arousal value=0.34],[valence value=0.71]): what a program guesses of how the user sounded"
    f" while saying it. {_MEANING} Where there is none, nothing is known."
)
"""What to add to an agent's instructions, so that it understands the notes."""

_LEAST: Final = 0.1
"""Less probable categories are left out: each is words that a model has to read."""
_DIMENSIONS: Final = ("arousal", "valence")
_NOTE: Final = re.compile(r"\((?:\[[a-z_]+ [^\[\]()]*\],?)+\)\s*")
_NO_NAME: Final = re.compile(r"[^\w-]+")


class UserReading(msgspec.Struct, frozen=True):
    """Hold how somebody sounded, and the words it was; ``text`` is ``None`` where nobody knows."""

    text: str | None
    emotion: EmotionBody


def write_note(readings: Sequence[UserReading]) -> str:
    """Write the note of readings of one message, or nothing where there is nothing to rely on.

    Each counts by its length. Left out are those that are ``unsure``; and all of them where
    several people are heard in one message, for a note cannot say whose it is.
    """
    sure = [each.emotion for each in readings if each.emotion.category != UNSURE]
    if not sure or len({each.speaker for each in sure}) > 1:
        return ""
    told = [(each, max(1, each.window.end_ms - each.window.start_ms)) for each in sure]
    names = dict.fromkeys(name for each in sure for name in each.scores)
    scores = {
        name: weighted_mean((each.scores.get(name, 0.0), length) for each, length in told) or 0.0
        for name in names
    }
    likeliest = sorted(scores, key=lambda name: -scores[name])
    likely = [
        f"{_NO_NAME.sub('_', name)}={scores[name]:.2f}"
        for name in likeliest
        if scores[name] >= _LEAST
    ]
    parts = [f"[emotion {', '.join(likely)}]"] if likely else []
    for name in _DIMENSIONS:
        value = weighted_mean((getattr(each.dimensions, name), length) for each, length in told)
        if value is not None:
            # Ours go from -1 to 1.
            parts.append(f"[{name} value={(value + 1) / 2:.2f}]")
    return f"({','.join(parts)})" if parts else ""


def explain_note(note: str) -> str:
    """Return what to tell a model that gets the note of one message by itself, before it."""
    return (
        "How the user sounded while saying the message that comes next, as a program guesses:"
        f" {note}. {_MEANING}"
    )


def put_note(text: str, readings: Sequence[UserReading]) -> str:
    """Return a message with the note of these readings at its head, instead of any before."""
    bare = take_note(text)
    note = write_note(readings)
    return f"{note} {bare}" if note else bare


def take_note(text: str) -> str:
    """Return a message without the note at its head."""
    found = _NOTE.match(text)
    return text[found.end() :] if found else text


def readings_of(text: str, readings: Sequence[UserReading]) -> list[UserReading]:
    """Return the readings whose words stand in a message; those without words belong to any."""
    bare = take_note(text)
    return [each for each in readings if each.text is None or (each.text and each.text in bare)]


def find_emotion(result: Any) -> EmotionBody | None:
    """Return the emotion inside a server's answer, as the client of another keeps it.

    ``result`` is a mapping or an object with ``emotion``, as our server tells it; anything else
    has none.
    """
    told = result.get("emotion") if isinstance(result, dict) else getattr(result, "emotion", None)
    if isinstance(told, EmotionBody):
        return told
    try:
        return msgspec.convert(told, EmotionBody)
    except msgspec.ValidationError:
        return None
