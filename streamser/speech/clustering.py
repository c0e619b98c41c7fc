"""Which voices are one speaker's: evidence that adds up, and clusters of it; pure arithmetic.

A voice is a point x [d] that scatters with variance 1 around its speaker's own, which in turn
scatters with variance ``spread`` [d] among people (the two-covariance model: N. Brümmer and E. de
Villiers, *The Speaker Partitioning Problem*, Odyssey 2010). So whether two sets of points are one
speaker's is a ratio of likelihoods that knows how much was heard of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]

_NEVER: Final = -np.inf
_REFINED: Final = 5
"""Rounds of moving single pieces of evidence between clusters; most need two."""


class VoiceSpace(msgspec.Struct, frozen=True, eq=False):
    """Hold where voices lie: x = (voice - ``mean`` [D]) @ ``directions`` [D, d].

    ``spread`` [d] is how people differ, in variances of one person's own voice. ``alike`` in
    (0, 1] is what windows of one stretch of speech share of that variance: they are said in one
    mood and one distance from the microphone, so more of them tell less than they seem to.
    """

    mean: Numbers
    directions: Numbers
    spread: Numbers
    alike: float
    moods: float = 0.0
    homes: float = np.inf

    def points(self, voices: Sequence[npt.ArrayLike]) -> Numbers:
        """Place unit vectors [n, D] in the space, [n, d]; raises ``ValueError`` for other sizes."""
        exact = np.asarray(voices, np.float64)
        if exact.shape[1:] != self.mean.shape:
            raise ValueError(f"voices of {len(self.mean)} numbers, not of {exact.shape[-1]}")
        placed: Numbers = (exact - self.mean) @ self.directions
        return placed

    def evidence(self, points: Numbers) -> Evidence:
        """Weigh the points [n, d] of one stretch: n of them count as 1 / (a + (1 - a) / n)."""
        weight = 1.0 / (self.alike + (1.0 - self.alike) / len(points))
        return Evidence(weight, weight * points.mean(axis=0))

    def likelihood(self, weight: npt.ArrayLike, total: Numbers) -> Numbers:
        """Return the log-likelihood that evidence, [...] and [..., d], is of one speaker.

        Less what is the same for any partition of the same points.
        """
        grown = 1.0 + np.asarray(weight, np.float64)[..., None] * self.spread
        found: Numbers = 0.5 * (total**2 * self.spread / grown - np.log(grown)).sum(axis=-1)
        return found

    def settled(self, weight: npt.ArrayLike, total: Numbers) -> tuple[Numbers, Numbers]:
        """Return what evidence, [...] and [..., d], counts for beside that of another mood."""
        heavy = np.asarray(weight, np.float64)
        shrunk = 1.0 / (1.0 + self.moods * heavy)
        return heavy * shrunk, total * shrunk[..., None]

    def centre(self, evidence: Evidence) -> tuple[Numbers, Numbers]:
        """Return where a speaker's own point likely is, and its variance, both [d]."""
        grown = 1.0 + evidence.weight * self.spread
        return evidence.total * self.spread / grown, self.spread / grown


class Evidence(msgspec.Struct, frozen=True, eq=False):
    """Hold what was heard of one voice: a sum of points [d], and what it weighs in points."""

    weight: float
    total: Numbers

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.weight + other.weight, self.total + other.total)


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
        alike=0.5,
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
    both = one + two
    weights = np.array([one.weight, two.weight, both.weight])
    parts = space.likelihood(weights, np.stack([one.total, two.total, both.total]))
    return float(parts[2] - parts[0] - parts[1])


def cluster(
    space: VoiceSpace,
    evidence: Sequence[Evidence],
    *,
    threshold: float,
    most: int,
    known: Sequence[int | None] | None = None,
) -> list[int]:
    """Say which pieces of evidence are one speaker's; a number a piece, in no order.

    Two are joined, likeliest first, while that is likelier by ``threshold`` (in nats) than that
    they are two people; and on, while there are more than ``most``. ``known`` is a number for
    whose speaker is known: the same are joined first, and different ones never are. Then single
    pieces whose speaker is not known move to where they fit better.
    """
    owners = list(known) if known is not None else [None] * len(evidence)
    labels = _joined_known(owners)
    labels = _joined(space, evidence, labels, owners, threshold, most)
    return _refined(space, evidence, labels, owners, threshold)


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


def _joined(
    space: VoiceSpace,
    evidence: Sequence[Evidence],
    labels: npt.NDArray[np.int64],
    owners: Sequence[int | None],
    threshold: float,
    most: int,
) -> npt.NDArray[np.int64]:
    labels = labels.copy()
    weight = np.zeros(len(labels))
    total = np.zeros((len(labels), len(space.spread)))
    for index, each in enumerate(evidence):
        weight[labels[index]] += each.weight
        total[labels[index]] += each.total
    alive = np.zeros(len(labels), bool)
    alive[labels] = True
    taken = np.array([owner is not None for owner in owners])
    heavy, summed = space.settled(weight, total)
    alone = space.likelihood(heavy, summed)
    gains = space.likelihood(heavy[:, None] + heavy, summed[:, None] + summed)
    gains -= alone[:, None] + alone
    gains[taken[:, None] & taken] = _NEVER
    gains[~alive], gains[:, ~alive] = _NEVER, _NEVER
    np.fill_diagonal(gains, _NEVER)
    while (count := int(alive.sum())) > 1:
        one, two = sorted(np.unravel_index(int(gains.argmax()), gains.shape))
        best = gains[one, two]
        if best == _NEVER or (best < threshold and count <= most):
            break
        weight[one] += weight[two]
        total[one] += total[two]
        labels[labels == two] = one
        alive[two] = False
        taken[one] |= taken[two]
        heavy[one], summed[one] = space.settled(weight[one], total[one])
        alone[one] = space.likelihood(heavy[one], summed[one])
        fresh = space.likelihood(heavy[one] + heavy, summed[one] + summed) - alone[one] - alone
        fresh[~alive] = _NEVER
        fresh[one] = _NEVER
        if taken[one]:
            fresh[taken] = _NEVER
        gains[one], gains[:, one] = fresh, fresh
        gains[two], gains[:, two] = _NEVER, _NEVER
    return labels


def _refined(
    space: VoiceSpace,
    evidence: Sequence[Evidence],
    labels: npt.NDArray[np.int64],
    owners: Sequence[int | None],
    threshold: float,
) -> list[int]:
    """Move single pieces between clusters; a cluster never becomes empty."""
    names, numbered = np.unique(labels, return_inverse=True)
    free = np.array([owner is None for owner in owners])
    weights = np.array([each.weight for each in evidence])
    totals = np.stack([each.total for each in evidence])
    each_of = np.arange(len(evidence))
    for _ in range(_REFINED):
        member = numbered[:, None] == np.arange(len(names))
        # What each cluster has without the piece itself, [pieces, clusters].
        weight = member.T @ weights - member * weights[:, None]
        total = (member.T @ totals) - member[..., None] * totals[:, None]
        heavy, summed = space.settled(np.maximum(weight, 0.0), total)
        light, little = space.settled(weights, totals)
        gains = space.likelihood(heavy + light[:, None], summed + little[:, None])
        gains -= space.likelihood(heavy, summed)
        best = gains.argmax(axis=1)
        alone = member.sum(axis=0)[numbered] == 1
        gained = gains[each_of, best] - gains[each_of, numbered]
        moving = free & ~alone & (gained > 0)
        if not moving.any():
            break
        # Never all of a cluster: it would be gone.
        for number in np.unique(numbered[moving]):
            from_here = np.flatnonzero(moving & (numbered == number))
            keep = 0 if len(from_here) < int((numbered == number).sum()) else 1
            order = from_here[np.argsort(-gained[from_here], kind="stable")]
            moved = order[: len(order) - keep]
            numbered[moved] = best[moved]
    return [int(number) for number in numbered]
