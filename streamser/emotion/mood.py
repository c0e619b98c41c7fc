"""Follow the mood behind single judgements: smoothed over turns and time, slow to flicker.

No standard exists for this; what is here is a design choice. A turn is an utterance that was
read. Its evidence counts by its length, as far as more of it tells more, and where it is unsure
by its confidence too; and it ages by the turns that come after it, or by the time since,
whichever makes it older. So three turns outweigh whatever was before, in quick talk and in slow,
and the result depends on no clock but the audio's.

The name follows three rules, the first that applies:

1. The last three turns that were sure are called alike, and the newest is one of them: so is
   the mood.
2. One of the last two sure turns is called as the mood is, and not both of the last two turns
   are unsure: it keeps its name. So no single turn takes a name away, whatever it is.
3. The smoothed scores decide: a category that leads all others clearly gives its name, if it is
   neutral or a sure turn was called so, and the name that was held stays while it keeps up; else
   the mood is ``"unsure"``. What no single turn surely was, the mood is not either.
"""

from __future__ import annotations

import bisect
import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from streamser.taxonomy import CATEGORIES, DIMENSIONS, LEAD, UNSURE, Dimensions

_HALF_LIFE: Final = 1.5  # turns: the newest is .37 of all evidence, the last three .75
_FULL_SECONDS: Final = 1.0  # 63 % of a turn's weight: a longer one gains little
_CALM: Final = "neutral"
_KEPT: Final = 16  # turns; all older ones together would be less than a thousandth
_ALIKE: Final = 3  # sure turns that name a mood, whatever they weigh
_FLAT: Final = 0.30  # below it not even the likeliest category means much; uniform is .25


class Judged(Protocol):
    """Judge emotion: what a ``Prediction`` and its ``EmotionBody`` have in common."""

    @property
    def category(self) -> str:
        """Return what it is called: one of ``CATEGORIES``, or anything else where it is unsure."""
        ...

    @property
    def scores(self) -> Mapping[str, float]:
        """Return the probability of every category."""
        ...

    @property
    def confidence(self) -> float:
        """Return the probability of the likeliest category, 0 to 1."""
        ...

    @property
    def dimensions(self) -> Dimensions:
        """Return valence, arousal and dominance, ``None`` where they were not measured."""
        ...


class MoodState(msgspec.Struct, frozen=True):
    """Hold a mood: ``scores`` sum to 1, ``dimensions`` are in [-1, 1] or unknown (``None``).

    ``category`` is the one of ``CATEGORIES`` that the turns are called by, or ``"unsure"`` as
    long as none leads.
    ``shift`` says that this update gave the mood another name; ``previous`` is the name before
    the last shift, ``None`` until there was one. ``confidence`` is the score of ``category``,
    that of the likeliest where it is ``"unsure"``.
    """

    category: str
    confidence: float
    scores: dict[str, float]
    dimensions: Dimensions
    shift: bool
    previous: str | None


class MoodTurn(msgspec.Struct, frozen=True):
    """Hold what counts of one turn: ``weight`` is in (0, 1], values are as they were read."""

    at_ms: int
    weight: float
    category: str
    scores: tuple[float, ...]
    dimensions: tuple[float | None, ...]


class MoodMemory(msgspec.Struct, frozen=True):
    """Hold all that a mood goes on from."""

    turns: tuple[MoodTurn, ...]
    dimensions: dict[str, float | None]
    category: str
    named: str | None
    previous: str | None


class Mood:
    """Smooth the readings of one speaker, or of everybody in a session.

    Evidence halves every one and a half turns. ``seconds`` is the time constant of a pause:
    what is that old counts 1/e at most.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        if not (math.isfinite(seconds) and seconds > 0.0):
            raise ValueError(f"a mood's time constant must be positive, not {seconds}")
        self._seconds = seconds
        self._turns: list[MoodTurn] = []
        self._dimensions: dict[str, float | None] = dict.fromkeys(DIMENSIONS)
        self._category = UNSURE
        self._named: str | None = None
        self._previous: str | None = None

    def update(self, reading: Judged, at_ms: int, duration_ms: int) -> MoodState:
        """Take in the reading of an utterance that ended at ``at_ms`` and lasted ``duration_ms``.

        Both are on the audio clock. A reading that comes late counts as old as it is; one of no
        length is no turn, nor is an unsure one of no confidence. A dimension that is ``None``
        leaves the smoothed one as it was; a category that has no score was not heard.
        """
        return self.take(turn_of(reading, at_ms, duration_ms))

    def take(self, turn: MoodTurn | None) -> MoodState:
        """Take in a turn; none changes nothing."""
        return self._state(shift=turn is not None and self._take(turn))

    def foresee(self, more: Iterable[tuple[Judged, int, int]]) -> MoodState:
        """Return the mood as it would be after more updates, and leave it as it is."""
        mood = copy.copy(self)
        mood._turns, mood._dimensions = list(self._turns), dict(self._dimensions)
        shift = False
        for reading, at_ms, duration_ms in more:
            turn = turn_of(reading, at_ms, duration_ms)
            shift = turn is not None and mood._take(turn)
        return mood._state(shift=shift)

    def snapshot(self) -> MoodMemory:
        """Return what it goes on from."""
        return MoodMemory(
            tuple(self._turns), dict(self._dimensions), self._category, self._named, self._previous
        )

    def restore(self, memory: MoodMemory) -> None:
        """Go on from what another remembered."""
        self._turns, self._dimensions = list(memory.turns), dict(memory.dimensions)
        self._category, self._named = memory.category, memory.named
        self._previous = memory.previous

    def join(self, memory: MoodMemory) -> None:
        """Take in what another mood remembered, which is of the same person after all.

        The turns of both lie in order; what went before them is that of whoever spoke last.
        """
        if not memory.turns:
            return
        if not self._turns or memory.turns[-1].at_ms >= self._turns[-1].at_ms:
            self._category, self._named = memory.category, memory.named
            self._previous = memory.previous
        both = sorted([*self._turns, *memory.turns], key=lambda each: each.at_ms)
        self._turns = both[-_KEPT:]
        for name, value in memory.dimensions.items():
            if self._dimensions[name] is None:
                self._dimensions[name] = value

    def _take(self, turn: MoodTurn) -> bool:
        """Take in a turn; return whether the mood has got another name than it had."""
        bisect.insort(self._turns, turn, key=lambda each: each.at_ms)
        del self._turns[:-_KEPT]
        called = _called([each.category for each in self._turns], self._category)
        witnessed = {_CALM, self._category, *(each.category for each in self._turns)}
        leading = _leading(self._scores(), self._category)
        self._category = called or (leading if leading in witnessed else UNSURE)
        if self._category in (UNSURE, self._named):
            return False
        self._previous, self._named = self._named, self._category
        return self._previous is not None

    def _scores(self) -> dict[str, float]:
        if not self._turns:
            return dict.fromkeys(CATEGORIES, 1.0 / len(CATEGORIES))
        ages = _ages(self._turns, self._seconds)
        columns = zip(*(turn.scores for turn in self._turns), strict=True)
        means = (_mean(column, self._turns, ages) for column in columns)
        return dict(zip(CATEGORIES, means, strict=True))

    def _state(self, *, shift: bool) -> MoodState:
        scores, ages = self._scores(), _ages(self._turns, self._seconds)
        for place, name in enumerate(DIMENSIONS):
            values = [turn.dimensions[place] for turn in self._turns]
            if any(value is not None for value in values):
                self._dimensions[name] = _bounded(_mean(values, self._turns, ages))
        return MoodState(
            category=self._category,
            confidence=scores.get(self._category, max(scores.values())),
            scores=scores,
            dimensions=Dimensions(**self._dimensions),
            shift=shift,
            previous=self._previous,
        )


class RevisableMood:
    """Follow the mood of somebody whose turns may turn out to be another's, and the reverse.

    Turns have numbers, in the order in which they came to whomever. One that is settled stays.
    """

    def __init__(self, seconds: float) -> None:
        self._settled = Mood(seconds)
        self._now = Mood(seconds)
        self._turns: dict[int, MoodTurn] = {}

    def add(self, number: int, turn: MoodTurn | None) -> MoodState:
        """Take in a turn, in its place among the others; none changes nothing."""
        if turn is None:
            return self._now.take(None)
        is_last = not self._turns or number > next(reversed(self._turns))
        self._turns[number] = turn
        return self._now.take(turn) if is_last else self._retell()

    def remove(self, number: int) -> None:
        """Take a turn away again; one that is not here, or is settled, changes nothing."""
        if self._turns.pop(number, None) is not None:
            self._retell()

    def settle(self, number: int) -> None:
        """Hold the oldest turn no longer apart."""
        self._settled.take(self._turns.pop(number, None))

    def absorb(self, other: RevisableMood) -> None:
        """Take over all turns of another."""
        self._settled.join(other._settled.snapshot())
        self._turns |= other._turns
        self._retell()

    def latest(self, more: Iterable[tuple[Judged, int, int]] = ()) -> MoodState | None:
        """Return the mood, as it would be after more updates; ``None`` where there is no turn."""
        foreseen = list(more)
        if not foreseen and not self._now.snapshot().turns:
            return None
        return self._now.foresee(foreseen)

    def _retell(self) -> MoodState:
        """Make the mood anew, from the turns that are settled and those that are held."""
        self._turns = dict(sorted(self._turns.items()))
        self._now = copy.copy(self._settled)
        self._now.restore(self._settled.snapshot())
        for turn in self._turns.values():
            self._now.take(turn)
        return self._now.take(None)


def turn_of(reading: Judged, at_ms: int, duration_ms: int) -> MoodTurn | None:
    """Return what counts of a reading, as ``Mood.update`` takes it; ``None``: nothing."""
    category = reading.category if reading.category in CATEGORIES else UNSURE
    # What is sure says in its scores how sure it is: it must not count twice.
    sure = 1.0 if category != UNSURE else reading.confidence
    weight = -math.expm1(-max(0, duration_ms) / 1000.0 / _FULL_SECONDS) * sure
    if weight <= 0.0:
        return None
    return MoodTurn(
        at_ms=at_ms,
        weight=weight,
        category=category,
        scores=tuple(reading.scores.get(name, 0.0) for name in CATEGORIES),
        dimensions=tuple(getattr(reading.dimensions, name) for name in DIMENSIONS),
    )


def _ages(turns: Sequence[MoodTurn], seconds: float) -> list[float]:
    """Return how much older turns count, as logarithms, 0 for the newest and less for others."""
    last = turns[-1].at_ms if turns else 0
    return [
        min(
            -math.log(2.0) * (len(turns) - 1 - place) / _HALF_LIFE,
            (turn.at_ms - last) / 1000.0 / seconds,
        )
        for place, turn in enumerate(turns)
    ]


def _mean(
    values: Sequence[float | None], turns: Sequence[MoodTurn], ages: Sequence[float]
) -> float:
    """Return the mean of the values that are known, one at least, by weight and age."""
    known = [
        (value, turn.weight, age)
        for value, turn, age in zip(values, turns, ages, strict=True)
        if value is not None
    ]
    # Among themselves: what was measured hours ago is still all that is known.
    youngest = max(age for _, _, age in known)
    weights = [weight * math.exp(age - youngest) for _, weight, age in known]
    mean = sum(w * value for w, (value, _, _) in zip(weights, known, strict=True)) / sum(weights)
    # Rounding must not carry it out of the range of what it is a mean of.
    return min(max(value for value, _, _ in known), max(min(value for value, _, _ in known), mean))


def _called(turns: Sequence[str], held: str) -> str | None:
    """Return what turns of these categories call their mood; ``None``: the scores decide."""
    sure = [name for name in turns if name != UNSURE][-_ALIKE:]
    if turns[-1] != UNSURE and len(sure) == _ALIKE and len(set(sure)) == 1:
        return turns[-1]
    if held in sure[-2:] and set(turns[-2:]) != {UNSURE}:
        return held
    return None


def _leading(scores: Mapping[str, float], held: str) -> str:
    """Name the category that leads all others clearly, else the one held while it keeps up."""
    first, second = sorted(scores, key=scores.__getitem__, reverse=True)[:2]
    if scores[first] - scores[second] >= LEAD:
        return first
    if held == UNSURE or scores[first] < _FLAT or scores[first] - scores[held] >= LEAD:
        return UNSURE
    return held


def _bounded(value: float) -> float:
    return min(1.0, max(-1.0, value))
