"""Which voices are one speaker's: evidence that adds up, and clusters of it; pure arithmetic.

A voice is a point x [d] that scatters with variance 1 around its speaker's own, which in turn
scatters with variance ``spread`` [d] among people (the two-covariance model: N. Brümmer and E. de
Villiers, *The Speaker Partitioning Problem*, Odyssey 2010). So whether two sets of points are one
speaker's is a ratio of likelihoods that knows how much was heard of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final, TypeAlias
from zipfile import BadZipFile

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.errors import ConfigError, ModelError

Voice: TypeAlias = npt.NDArray[np.float32]
"""What a voice sounds like: one vector, of length 1."""
Numbers: TypeAlias = npt.NDArray[np.float64]

_NEVER: Final = -np.inf
_LEARNT: Final = ("mean", "directions", "spread", "lively")
_PAIRS: Final = 128
"""Pairs that are compared at a time."""
_REFINED: Final = 5
"""Rounds of moving single pieces of evidence between clusters; most need two."""
_UNMOVED: Final = 0.13
"""Of ``moods``, where nothing is known of how lively a voice is."""
_TOLD: Final = 10.0
"""How much likelier one speaker must be where the number of people is known (in nats): who is one
too many is joined by ``most`` anyway."""


class Telling(msgspec.Struct, frozen=True, kw_only=True):
    """Say how voices are told apart; likelihoods are in nats.

    ``link``: how much likelier one speaker must be than two before voices are joined. ``pieces``:
    what the mean over pairs of their single pieces counts beside their sums. ``brief``: so much,
    by what the lesser weighs, speaks against a voice that was hardly heard. ``cut``: how much
    likelier two must be before an utterance is cut. ``most`` speakers at most, or, where
    ``exactly`` is set, so many are looked for, and ``pieces`` and ``brief`` are left out: both are
    about how many there are. Raises ``ConfigError`` where ``most`` is below 1.
    """

    link: float = -11.0
    pieces: float = 1.0
    brief: float = 40.0
    cut: float = -3.0
    most: int = 10
    exactly: bool = False

    def __post_init__(self) -> None:
        if self.most < 1:
            raise ConfigError(f"speakers: there must be room for one at least, not {self.most}")

    @property
    def threshold(self) -> float:
        """Return from where on voices are joined."""
        return self.link + (_TOLD if self.exactly else 0.0)


class VoiceSpace(msgspec.Struct, frozen=True, eq=False):
    """Hold where voices [D] lie: x [d] = (voice - ``mean`` [D]) @ ``directions`` [D, d].

    ``spread`` [d] is how people differ, in variances of one person's own voice. How lively a voice
    is (arousal: about 0 where neutral, 1 in anger or joy) is (voice - ``mean``) @ ``lively`` [D].

    ``alike`` is which share of a voice's variance the windows of one utterance have in common,
    ``moods`` which share remains in common however much was heard of one speaker, and ``excited``
    how much more of it for each unit of liveliness between two clusters. ``homes`` is by how many
    people that nobody heard the middle of all people at a microphone is held at ``mean``.
    """

    mean: Numbers
    directions: Numbers
    spread: Numbers
    lively: Numbers
    alike: float = 0.1
    moods: float = 0.08
    excited: float = 0.8
    homes: float = 0.6

    def points(self, voices: Sequence[npt.ArrayLike]) -> Numbers:
        """Place unit vectors [n, D], [n, d + 1]: in the space, and how lively each is.

        Raises ``ValueError`` for vectors of another size.
        """
        exact = np.asarray(voices, np.float64)
        if exact.shape[1:] != self.mean.shape:
            raise ValueError(f"voices of {len(self.mean)} numbers, not of {exact.shape[-1]}")
        centred = exact - self.mean
        return np.column_stack([centred @ self.directions, centred @ self.lively])

    def evidence(self, points: Numbers) -> Evidence:
        """Weigh the points [n, d + 1] of one stretch: n count as 1 / (a + (1 - a) / n)."""
        weight = 1.0 / (self.alike + (1.0 - self.alike) / len(points))
        middle = points.mean(axis=0)
        return Evidence(weight, weight * middle[:-1], weight * float(middle[-1]))

    def likelihood(self, weight: npt.ArrayLike, total: Numbers) -> Numbers:
        """Return the log-likelihood that evidence, [...] and [..., d], is of one speaker.

        Less what is the same for any partition of the same points.
        """
        grown = np.multiply.outer(weight, self.spread)
        grown += 1.0
        squares = total * total
        squares /= grown
        quadratic = squares @ self.spread
        found: Numbers = 0.5 * (quadratic - np.log(grown, out=grown).sum(axis=-1))
        return found


class Evidence(msgspec.Struct, frozen=True, eq=False):
    """Hold what was heard of one voice: sums over points, and what they weigh in points.

    ``total`` [d] is where they lie, ``lively`` how lively they are.
    """

    weight: float
    total: Numbers
    lively: float

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(
            self.weight + other.weight, self.total + other.total, self.lively + other.lively
        )


class _GroupSums(msgspec.Struct, eq=False):
    """Keep evidence of many voices in arrays: [...], [..., d] and [...]."""

    weight: Numbers
    total: Numbers
    lively: Numbers

    @property
    def mood(self) -> Numbers:
        """Return how lively each is in the mean."""
        found: Numbers = self.lively / np.maximum(self.weight, 1e-9)
        return found

    def at(self, chosen: int | npt.NDArray[np.int64]) -> _GroupSums:
        """Return those that are chosen, in that order."""
        return _GroupSums(self.weight[chosen], self.total[chosen], self.lively[chosen])

    def pairs(self) -> _GroupSums:
        """Return the same with an axis more, so that each meets all of another."""
        return _GroupSums(self.weight[:, None], self.total[:, None], self.lively[:, None])

    def summed(self, labels: npt.NDArray[np.int64], clusters: int) -> _GroupSums:
        """Return the sums of those that have a label each, by label."""
        sums = _GroupSums(
            np.zeros(clusters), np.zeros((clusters, self.total.shape[1])), np.zeros(clusters)
        )
        np.add.at(sums.weight, labels, self.weight)
        np.add.at(sums.total, labels, self.total)
        np.add.at(sums.lively, labels, self.lively)
        return sums

    def join(self, one: int, two: int) -> None:
        """Let one have what the other has."""
        self.weight[one] += self.weight[two]
        self.total[one] += self.total[two]
        self.lively[one] += self.lively[two]

    def gains(self, space: VoiceSpace, others: _GroupSums) -> Numbers:
        """Return how much likelier, in nats, it is that both are one speaker's than two's.

        Shapes broadcast; nothing weighs nothing. However much was heard in one mood, it says
        little of how somebody sounds in another: 1 / weight never falls below what moods leave.
        """
        left = np.abs(self.mood - others.mood)
        left *= space.excited
        left += space.moods
        weights = np.empty((3, *left.shape))
        totals = np.empty((*weights.shape, len(space.spread)))
        for number, each in enumerate((self, others)):
            known = left * each.weight
            known += 1.0
            np.divide(each.weight, known, out=weights[number])
            np.divide(each.total, known[..., None], out=totals[number])
        np.add(weights[0], weights[1], out=weights[2])
        np.add(totals[0], totals[1], out=totals[2])
        mine, yours, both = space.likelihood(weights, totals)
        found: Numbers = both - mine - yours
        return found

    def gains_of_pairs(self, space: VoiceSpace) -> Numbers:
        """Return the gains of each with each other, [n, n], and 0 for one with itself."""
        count = len(self.weight)
        found = np.zeros((count, count))
        firsts, seconds = np.triu_indices(count, 1)
        # So many at a time stay in the cache.
        for start in range(0, len(firsts), _PAIRS):
            one, two = firsts[start : start + _PAIRS], seconds[start : start + _PAIRS]
            found[one, two] = found[two, one] = self.at(one).gains(space, self.at(two))
        return found


@cache
def read_space(path: Path) -> VoiceSpace:
    """Read the space of an embedder, once, as ``tools.speakers.space`` writes it.

    Raises ``ModelError`` where it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as kept:
            parts = {name: kept[name].astype(np.float64) for name in _LEARNT}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise ModelError(f"{path} holds no space of voices: {error}") from None
    size, dimensions = parts["directions"].shape
    shapes = {"mean": (size,), "spread": (dimensions,), "lively": (size,)}
    if any(parts[name].shape != shape for name, shape in shapes.items()):
        raise ModelError(f"{path} holds no space of voices: its parts do not fit")
    return VoiceSpace(**parts)


def plain_space(size: int, likeness: float) -> VoiceSpace:
    """Return the space of an embedder of which only the size and a likeness are known.

    ``likeness`` in (0, 1) is the mean cosine between voices of one speaker; those of two have 0.
    Raises ``ValueError`` for others.
    """
    if not 0.0 < likeness < 1.0:
        raise ValueError(f"a likeness of voices must lie between 0 and 1, not {likeness}")
    return VoiceSpace(
        mean=np.zeros(size),
        directions=np.eye(size) * np.sqrt(size / (1.0 - likeness)),
        spread=np.full(size, likeness / (1.0 - likeness)),
        lively=np.zeros(size),
        moods=_UNMOVED,
    )


def runs(space: VoiceSpace, points: Numbers, sure: float) -> list[tuple[int, int]]:
    """Part the points [n, d] of one utterance, in order, where the voice changes.

    Neighbours are joined, likeliest first, until it is likelier by ``sure`` (in nats) that any
    two are of two people. Returns the first and the index after the last of each run.
    """
    found = [(index, index + 1) for index in range(len(points))]
    held = [space.evidence(points[first:last]) for first, last in found]
    gains = [_gain(space, one, two) for one, two in pairwise(held)]
    while gains:
        best = int(np.argmax(gains))
        if gains[best] < -sure:
            break
        found[best : best + 2] = [(found[best][0], found[best + 1][1])]
        held[best : best + 2] = [space.evidence(points[slice(*found[best])])]
        del gains[best]
        for left in (best - 1, best):
            if 0 <= left < len(gains):
                gains[left] = _gain(space, held[left], held[left + 1])
    return found


def _gain(space: VoiceSpace, one: Evidence, two: Evidence) -> float:
    # One utterance, one mood: neighbours are compared for what they are.
    both = one + two
    weights = np.array([one.weight, two.weight, both.weight])
    parts = space.likelihood(weights, np.stack([one.total, two.total, both.total]))
    return float(parts[2] - parts[0] - parts[1])


def cluster(
    space: VoiceSpace,
    evidence: Sequence[Evidence],
    telling: Telling,
    known: Sequence[int | None] | None = None,
    middle: Numbers | None = None,
) -> list[int]:
    """Say which pieces of evidence are one speaker's; a number a piece, in no order.

    Two are joined, likeliest first, while that is likelier by ``telling.link`` than that they are
    two people; and on, while there are more than ``telling.most``. ``known`` is a number for
    whose speaker is known: the same are joined first, and different ones never are. Then single
    pieces whose speaker is not known move to where they fit better. ``middle`` [d] is where the
    middle of all people lies here, 0 unless it is told.
    """
    owners = list(known) if known is not None else [None] * len(evidence)
    alone = _gathered(evidence)
    if middle is not None:
        alone.total -= alone.weight[:, None] * middle
    labels = _joined(space, alone, _joined_known(owners), owners, telling)
    return _refined(space, alone, labels, owners)


def offset(space: VoiceSpace, evidence: Sequence[Evidence], labels: Sequence[int]) -> Numbers:
    """Return where the middle of all people lies at this microphone, [d].

    What a room and a language do to all voices alike; so far from ``mean`` as the speakers'
    own middle says, and the less so the fewer they are.
    """
    sums: dict[int, Evidence] = {}
    for label, each in zip(labels, evidence, strict=True):
        sums[label] = sums[label] + each if label in sums else each
    middle: Numbers = sum(
        (each.total / each.weight for each in sums.values()), np.zeros(len(space.spread))
    ) / (space.homes + len(sums))
    return middle


def _joined_known(owners: Sequence[int | None]) -> npt.NDArray[np.int64]:
    first: dict[int, int] = {}
    labels = [
        index if owner is None else first.setdefault(owner, index)
        for index, owner in enumerate(owners)
    ]
    return np.array(labels, np.int64)


def _gathered(evidence: Sequence[Evidence]) -> _GroupSums:
    return _GroupSums(
        np.array([each.weight for each in evidence]),
        np.stack([each.total for each in evidence]),
        np.array([each.lively for each in evidence]),
    )


def _joined(
    space: VoiceSpace,
    alone: _GroupSums,
    labels: npt.NDArray[np.int64],
    owners: Sequence[int | None],
    telling: Telling,
) -> npt.NDArray[np.int64]:
    count = len(labels)
    alive = np.zeros(count, bool)
    alive[labels] = True
    taken = np.array([owner is not None for owner in owners])
    pieces, brief = (0.0, 0.0) if telling.exactly else (telling.pieces, telling.brief)
    likeness = alone.gains_of_pairs(space)
    sums, gains = alone.summed(labels, count), likeness
    if not alive.all():
        shares = (labels[:, None] == np.arange(count)) * alone.weight[:, None]
        shares /= np.maximum(shares.sum(axis=0), 1e-9)
        # The mean gains, by weight, of pairs of single pieces between clusters.
        likeness = shares.T @ likeness @ shares
        gains = sums.gains_of_pairs(space)
    likeness = pieces * likeness
    lesser = np.minimum(sums.weight[:, None], sums.weight)
    gains = gains + likeness + brief / np.maximum(lesser, 1e-9)
    gains[taken[:, None] & taken] = _NEVER
    gains[~alive], gains[:, ~alive] = _NEVER, _NEVER
    np.fill_diagonal(gains, _NEVER)
    for left in range(int(alive.sum()), 1, -1):
        one, two = sorted(divmod(int(gains.argmax()), count))
        best = gains[one, two]
        if best == _NEVER or (best < telling.threshold and left <= telling.most):
            break
        share = sums.weight[one] / (sums.weight[one] + sums.weight[two])
        likeness[one] = share * likeness[one] + (1 - share) * likeness[two]
        likeness[:, one] = likeness[one]
        sums.join(one, two)
        labels[labels == two] = one
        alive[two] = False
        taken[one] |= taken[two]
        gains[[one, two]], gains[:, [one, two]] = _NEVER, _NEVER
        open_to = alive & ~taken if taken[one] else alive.copy()
        open_to[one] = False
        rest = np.flatnonzero(open_to)
        fresh = sums.at(one).gains(space, sums.at(rest)) + likeness[one, rest]
        fresh += brief / np.minimum(sums.weight[one], sums.weight[rest])
        gains[one, rest] = gains[rest, one] = fresh
    return labels


def _refined(
    space: VoiceSpace,
    alone: _GroupSums,
    labels: npt.NDArray[np.int64],
    owners: Sequence[int | None],
) -> list[int]:
    """Move single pieces between clusters; a cluster never becomes empty."""
    names, numbered = np.unique(labels, return_inverse=True)
    free = np.array([owner is None for owner in owners])
    each_of = np.arange(len(owners))
    pieces = alone.pairs()
    for _ in range(_REFINED):
        member = numbered[:, None] == np.arange(len(names))
        sums = alone.summed(numbered, len(names))
        # What each cluster has without the piece itself, [pieces, clusters].
        rest = _GroupSums(
            np.maximum(sums.weight - member * pieces.weight, 0.0),
            sums.total - member[..., None] * pieces.total,
            sums.lively - member * pieces.lively,
        )
        gains = pieces.gains(space, rest)
        best = gains.argmax(axis=1)
        gained = gains[each_of, best] - gains[each_of, numbered]
        moving = free & (member.sum(axis=0)[numbered] > 1) & (gained > 0)
        if not moving.any():
            break
        for number in np.unique(numbered[moving]):
            leaving = np.flatnonzero(moving & (numbered == number))
            leaving = leaving[np.argsort(-gained[leaving], kind="stable")]
            # Never all of a cluster: it would be gone.
            leaving = leaving[: int((numbered == number).sum()) - 1]
            numbered[leaving] = best[leaving]
    return [int(number) for number in numbered]
