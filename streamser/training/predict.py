"""Ask a model about items: what evaluation, validation and calibration start from."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import numpy as np
import torch

from streamser.emotion.frontend import Sound
from streamser.emotion.fused.interfaces import FusedInput
from streamser.emotion.fused.network import FusedModel
from streamser.training.batches import Inputs, TextChoice, labels_of, sizes_of, text_of
from streamser.training.manifest import Item
from streamser.training.predictions import Predictions
from streamser.training.sounds import Sounds

__all__ = ["Degrade", "predict"]

Degrade = Callable[[Sound, np.random.Generator], Sound]
"""Spoil a clip on purpose (noise, band limits), by the draws of a generator."""

BOTH = frozenset({"audio", "text"})


def predict(
    model: FusedModel,
    items: Sequence[Item],
    *,
    modalities: frozenset[str] = BOTH,
    text: TextChoice = "gold",
    batch: int = 32,
    degrade: Degrade | None = None,
    device: torch.device | str | None = None,
    sounds: Sounds | None = None,
    inputs: Inputs | None = None,
    autocast: torch.dtype | None = None,
) -> Predictions:
    """Answer for each item from what it has of ``modalities``; in the items' order.

    ``text`` says which words are read; an item without them is judged by its voice. An item
    with nothing left gets the model's constant answer. ``degrade`` spoils every clip, by draws
    that follow from the item's id alone. ``sounds`` and ``inputs`` keep what was read before.
    ``device`` moves the model; ``None`` leaves it where it is.

    Raises ``AudioError`` for a sound that cannot be read, ``ModelError`` where the encoder
    needs recordings.
    """
    if device is not None:
        model.to(device)
    place = next(model.parameters()).device
    sounds = sounds or Sounds()
    inputs = inputs or Inputs(model, sounds)
    heads = model.config.heads
    logits = np.empty((len(items), len(heads.categories)))
    dimensions = np.empty((len(items), len(heads.dimensions)))
    listens = "audio" in modalities and model.acoustic is not None
    order = np.argsort(sizes_of(items, sounds if listens else None), kind="stable")
    was_training = model.training
    model.eval()
    try:
        for first in range(0, len(items), batch):
            rows = order[first : first + batch]
            chosen = [items[row] for row in rows]
            # Outside of inference mode: what is kept of it may be learnt from later.
            prepared = _prepare(model, chosen, modalities, text, degrade, sounds, inputs)
            with torch.inference_mode(), _autocast(place, autocast):
                answer = model(prepared.to(place))
            logits[rows] = answer.category_logits.double().cpu().numpy()
            dimensions[rows] = answer.dimensions.double().cpu().numpy()
    finally:
        model.train(was_training)
    labels = labels_of(items, heads)
    return Predictions(
        categories=heads.categories,
        names=heads.dimensions,
        ids=tuple(item.id for item in items),
        speakers=tuple(item.speaker for item in items),
        corpora=tuple(item.corpus for item in items),
        logits=logits,
        dimensions=dimensions,
        votes=labels.votes,
        truth=labels.truth,
    )


def _prepare(
    model: FusedModel,
    items: Sequence[Item],
    modalities: frozenset[str],
    text: TextChoice,
    degrade: Degrade | None,
    sounds: Sounds,
    inputs: Inputs,
) -> FusedInput:
    texts = [text_of(item, text) if "text" in modalities else None for item in items]
    listens = "audio" in modalities and model.acoustic is not None
    if degrade is None or not listens:
        return inputs.prepare(items, texts, hears=[listens] * len(items))
    return model.prepare([_degraded(item, sounds, degrade) for item in items], texts)


def _degraded(item: Item, sounds: Sounds, degrade: Degrade) -> Sound | None:
    sound = sounds.load(item)
    if sound is None:
        return None
    return degrade(sound, np.random.default_rng(zlib.crc32(item.id.encode())))


def _autocast(
    device: torch.device, dtype: torch.dtype | None
) -> torch.autocast | nullcontext[None]:
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
