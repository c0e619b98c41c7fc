"""What is usual for one stream: running mean and deviation of its utterances' measurements.

Measured are statistics, Whisper's lower layers, and where these lie along a few *directions* of
the layers' space: those in which the emotions of one speaker differ most against what differs
within an emotion. How far a stream spreads along them says whether it holds several moods or one,
whatever the microphone.

A prior from training counts as some utterances for ever, so that a stream's first utterance has
something to be compared with, and a lasting mood is never wholly taken for the voice's own
nature. What was heard long ago fades.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.emotion.compact import statistics
from streamser.emotion.compact.encoders import LAYER_WIDTH as LAYER
from streamser.emotion.compact.encoders import LAYERS, VALUES
from streamser.emotion.compact.statistics import Measured
from streamser.emotion.model import DAMAGED_STATE
from streamser.errors import ModelError

DIRECTIONS: Final = 3
"""Four categories span no more."""
MEASURED: Final = statistics.WIDTH + VALUES
"""What is measured before it is placed along the directions."""
WIDTH: Final = MEASURED + DIRECTIONS

Floats = npt.NDArray[np.float64]

PRIOR: Final = 3.0
"""Utterances that the prior is worth, for ever."""
MEMORY: Final = 50.0
"""Utterances that a stream's own past is worth at most; beyond, older ones fade."""

SPREAD_PRIOR: Final = 1.0
"""Utterances that the prior is worth where it is told how far a stream spreads."""

LIMIT: Final = 4.0
"""Deviations: what is farther off is an accident."""

_FULL_SECONDS: Final = 1.0  # an utterance with less speech counts in proportion
_LEAST_VARIANCE: Final = 0.1  # of the prior's: a monotonous stream must not blow up what is rare


def _groups() -> dict[str, slice]:
    found = dict(statistics.GROUPS)
    for layer in range(LAYERS):
        for kind in ("mean", "sd"):
            first = statistics.WIDTH + LAYER * (2 * layer + (kind == "sd"))
            found[f"layer{layer + 1}_{kind}"] = slice(first, first + LAYER)
    for number in range(DIRECTIONS):
        found[f"direction{number + 1}"] = slice(MEASURED + number, MEASURED + number + 1)
    return found


GROUPS: Final = _groups()
"""Which part of the vector holds which group."""
ALONG: Final = tuple(name for name in GROUPS if name.startswith("direction"))
"""The groups of the directions, one number each."""


def placed(
    values: npt.NDArray[np.float32], directions: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Append where measurements, float32 [..., MEASURED], lie along ``directions``.

    ``directions`` is float32 [DIRECTIONS, VALUES]. Returns [..., WIDTH]; ``nan`` stays ``nan``.
    """
    along = values[..., statistics.WIDTH :] @ directions.T
    return np.concatenate([values, along], axis=-1)


class Norm(msgspec.Struct, frozen=True, eq=False):
    """Hold what training found usual, float64 [WIDTH] each.

    ``mean`` and ``variance`` are those of an unknown speaker's utterances (variance within
    speakers); ``centre`` and ``spread`` those of all utterances over speakers and microphones.
    """

    mean: Floats
    variance: Floats
    centre: Floats
    spread: Floats


class Views(NamedTuple):
    """Hold measurements as the network sees them, float32 [..., WIDTH], clipped to ± ``LIMIT``.

    ``relative`` is in the stream's own deviations from its own mean, ``absolute`` in those of
    everybody; ``context`` is the stream's mean among everybody's. ``variety``, [..., groups],
    is how much the stream varies in each group of statistics, the logarithm of its spread over
    the prior's: no microphone changes that, and a stream of one mood varies little.
    """

    relative: npt.NDArray[np.float32]
    absolute: npt.NDArray[np.float32]
    context: npt.NDArray[np.float32]
    variety: npt.NDArray[np.float32]


class Reference(msgspec.Struct, frozen=True, eq=False):
    """Hold what measurements of a stream are set against until more of it is known.

    ``mean`` and ``deviation`` are the stream's own, float64 [WIDTH]; ``context`` and
    ``variety`` as in ``Views``, of one utterance.
    """

    norm: Norm
    mean: Floats
    deviation: Floats
    context: npt.NDArray[np.float32]
    variety: npt.NDArray[np.float32]

    def views(self, values: npt.NDArray[np.float32]) -> Views:
        """Set measurements, float32 [..., WIDTH], against what is usual; ``nan`` is as usual."""
        found = np.where(np.isnan(values), self.mean, values)
        batch = found.shape[:-1]
        return Views(
            _clipped((found - self.mean) / self.deviation),
            _clipped((found - self.norm.centre) / self.norm.spread),
            np.broadcast_to(self.context, found.shape).copy(),
            np.broadcast_to(self.variety, (*batch, len(self.variety))).copy(),
        )


class SpeakerStats(msgspec.Struct, frozen=True, eq=False):
    """Hold how many utterances a stream has had, and the sums over them; never changes in place.

    ``weight`` counts them up to ``MEMORY``; ``sums`` and ``squares`` are float64 [WIDTH].
    """

    weight: float = 0.0
    sums: Floats = msgspec.field(default_factory=lambda: np.zeros(WIDTH))
    squares: Floats = msgspec.field(default_factory=lambda: np.zeros(WIDTH))

    @property
    def known(self) -> float:
        """Return how far the stream's own past counts against the prior, in [0, 1)."""
        return self.weight / (self.weight + PRIOR)

    def mean(self, norm: Norm) -> Floats:
        """Return the stream's mean, the prior's share in it."""
        return (self.sums + PRIOR * norm.mean) / (self.weight + PRIOR)

    def deviation(self, norm: Norm) -> Floats:
        """Return the stream's standard deviation, the prior's share in it."""
        prior = norm.variance + norm.mean**2
        second = (self.squares + PRIOR * prior) / (self.weight + PRIOR)
        variance = second - self.mean(norm) ** 2
        return np.sqrt(np.maximum(variance, _LEAST_VARIANCE * norm.variance))

    def spread(self, norm: Norm) -> Floats:
        """Return how far the stream's utterances lie from their own mean: a standard deviation.

        Other than in ``deviation`` it does not matter how far the stream as a whole lies from
        what is usual, which is as much the microphone's doing as the speaker's.
        """
        weight = max(self.weight, 1.0)
        about = np.maximum(self.squares - self.sums**2 / weight, 0.0)
        return np.sqrt((about + SPREAD_PRIOR * norm.variance) / (weight - 1.0 + SPREAD_PRIOR))

    def against(self, norm: Norm) -> Reference:
        """Work out what measurements are set against as long as this is what is usual."""
        mean, deviation = self.mean(norm), self.deviation(norm)
        ratio = np.log(self.spread(norm) / np.sqrt(norm.variance))
        variety = np.array([ratio[span].mean() for span in GROUPS.values()])
        context = (mean - norm.centre) / norm.spread
        return Reference(norm, mean, deviation, _clipped(context), _clipped(variety))

    def views(self, values: npt.NDArray[np.float32], norm: Norm) -> Views:
        """Set measurements, float32 [..., WIDTH], against what is usual; ``nan`` is as usual."""
        return self.against(norm).views(values)

    def extended(self, measured: Measured, norm: Norm) -> SpeakerStats:
        """Return what is usual after one utterance more; what it lacks counts as usual."""
        share = min(1.0, measured.speech_seconds / _FULL_SECONDS)
        if share == 0.0:
            return self
        values = np.where(np.isnan(measured.values), self.mean(norm), measured.values)
        kept = min(1.0, (MEMORY - share) / self.weight) if self.weight else 1.0
        return SpeakerStats(
            weight=kept * self.weight + share,
            sums=kept * self.sums + share * values,
            squares=kept * self.squares + share * values**2,
        )

    def to_bytes(self) -> bytes:
        """Return the state as bytes, about 17 kB, for ``read_stats``."""
        return np.concatenate([[self.weight], self.sums, self.squares]).astype("<f4").tobytes()


def _clipped(values: Floats) -> npt.NDArray[np.float32]:
    return np.minimum(np.maximum(values, -LIMIT), LIMIT).astype(np.float32)


def read_stats(state: bytes) -> SpeakerStats:
    """Read a state that ``to_bytes`` wrote; raises ``ModelError`` for anything else."""
    found = np.frombuffer(state, "<f4") if len(state) % 4 == 0 else np.zeros(0)
    if len(found) != 1 + 2 * WIDTH or not np.isfinite(found).all() or found[0] < 0:
        raise ModelError(DAMAGED_STATE)
    values = found.astype(np.float64)
    return SpeakerStats(float(values[0]), values[1 : WIDTH + 1], values[WIDTH + 1 :])
