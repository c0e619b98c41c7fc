"""Hide one modality while training, so that neither learns to lean on the other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from streamser.emotion.neural.network import FusedModel
from streamser.training.settings import MaskingSettings

__all__ = ["Kept", "Modality", "frozen", "hide", "masked_modality", "probability"]

Modality: TypeAlias = Literal["audio", "text"]
Mask: TypeAlias = npt.NDArray[np.bool_]

_DRAW = 7
"""Sets the draws of this module apart from others of the same seed."""


class Kept(NamedTuple):
    """Hold which modalities are left to each item of a batch: bool [B] each."""

    audio: Mask
    text: Mask


def probability(settings: MaskingSettings, epoch: int, epochs: int) -> float:
    """Return how likely a masking is in an epoch, counted from 0.

    p_e = p_0 (1 + cos(π e / E)) / 2, and 0 where that is below ``least`` (paper §3.3, which
    names a cosine but prints no formula); without ``cosine`` it stays p_0.
    """
    if settings.mode == "none":
        return 0.0
    share = (1 + math.cos(math.pi * epoch / epochs)) / 2 if settings.cosine else 1.0
    likely = settings.probability * share
    return likely if likely >= settings.least else 0.0


def masked_modality(
    settings: MaskingSettings, *, seed: int, epoch: int, epochs: int
) -> Modality | None:
    """Draw which modality an epoch hides from every item: Random Modality Masking (paper §3.3).

    The draw follows from seed and epoch alone, so that a training that goes on after a stop
    draws the same. ``None`` for most epochs late in training, and for other modes than ``epoch``.
    """
    if settings.mode != "epoch":
        return None
    happens, which = np.random.default_rng((seed, _DRAW, epoch)).random(2)
    if happens >= probability(settings, epoch, epochs):
        return None
    return "text" if which < settings.text_share else "audio"


def hide(
    has_audio: Mask,
    has_text: Mask,
    *,
    masked: Modality | None = None,
    likely: float = 0.0,
    text_share: float = 0.6,
    rng: np.random.Generator,
) -> Kept:
    """Return what is left to the items of a batch; an item with one modality never loses it.

    ``masked`` is hidden from every item that has both. Beside that, each such item loses one
    modality with the probability ``likely``, the text with ``text_share`` of it.
    """
    both = has_audio & has_text
    lose_audio, lose_text = both & (masked == "audio"), both & (masked == "text")
    if likely > 0:
        loses = both & (rng.random(len(both)) < likely) & ~lose_audio & ~lose_text
        text = rng.random(len(both)) < text_share
        lose_audio, lose_text = lose_audio | (loses & ~text), lose_text | (loses & text)
    return Kept(has_audio & ~lose_audio, has_text & ~lose_text)


@contextmanager
def frozen(model: FusedModel, modality: Modality | None) -> Iterator[None]:
    """Let a modality's encoder, projection and refinement learn nothing while the block runs.

    What was frozen before stays so after it.
    """
    learning = (
        []
        if modality is None
        else [p for p in model.branch_parameters(modality) if p.requires_grad]
    )
    for parameter in learning:
        parameter.requires_grad_(False)
        parameter.grad = None
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
