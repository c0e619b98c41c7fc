"""What a model says of a list of items, beside what is true: all that evaluation needs.

Imports torch only where a model is asked.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from streamser.emotion.frontend import Sound
from streamser.emotion.fused.config import HeadsConfig
from streamser.errors import ModelError
from streamser.saving import replacing
from streamser.training.manifest import Item
from streamser.training.sounds import Sounds

if TYPE_CHECKING:
    import torch

    from streamser.emotion.fused.interfaces import FusedInput
    from streamser.emotion.fused.network import FusedModel
    from streamser.training.batches import Inputs, TextChoice

Floats = npt.NDArray[np.float64]

Degrade = Callable[[Sound, np.random.Generator], Sound]
"""Spoil a clip on purpose (noise, band limits), by the draws of a generator."""

BOTH = frozenset({"audio", "text"})


class Predictions(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Hold N answers of a model.

    ``logits`` is [N, K] before any temperature, ``dimensions`` [N, D] in (0, 1) before any map;
    K or D may be 0. ``votes`` [N, K] sums to 1 in a row, or is all ``nan`` without a label;
    ``truth`` [N, D] is in [0, 1], or ``nan``. ``categories`` and ``names`` (of the dimensions)
    say what the columns are.
    """

    categories: tuple[str, ...]
    names: tuple[str, ...]
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    corpora: tuple[str, ...]
    logits: Floats
    dimensions: Floats
    votes: Floats
    truth: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def select(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Predictions:
        """Return the answers that a mask [N] or an index array names, in its order."""
        picked = np.arange(len(self))[keep]
        return Predictions(
            categories=self.categories,
            names=self.names,
            ids=tuple(self.ids[i] for i in picked),
            speakers=tuple(self.speakers[i] for i in picked),
            corpora=tuple(self.corpora[i] for i in picked),
            logits=self.logits[picked],
            dimensions=self.dimensions[picked],
            votes=self.votes[picked],
            truth=self.truth[picked],
        )

    def over(self, heads: HeadsConfig) -> Predictions:
        """Return the answers in the columns of other heads.

        What the model does not tell has no label there, so that nothing is measured of it.
        """
        columns = [
            self.names.index(name) if name in self.names else None for name in heads.dimensions
        ]
        known = self.categories == heads.categories
        shape = (len(self), len(heads.categories))
        return replace(
            self,
            categories=heads.categories,
            names=heads.dimensions,
            logits=self.logits if known else np.zeros(shape),
            votes=self.votes if known else np.full(shape, np.nan),
            dimensions=_columns(self.dimensions, columns, 0.0),
            truth=_columns(self.truth, columns, np.nan),
        )

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Return the category with most votes, int64 [N]; -1 without votes or at a draw."""
        if not self.categories:
            return np.full(len(self), -1, dtype=np.int64)
        votes = np.nan_to_num(self.votes, nan=-1.0)
        most = votes.max(axis=1, keepdims=True)
        decided = (votes == most).sum(axis=1) == 1
        return np.where(decided & (most[:, 0] > 0), votes.argmax(axis=1), -1).astype(np.int64)

    @staticmethod
    def join(parts: list[Predictions]) -> Predictions:
        """Put the answers of several folds in one table; their columns must agree."""
        first = parts[0]
        for part in parts[1:]:
            if (part.categories, part.names) != (first.categories, first.names):
                raise ValueError("predictions of different label sets cannot be joined")
        stack: Any = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("logits", "dimensions", "votes", "truth")
        }
        return Predictions(
            categories=first.categories,
            names=first.names,
            ids=tuple(i for part in parts for i in part.ids),
            speakers=tuple(s for part in parts for s in part.speakers),
            corpora=tuple(c for part in parts for c in part.corpora),
            **stack,
        )


def _columns(values: Floats, columns: Sequence[int | None], lacking: float) -> Floats:
    found = np.full((len(values), len(columns)), lacking)
    for to, column in enumerate(columns):
        if column is not None:
            found[:, to] = values[:, column]
    return found


def save_predictions(predictions: Predictions, path: Path) -> None:
    """Write a table as a compressed ``.npz`` of plain arrays (no pickle)."""
    arrays: Any = {
        name: np.asarray(getattr(predictions, name)) for name in Predictions.__struct_fields__
    }
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def load_predictions(path: Path) -> Predictions:
    """Read a table that ``save_predictions`` wrote.

    Raises ``ModelError`` where the file is missing, damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found: Any = {name: arrays[name] for name in Predictions.__struct_fields__}
    except FileNotFoundError:
        raise ModelError(f"{path} holds no predictions: it does not exist.") from None
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{path} holds no predictions: {error}.") from None
    texts = ("categories", "names", "ids", "speakers", "corpora")
    found |= {name: tuple(str(value) for value in found[name]) for name in texts}
    return Predictions(**found)


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
    import torch

    from streamser.training.batches import Inputs, labels_of, sizes_of

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
    from streamser.training.batches import text_of

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
    import torch

    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
