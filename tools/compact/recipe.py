"""The whole training of the bundled model: what is read, what is learnt, what is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from streamser.emotion.compact.encoders import load_layers, load_words
from tools.compact.assemble import assemble, calibrate
from tools.compact.channels import open_studio
from tools.compact.directions import fit_directions
from tools.compact.learn import LearnSettings, teach_voices, teach_words
from tools.compact.lessons import cremad_lessons, taught, training_lessons
from tools.compact.network import JudgeSettings
from tools.compact.occasions import Occasions, OccasionSettings
from tools.compact.streams import Streams, StreamSettings
from tools.compact.texts import NO_TEXTS, EncodedTexts, choose_texts, encode_texts
from tools.compact.voices import Voices, corpus_means, fit_norm, read_voices
from tools.compact.word_encoder import emobank_target
from tools.compact.word_texts import HeldOut, WordText, read_words

__all__ = ["BundleSettings", "Corpora", "read_corpora", "train_bundle"]

_MOST_TEXTS: Final = 5000  # of a category
_MOST_DEV_TEXTS: Final = 700
_DEV_CHANNELS: Final = 4


class BundleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Hold all that decides what a training gives, beside its seed and data."""

    channels: int = 4
    streams: StreamSettings = StreamSettings()
    voices: OccasionSettings = OccasionSettings(voices=144, words=0, pairs=0)
    fused: OccasionSettings = OccasionSettings(voices=0, words=72, pairs=108)
    checked: OccasionSettings = OccasionSettings(voices=168, words=36, pairs=60)
    judge: JudgeSettings = JudgeSettings()
    learn: LearnSettings = LearnSettings()
    calibration_batches: int = 60


class Corpora(NamedTuple):
    """Hold voices and texts to learn from, and others to calibrate on.

    ``german`` says whether EmoDB is among them.
    """

    voices: Voices
    texts: EncodedTexts
    dev_voices: Voices
    dev_texts: EncodedTexts
    german: bool = True


def read_corpora(
    data: Path, parts: Path, channels: int, cache: Path, *, german: bool = True
) -> Corpora:
    """Read, measure and encode everything once; what is in ``cache`` is not done again.

    ``data`` holds cremad_mel/, emodb/ (unless not ``german``), noise_rir/, speech/ and text/;
    ``parts`` the exported words, their tokenizer and the exported layers.
    Raises ``ConfigError`` and ``ModelError`` for what is missing.
    """
    studio = open_studio(data / "noise_rir")
    encoder, layers = load_words(parts), load_layers(parts)
    read = read_words(data / "text")
    rng = np.random.default_rng(0)
    chosen = choose_texts(read.train, _MOST_TEXTS, rng)
    dev = choose_texts(_held_out(read.dev), _MOST_DEV_TEXTS, rng)
    held_out = cremad_lessons(data / "cremad_mel", "dev")
    lessons = training_lessons(data, german=german)
    return Corpora(
        voices=read_voices(lessons, channels, studio, layers, cache=cache / "voices-train.npz"),
        texts=encode_texts(chosen, encoder, rng, cache=cache / "texts-train.npz"),
        dev_voices=read_voices(
            held_out, _DEV_CHANNELS, studio, layers, cache=cache / "voices-dev.npz"
        ),
        dev_texts=encode_texts(dev, encoder, rng, cache=cache / "texts-dev.npz"),
        german=german,
    )


def train_bundle(
    corpora: Corpora,
    parts: Path,
    directory: Path,
    settings: BundleSettings,
    *,
    seed: int,
    tell: Callable[[str], None],
) -> None:
    """Train the fusion, calibrate it on other speakers, and write the folder that ships."""
    directions = fit_directions(corpora.voices)
    voices = corpora.voices.placed(directions)
    dev_voices = corpora.dev_voices.placed(directions)
    norm = fit_norm(voices)
    # Of a stream of which nothing is known: what is usual, over the corpora.
    norm = replace(norm, mean=corpus_means(voices).mean(axis=0))
    rng = np.random.default_rng(seed)
    streams = Streams(voices, norm, settings.streams, rng)
    alone = Occasions(voices, streams, NO_TEXTS, settings.voices, rng)
    judge = teach_voices(alone, settings.judge, settings.learn, seed=seed, tell=tell)
    fused = Occasions(voices, streams, corpora.texts, settings.fused, rng)
    judge = teach_words(judge, fused, corpora.texts, settings.learn, tell=tell)
    again = np.random.default_rng(1000 + seed)
    dev_streams = Streams(dev_voices, norm, settings.streams, again)
    dev = Occasions(dev_voices, dev_streams, corpora.dev_texts, settings.checked, again)
    found = calibrate(judge, dev, corpora.dev_texts, settings.calibration_batches)
    for name, calibration in found.items():
        tell(
            f"  {name}: temperature {calibration.temperature:.2f},"
            f" unsure below {calibration.unsure_below:.2f}"
        )
    assemble(directory, judge, norm, directions, parts, found, taught(german=corpora.german))


def _held_out(held: HeldOut) -> list[WordText]:
    """Return held-out items as texts to be encoded."""
    named = [
        WordText(item.text or "", item.corpus, votes=item.votes or (), weight=1.0)
        for items in (held.goemotions, held.xed)
        for item in items
    ]
    rated = [
        WordText(item.text or "", item.corpus, dimensions=emobank_target(item.dimensions))
        for item in held.emobank
    ]
    return named + rated
