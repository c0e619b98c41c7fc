"""From items to what a model takes in: read, varied, kept, put together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from streamser.emotion.frontend import Mel, Sound
from streamser.emotion.neural.compact_audio import CompactAcoustic
from streamser.emotion.neural.interfaces import AcousticEncoder, AudioBatch, FusedInput
from streamser.emotion.neural.network import FusedModel
from streamser.emotion.neural.whisper_audio import WhisperAcoustic
from streamser.training.augment import Augmenter, vocabulary_of
from streamser.training.items import Item, MelSpan
from streamser.training.settings import AugmentSettings
from streamser.training.sounds import Sounds

__all__ = ["Inputs", "TextChoice", "Variety", "sizes_of", "text_of"]

TextChoice = Literal["gold", "asr"]

_VECTORS_PER_SECOND, _LETTERS_PER_TOKEN = 16.0, 4.0


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
