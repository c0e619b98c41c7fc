"""Small things to train with: a model of a few thousand weights and voices that it can tell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.fused.config import (
    CompactAcousticConfig,
    CompactTextConfig,
    FusedConfig,
    FusionConfig,
    HeadsConfig,
)
from streamser.taxonomy import CATEGORIES
from streamser.training.manifest import Item, Split
from streamser.training.settings import OptimizerSettings, RunSettings, TrainSettings

__all__ = ["items", "model_config", "settings", "voice"]

_WORDS = {
    "neutral": "the table stands in the room",
    "happy": "what a lovely day to laugh",
    "sad": "he is gone and I weep alone",
    "angry": "get out of my house now",
}


def model_config(
    *, dropout: float = 0.0, dimensions: Sequence[str] = ("valence", "arousal")
) -> FusedConfig:
    """Return a fused model that trains in milliseconds."""
    return FusedConfig(
        acoustic=CompactAcousticConfig(width=8, layers=1, heads=2, dropout=dropout),
        text=CompactTextConfig(width=8, layers=1, heads=2, vocabulary=64, dropout=dropout),
        fusion=FusionConfig(width=8, heads=2, bridge_tokens=2, feedforward=1, dropout=dropout),
        heads=HeadsConfig(dimensions=tuple(dimensions)),
    )


def settings(*, epochs: int = 2, batch: int = 8, dropout: float = 0.1) -> TrainSettings:
    """Return settings of a training that ends at once, one thread, float32."""
    return TrainSettings(
        model=model_config(dropout=dropout),
        optimizer=OptimizerSettings(
            kind="adamw", learning_rate=1e-2, weight_decay=0.01, batch=batch, epochs=epochs
        ),
        run=RunSettings(device="cpu", threads=1, bucket=2),
    )


def voice(category: str, seed: int, seconds: float = 0.4) -> Samples:
    """Make a sound that tells a category by its pitch, with a little noise."""
    rng = np.random.default_rng(seed)
    hertz = 120 * 2 ** CATEGORIES.index(category) * rng.uniform(0.95, 1.05)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    sound = 0.3 * np.sin(2 * np.pi * hertz * time) + 0.01 * rng.standard_normal(len(time))
    samples: Samples = sound.astype(np.float32)
    return samples


def items(folder: Path, *, train: int = 24, dev: int = 8) -> list[Item]:
    """Write voices with words and labels, all categories alike often, into a folder."""
    splits: list[Split] = [*["train"] * train, *["dev"] * dev]  # type: ignore[list-item]
    return [_item(folder, number, split) for number, split in enumerate(splits)]


def without_text(some: Sequence[Item]) -> list[Item]:
    """Take the words away."""
    return [replace(item, text=None) for item in some]


def _item(folder: Path, number: int, split: Split) -> Item:
    category = CATEGORIES[number % len(CATEGORIES)]
    path = folder / f"{number}.wav"
    soundfile.write(path, voice(category, number, 0.3 + 0.02 * (number % 7)), SAMPLE_RATE)
    place = CATEGORIES.index(category) / 3
    wobble = 0.02 * (number % 5)
    return Item(
        id=str(number),
        corpus="tones",
        speaker=f"{split}{number % 2}",
        split=split,
        audio=path,
        text=f"{_WORDS[category]} {number}",
        votes=tuple(float(name == category) for name in CATEGORIES),
        dimensions=(0.9 * place + wobble, 0.9 - 0.8 * place + wobble, 0.5),
    )
