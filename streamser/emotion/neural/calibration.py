"""From raw outputs to probabilities that can be trusted, and when to say ``unsure``."""

from __future__ import annotations

import msgspec

__all__ = ["UNCALIBRATED", "Calibration", "MonotoneMap"]


class MonotoneMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold a non-decreasing, piecewise linear map from [0, 1] to [0, 1].

    ``x`` rises strictly, ``y`` never falls; both have two points at least. Outside of ``x`` the
    nearest end counts.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hold what was fitted on validation speakers, for one set of modalities.

    ``temperature`` divides the logits. ``maps`` has a map for each dimension that has one.
    A reading is ``unsure`` where its likeliest category is below ``unsure_below``.
    ``fitted_on`` names the data in words.
    """

    temperature: float = 1.0
    unsure_below: float = 0.0
    maps: dict[str, MonotoneMap] = {}
    fitted_on: str = ""


UNCALIBRATED = Calibration()
