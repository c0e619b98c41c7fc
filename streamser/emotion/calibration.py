"""From raw outputs to probabilities that can be trusted, and when to say ``unsure``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from streamser.errors import ModelError
from streamser.taxonomy import DIMENSIONS

Floats = npt.NDArray[np.float64]

MODALITY_SETS: Final = ("audio", "text", "audio+text")
"""The sets of modalities that an answer can rest on; each has a calibration of its own."""


class MonotoneMap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold a non-decreasing, piecewise linear map from [0, 1] to [0, 1].

    ``x`` rises strictly, ``y`` never falls; both have two points at least. Outside of ``x`` the
    nearest end counts. Raises ``ValueError`` for points that make no such map.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or len(self.x) < 2:
            raise ValueError("a map needs as many y as x, two at least")
        if not all(0.0 <= value <= 1.0 for value in (*self.x, *self.y)):
            raise ValueError("a map's x and y must be within 0 and 1")
        if not all(low < high for low, high in pairwise(self.x)):
            raise ValueError("a map's x must rise")
        if not all(low <= high for low, high in pairwise(self.y)):
            raise ValueError("a map's y must not fall")


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hold what was fitted on validation speakers, for one set of modalities.

    ``temperature`` divides the logits. ``maps`` has a map for each dimension that has one.
    A reading is ``unsure`` where its likeliest category is below ``unsure_below``.
    ``fitted_on`` names the data in words. Raises ``ValueError`` for numbers out of range.
    """

    temperature: float = 1.0
    unsure_below: float = 0.0
    maps: dict[str, MonotoneMap] = {}
    fitted_on: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0.0):
            raise ValueError(f"temperature must be a positive number, not {self.temperature}")
        # Above 1 on purpose: a threshold that nothing reaches says that nothing is trusted.
        if not (math.isfinite(self.unsure_below) and self.unsure_below >= 0.0):
            raise ValueError(f"unsure_below must be 0 or more, not {self.unsure_below}")
        if unknown := [name for name in self.maps if name not in DIMENSIONS]:
            raise ValueError(f"{unknown[0]!r} is no dimension; there are {', '.join(DIMENSIONS)}")


UNCALIBRATED = Calibration()


def modality_set(*, audio: bool, text: bool) -> str:
    """Name the modalities that an answer rests on: one of ``MODALITY_SETS``, ``""`` for none."""
    return "+".join(name for name, used in (("audio", audio), ("text", text)) if used)


def calibration_of(calibrations: Mapping[str, Calibration], modalities: str) -> Calibration:
    """Return the calibration of a set of modalities; one that was not fitted changes nothing."""
    return calibrations.get(modalities, UNCALIBRATED)


def probabilities(logits: Floats, calibration: Calibration = UNCALIBRATED) -> Floats:
    """Return softmax(logits / T) over the last axis, [..., K] (Guo et al. 2017, §4.2).

    K may be 0, which gives nothing back.
    """
    scaled = np.asarray(logits, np.float64) / calibration.temperature
    if not scaled.shape[-1]:
        return scaled
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def map_dimensions(
    dimensions: Floats, names: Sequence[str], calibration: Calibration = UNCALIBRATED
) -> Floats:
    """Return dimensions [..., D] in [0, 1], each through its map where it has one.

    ``names`` are the D dimensions in the order of the last axis.
    """
    mapped = np.array(dimensions, np.float64)
    for column, name in enumerate(names):
        if (monotone := calibration.maps.get(name)) is not None:
            mapped[..., column] = np.interp(mapped[..., column], monotone.x, monotone.y)
    return mapped


def entropy(scores: dict[str, float]) -> float:
    """Return the entropy of probabilities over that of a uniform choice, in [0, 1]."""
    total = -sum(p * math.log(p) for p in scores.values() if p > 0.0)
    return min(1.0, max(0.0, total / math.log(len(scores))))


def is_unsure(scores: Floats, calibration: Calibration = UNCALIBRATED) -> npt.NDArray[np.bool_]:
    """Tell where the likeliest of probabilities [..., K] is too unlikely to be named, bool [...].

    That is below ``unsure_below``; without categories it is everywhere.
    """
    if not scores.shape[-1]:
        return np.ones(scores.shape[:-1], np.bool_)
    return np.asarray(scores.max(axis=-1) < calibration.unsure_below)


def read_calibrations(path: Path) -> dict[str, Calibration]:
    """Read a ``calibration.json``: a calibration for each of some of ``MODALITY_SETS``.

    A file that is not there means uncalibrated: nothing. Raises ``ModelError`` for one that
    cannot be read or does not hold what it should.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        found = msgspec.json.decode(text, type=dict[str, Calibration])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} holds no calibration: {error}") from None
    if unknown := [name for name in found if name not in MODALITY_SETS]:
        raise ModelError(
            f"{path}: {unknown[0]!r} is no set of modalities; there are {', '.join(MODALITY_SETS)}"
        )
    return found


def write_calibrations(path: Path, calibrations: Mapping[str, Calibration]) -> None:
    """Write a ``calibration.json`` that ``read_calibrations`` reads.

    Raises ``ValueError`` for a key that is none of ``MODALITY_SETS``.
    """
    if unknown := [name for name in calibrations if name not in MODALITY_SETS]:
        raise ValueError(f"{unknown[0]!r} is no set of modalities")
    text = msgspec.json.encode({name: calibrations[name] for name in sorted(calibrations)})
    path.write_bytes(msgspec.json.format(text, indent=2) + b"\n")


_WORTHLESS: Final = 0.35
_FULL: Final = 0.75


def weight_of_words(certainty: float | None) -> float:
    """Return how much words count, 0 to 1, of which a recogniser is so sure, 0 to 1.

    ``None`` means that it does not say: they count in full, as do those from .75 on; those up to
    .35 not at all. Judged with Whisper tiny.en and base, clean and under noise (``python -m
    tools.measure_certainty``, docs/certainty.md): the weight is the share of words that are right
    at that confidence, as part of the share that is right where they are sure.
    """
    if certainty is None:
        return 1.0
    return min(1.0, max(0.0, (certainty - _WORTHLESS) / (_FULL - _WORTHLESS)))
