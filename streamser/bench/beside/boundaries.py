"""How well detected stretches of speech fit the true ones; pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from streamser.bench.spread import percentile

__all__ = ["Fit", "Stretch", "fit"]


class Stretch(msgspec.Struct, frozen=True):
    """Hold where speech begins and ends, in seconds."""

    start: float
    end: float

    def meets(self, other: Stretch) -> bool:
        """Tell whether the two overlap."""
        return self.start < other.end and other.start < self.end


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """Hold how detections fit truths; errors in ms, medians and 95th percentiles of |error|.

    ``missed`` truths meet no detection, ``extra`` detections meet no truth; ``joined`` counts
    truths that share a detection with the one before, ``split`` detections that share a truth.
    """

    truths: int
    missed: int
    extra: int
    joined: int
    split: int
    onset_p50: float | None
    onset_p95: float | None
    offset_p50: float | None
    offset_p95: float | None

    @property
    def faults(self) -> int:
        """Return how many stretches are not one for one."""
        return self.missed + self.extra + self.joined + self.split


def fit(found: Sequence[Stretch], truths: Sequence[Stretch]) -> Fit:
    """Compare detections with truths, both in order; edges count where both are one for one."""
    of_truth = [[f for f in found if f.meets(truth)] for truth in truths]
    of_found = [[truth for truth in truths if truth.meets(f)] for f in found]
    alone = {id(f) for f, met in zip(found, of_found, strict=True) if len(met) == 1}
    pairs = [
        (truth, met[0])
        for truth, met in zip(truths, of_truth, strict=True)
        if len(met) == 1 and id(met[0]) in alone
    ]
    onsets = [1000 * abs(f.start - truth.start) for truth, f in pairs]
    offsets = [1000 * abs(f.end - truth.end) for truth, f in pairs]
    return Fit(
        truths=len(truths),
        missed=sum(not met for met in of_truth),
        extra=sum(not met for met in of_found),
        joined=sum(max(0, len(met) - 1) for met in of_found),
        split=sum(max(0, len(met) - 1) for met in of_truth),
        onset_p50=_at(onsets, 0.5),
        onset_p95=_at(onsets, 0.95),
        offset_p50=_at(offsets, 0.5),
        offset_p95=_at(offsets, 0.95),
    )


def _at(errors: Sequence[float], share: float) -> float | None:
    return round(percentile(errors, share), 1) if errors else None
