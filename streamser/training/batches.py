"""From items to batches: what is read, varied and hidden, which go together, what is true."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamser.emotion.frontend import Mel, Sound
from streamser.emotion.fused.compact_encoders import CompactAcoustic
from streamser.emotion.fused.config import HeadsConfig
from streamser.emotion.fused.interfaces import AcousticEncoder, AudioBatch, FusedInput
from streamser.emotion.fused.network import FusedModel
from streamser.emotion.fused.whisper import WhisperAcoustic
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.training.augment import Augmenter, vocabulary_of
from streamser.training.manifest import Item, MelSpan
from streamser.training.settings import AugmentSettings, MaskingSettings, TrainSettings
from streamser.training.sounds import Sounds

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]
Modality: TypeAlias = Literal["audio", "text"]
TextChoice = Literal["gold", "asr"]

_DRAW, _ORDER, _CONTENT = 7, 11, 13
"""Set the draws of this module apart from others of the same seed: masking, order, content."""

_VECTORS_PER_SECOND, _LETTERS_PER_TOKEN = 16.0, 4.0


class TrainBatch(NamedTuple):
    """Hold what a step learns from, on the CPU."""

    inputs: FusedInput
    targets: Targets


class BatchLoader:
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

    def batch(self, epoch: int, number: int, rows: Rows, masked: Modality | None) -> TrainBatch:
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
        return TrainBatch(inputs, self._targets.pick(torch.from_numpy(rows)))


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


def cut(batch: TrainBatch, parts: int) -> list[TrainBatch]:
    """Cut a batch into parts of about the same size, at most as many as it has items."""
    if parts == 1:
        return [batch]
    whole = torch.arange(len(batch.targets.has_votes))
    return [
        TrainBatch(_rows(batch.inputs, rows), batch.targets.pick(rows))
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


class Inputs:
    """Turn items into what a model takes in.

    What the compact acoustic encoder and Whisper's hear of a clip are features that do not
    change, so they are kept in memory, ``most_bytes`` at most (16 or 32 kB for each second);
    other encoders prepare each batch anew.
    """

    def __init__(self, model: FusedModel, sounds: Sounds, most_bytes: int = 4 << 30) -> None:
        self._room = most_bytes
        self._model = model
        self._sounds = sounds
        self._featured = isinstance(model.acoustic, CompactAcoustic | WhisperAcoustic)
        self._features: dict[Path | MelSpan | None, Tensor] = {}

    def prepare(
        self,
        items: Sequence[Item],
        texts: Sequence[str | None],
        *,
        hears: Sequence[bool] | npt.NDArray[np.bool_],
        variety: Variety | None = None,
        rng: np.random.Generator | None = None,
    ) -> FusedInput:
        """Make a batch of items and their texts, each heard where ``hears`` says so.

        ``variety`` varies sounds and features by the draws of ``rng``; texts come as they
        shall be read. Raises ``AudioError`` for a sound that cannot be read, ``ModelError``
        where the encoder needs recordings and the item has features.
        """
        rng = rng or np.random.default_rng(0)
        if not self._featured:
            sounds = [
                self._sound(item, variety, rng) if heard else None
                for item, heard in zip(items, hears, strict=True)
            ]
            return self._model.prepare(sounds, texts)
        found = [
            self._heard(item, variety, rng) if heard else None
            for item, heard in zip(items, hears, strict=True)
        ]
        words = self._model.prepare([None] * len(items), texts)
        has_audio = torch.tensor([values is not None for values in found], dtype=torch.bool)
        return words._replace(audio=_stack(found), has_audio=has_audio)

    def _sound(self, item: Item, variety: Variety | None, rng: np.random.Generator) -> Sound | None:
        sound = self._sounds.load(item)
        return sound if sound is None or variety is None else variety.sound(sound, rng)

    def _heard(
        self, item: Item, variety: Variety | None, rng: np.random.Generator
    ) -> Tensor | None:
        """Return the features of an item for the encoder, float32 [T, F]."""
        if variety is not None and variety.of_sound:
            features = self._encode(self._sound(item, variety, rng))
        else:
            features = self._kept(item)
        if features is None or variety is None:
            return features
        return variety.features(features, rng)

    def _kept(self, item: Item) -> Tensor | None:
        place = item.mel or item.audio
        features = self._features.get(place)
        if features is None:
            features = self._encode(self._sounds.load(item))
            if features is not None and features.nbytes <= self._room:
                self._room -= features.nbytes
                self._features[place] = features
        return features

    def _encode(self, sound: Sound | None) -> Tensor | None:
        if sound is None or not len(sound.decibels if isinstance(sound, Mel) else sound):
            return None
        return cast(AcousticEncoder, self._model.acoustic).prepare([sound]).values[0]


class Variety:
    """Vary sounds, features and texts as far as the settings of an augmentation ask for it."""

    def __init__(self, settings: AugmentSettings, texts: Sequence[str]) -> None:
        self._augmenter = Augmenter(settings, vocabulary_of(texts) if settings.word_swap else ())
        sound = (settings.speed, settings.gain_db, settings.noise)
        self.of_sound = any((*sound, settings.room, settings.band, settings.telephone))
        self.of_features = bool(settings.spec_time or settings.spec_bands)
        self.of_text = bool(settings.word_drop or settings.word_swap or settings.plain_text)

    def sound(self, sound: Sound, rng: np.random.Generator) -> Sound:
        """Vary a clip."""
        return self._augmenter.sound(sound, rng) if self.of_sound else sound

    def features(self, values: Tensor, rng: np.random.Generator) -> Tensor:
        """Vary features, float32 [T, F]."""
        if not self.of_features:
            return values
        return torch.from_numpy(self._augmenter.features(values.numpy(), rng))

    def text(self, text: str, rng: np.random.Generator) -> str:
        """Vary a text."""
        return self._augmenter.text(text, rng) if self.of_text else text


def sizes_of(items: Sequence[Item], sounds: Sounds | None) -> npt.NDArray[np.float64]:
    """Guess how long the sequences of items are, to put like with like.

    Without ``sounds`` the words alone count. Raises ``AudioError``.
    """
    heard = [0.0 if sounds is None else sounds.seconds(item) for item in items]
    written = [len(item.text or item.text_asr or "") for item in items]
    return np.maximum(np.array(heard) * _VECTORS_PER_SECOND, np.array(written) / _LETTERS_PER_TOKEN)


def text_of(item: Item, choice: TextChoice) -> str | None:
    """Return an item's transcript or what a recogniser made of it; neither stands in for other."""
    return item.text if choice == "gold" else item.text_asr


def _stack(found: Sequence[Tensor | None]) -> AudioBatch | None:
    """Pad features [T, F] of those that have some into one batch; the others are one zero frame."""
    sample = next((values for values in found if values is not None), None)
    if sample is None:
        return None
    nothing = sample.new_zeros(1, sample.shape[1])
    rows = [nothing if values is None else values for values in found]
    lengths = torch.tensor([0 if values is None else len(values) for values in found])
    return AudioBatch(nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)


class KeptModalities(NamedTuple):
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
) -> KeptModalities:
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
    return KeptModalities(has_audio & ~lose_audio, has_text & ~lose_text)


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


class Labels(NamedTuple):
    """Hold shares of the raters [N, K] and ratings [N, D]; ``nan`` where there are none."""

    votes: Floats
    truth: Floats


class Targets(NamedTuple):
    """Hold the labels of a batch as tensors, and which of them there are.

    ``votes`` float32 [B, K] sums to 1 in a row, ``has_votes`` is bool [B]; ``truth`` is float32
    [B, D] in [0, 1], ``has_truth`` bool [B, D]. What is not there is 0.
    """

    votes: Tensor
    has_votes: Tensor
    truth: Tensor
    has_truth: Tensor

    def pick(self, rows: Tensor) -> Targets:
        """Return the labels of some rows, in their order."""
        return Targets(*(tensor[rows] for tensor in self))

    def to(self, device: torch.device) -> Targets:
        """Return the labels on another device."""
        return Targets(*(tensor.to(device, non_blocking=True) for tensor in self))


def labels_of(
    items: Sequence[Item], heads: HeadsConfig, kind: Literal["hard", "soft"] = "soft"
) -> Labels:
    """Pick a model's categories and dimensions out of the labels of items, by their names.

    ``soft`` takes the raters' shares, brought to sum 1 over the model's categories; ``hard``
    the likeliest category, and none where that is a draw or the model does not have it.
    """
    columns = [CATEGORIES.index(name) for name in heads.categories]
    votes = np.full((len(items), len(columns)), np.nan)
    for row, item in enumerate(items):
        if item.votes is None or not columns:
            continue
        if kind == "hard":
            if item.category in heads.categories:
                votes[row] = 0.0
                votes[row, heads.categories.index(item.category)] = 1.0
            continue
        shares = np.array([item.votes[column] for column in columns])
        if shares.sum() > 0:
            votes[row] = shares / shares.sum()
    names = [DIMENSIONS.index(name) for name in heads.dimensions]
    truth = np.array([[item.dimensions[name] for name in names] for item in items], dtype=float)
    return Labels(votes, truth.reshape(len(items), len(names)))


def targets_of(labels: Labels) -> Targets:
    """Turn labels into tensors for the loss."""
    votes, truth = torch.from_numpy(labels.votes), torch.from_numpy(labels.truth)
    has_votes = ~votes.isnan().any(dim=1) if votes.shape[1] else torch.zeros(len(votes)).bool()
    return Targets(
        votes.nan_to_num().float(), has_votes, truth.nan_to_num().float(), ~truth.isnan()
    )


def class_weights(targets: Targets) -> list[float]:
    """Return a weight for each category, N / (K · N_k), so that all count alike in sum.

    N_k is the share of votes that a category has; one that never occurs weighs 1.
    """
    mass = targets.votes[targets.has_votes].double().sum(dim=0)
    weights = mass.sum() / (len(mass) * mass)
    return [float(weight) if torch.isfinite(weight) else 1.0 for weight in weights]
