"""From items to batches: which go together, what is hidden and varied in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from streamser.emotion.neural.interfaces import AudioBatch, FusedInput
from streamser.training.inputs import Inputs, Variety, sizes_of, text_of
from streamser.training.items import Item
from streamser.training.masking import Modality, hide, probability
from streamser.training.settings import TrainSettings
from streamser.training.sounds import Sounds
from streamser.training.targets import Targets

__all__ = ["Batch", "Feed", "Rows", "cut", "plan_batches"]

Rows = npt.NDArray[np.int64]

_ORDER, _CONTENT = 11, 13
"""Set the draws of this module apart from others of the same seed."""


class Batch(NamedTuple):
    """Hold what a step learns from, on the CPU."""

    inputs: FusedInput
    targets: Targets


class Feed:
    """Give the batches of each epoch of a training.

    All that is drawn follows from seed, epoch and batch: a training that goes on after a stop
    sees the same batches. ``items`` and the rows of ``targets`` go together.
    """

    def __init__(
        self,
        settings: TrainSettings,
        items: Sequence[Item],
        targets: Targets,
        *,
        inputs: Inputs,
        sounds: Sounds,
        variety: Variety | None,
    ) -> None:
        self._settings = settings
        self._items = items
        self._targets = targets
        self._inputs = inputs
        self._variety = variety
        self._has_sound = np.array([item.has_sound for item in items], dtype=np.bool_)
        self._sizes = sizes_of(items, sounds if settings.model.acoustic is not None else None)

    def __len__(self) -> int:
        """Return how many batches an epoch has."""
        return -(-len(self._items) // self._settings.optimizer.batch)

    def plan(self, epoch: int) -> list[Rows]:
        """Draw which items go together in an epoch: rows of each batch, in order."""
        rng = np.random.default_rng((self._settings.run.seed, _ORDER, epoch))
        batch, bucket = self._settings.optimizer.batch, self._settings.run.bucket
        return plan_batches(self._sizes, batch=batch, bucket=bucket, rng=rng)

    def batch(self, epoch: int, number: int, rows: Rows, masked: Modality | None) -> Batch:
        """Make the batch ``number`` of an epoch, in which a modality may be masked.

        Raises ``AudioError`` for a sound that cannot be read.
        """
        settings = self._settings
        rng = np.random.default_rng((settings.run.seed, _CONTENT, epoch, number))
        items = [self._items[row] for row in rows]
        texts = [_drawn_text(item, settings.data.text, rng) for item in items]
        model = settings.model
        sounding = self._has_sound[rows] & (model.acoustic is not None)
        reading = np.array([bool(text and text.strip()) for text in texts]) & (
            model.text is not None
        )
        by_item = settings.masking.mode == "item"
        kept = hide(
            sounding,
            reading,
            masked=masked,
            likely=probability(settings.masking, epoch, settings.optimizer.epochs) * by_item,
            text_share=settings.masking.text_share,
            rng=rng,
        )
        variety = self._variety
        read = [
            (variety.text(text, rng) if variety else text) if stays and text else None
            for text, stays in zip(texts, kept.text, strict=True)
        ]
        inputs = self._inputs.prepare(items, read, hears=kept.audio, variety=variety, rng=rng)
        return Batch(inputs, self._targets.pick(torch.from_numpy(rows)))


def plan_batches(
    sizes: npt.NDArray[np.float64], *, batch: int, bucket: int, rng: np.random.Generator
) -> list[Rows]:
    """Put items of like size together: sort each ``bucket`` batches of a shuffle, cut, shuffle.

    Every row of ``sizes`` is in exactly one batch. No batch is larger than ``batch``, and the
    sizes of any two differ by one at most, so that none is too small for a CCC.
    """
    order = rng.permutation(len(sizes))
    count = -(-len(sizes) // batch)
    batches: list[Rows] = []
    edges = np.linspace(0, len(sizes), count + 1).round().astype(np.int64)
    for first in range(0, count, bucket):
        last = min(first + bucket, count)
        part = order[edges[first] : edges[last]]
        part = part[np.argsort(sizes[part], kind="stable")]
        batches += np.split(part, edges[first + 1 : last] - edges[first])
    return [batches[place] for place in rng.permutation(count)]


def cut(batch: Batch, parts: int) -> list[Batch]:
    """Cut a batch into parts of about the same size, at most as many as it has items."""
    if parts == 1:
        return [batch]
    whole = torch.arange(len(batch.targets.has_votes))
    return [
        Batch(_rows(batch.inputs, rows), batch.targets.pick(rows))
        for rows in whole.tensor_split(min(parts, len(whole)))
    ]


def _drawn_text(
    item: Item, choice: Literal["gold", "asr", "mixed"], rng: np.random.Generator
) -> str | None:
    if choice != "mixed":
        return text_of(item, choice)
    there = [text for text in (item.text, item.text_asr) if text]
    # One draw for each item, so that what one has does not change what the next one draws.
    second = rng.random() < 0.5
    return there[second and len(there) > 1] if there else None


def _rows(inputs: FusedInput, rows: Tensor) -> FusedInput:
    has_audio, has_text = inputs.has_audio[rows], inputs.has_text[rows]
    audio, text = inputs.audio, inputs.text
    if audio is not None:
        lengths = audio.lengths[rows]
        longest = max(1, int(lengths.max()))
        audio = AudioBatch(audio.values[rows, :longest], lengths) if has_audio.any() else None
    if text is not None:
        mask = text.mask[rows]
        longest = max(1, int(mask.sum(dim=1).max()))
        text = (
            text._replace(ids=text.ids[rows, :longest], mask=mask[:, :longest])
            if has_text.any()
            else None
        )
    return FusedInput(audio, text, has_audio, has_text)
