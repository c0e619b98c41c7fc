from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from streamser.emotion.compact.encoders import GRAPH, TOKENIZER, WORDS
from streamser.emotion.compact.model import PARTS, CompactFeatures, CompactSpeaker, load_bundle
from streamser.emotion.compact.speaker_stats import MEASURED
from streamser.emotion.compact.statistics import Measured
from tests.emotion.compact.bundles import tiny_bundle
from tests.tools.compact.tiny_voices import tiny_texts, tiny_voices
from tools.compact.learn import LearnSettings
from tools.compact.network import JudgeSettings
from tools.compact.occasions import OccasionSettings
from tools.compact.recipe import BundleSettings, Corpora, train_bundle

CORPORA = Corpora(
    tiny_voices(width=MEASURED),
    tiny_texts(),
    tiny_voices(seed=1, width=MEASURED),
    tiny_texts(seed=1),
)
SETTINGS = BundleSettings(
    judge=JudgeSettings(
        hidden=32, tokens=2, width=16, heads=2, bridge_tokens=2, input_dropout=0.0, dropout=0.0
    ),
    voices=OccasionSettings(voices=48, words=0, pairs=0),
    fused=OccasionSettings(voices=0, words=36, pairs=36),
    checked=OccasionSettings(voices=36, words=24, pairs=24),
    learn=LearnSettings(steps=120, rate=5e-3, averaging=0.05),
    calibration_batches=12,
)
HARDLY = replace(SETTINGS, learn=LearnSettings(steps=6), calibration_batches=3)
"""Enough to tell one training from another."""


def trained(folder: Path, name: str, seed: int, settings: BundleSettings = SETTINGS) -> Path:
    """Train in small; the words are those of a small bundle."""
    words = folder / "words"
    if not words.exists():
        words.mkdir()
        made = tiny_bundle(folder / "made")
        for part in (GRAPH, WORDS, TOKENIZER):
            shutil.copyfile(made / part, words / part)
    train_bundle(CORPORA, words, folder / name, settings, seed=seed, tell=lambda line: None)
    return folder / name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a place for what is trained once."""
    return tmp_path_factory.mktemp("recipe")


@pytest.fixture(scope="module")
def where(folder: Path) -> Path:
    """Train once."""
    return trained(folder, "first", 1)


def test_what_was_learnt_is_heard_through_the_path_that_ships(where: Path) -> None:
    """Voice alone, and words alone, on speakers and texts that were not learnt from."""
    bundle = load_bundle(where)
    voices, texts = CORPORA.dev_voices.placed(bundle.directions), CORPORA.dev_texts
    right = []
    for place in np.flatnonzero(voices.pools < 4):
        listener = CompactSpeaker(bundle)
        finding = CompactFeatures(Measured(voices.of_channel(0)[place], 2.0), None)
        right.append(int(listener.judge(finding).logits.argmax()) == voices.pools[place])
    assert np.mean(right) > 0.8
    right = []
    silence = Measured(np.full(voices.values.shape[2], np.nan, np.float32), 0.0)
    for place in np.flatnonzero(texts.votes.sum(axis=1) > 0):
        vectors = texts.vectors[texts.starts[place] : texts.starts[place + 1]].astype(np.float32)
        judged = CompactSpeaker(bundle).judge(CompactFeatures(silence, vectors))
        assert judged.modalities == ("text",)
        right.append(int(judged.logits.argmax()) == int(texts.votes[place].argmax()))
    assert np.mean(right) > 0.8


def test_every_set_of_modalities_is_calibrated(where: Path) -> None:
    """On other speakers than those learnt from."""
    calibrations = load_bundle(where).calibrations
    assert set(calibrations) == {"audio", "text", "audio+text"}
    assert all("validation speakers" in each.fitted_on for each in calibrations.values())


def test_made_pairs_teach_no_more_certainty_than_voices_and_words_have(where: Path) -> None:
    """They were made to agree: on a talk they would be sure of everything."""
    both, *alone = (load_bundle(where).calibrations[n] for n in ("audio+text", "audio", "text"))
    assert both.temperature >= max(each.temperature for each in alone)
    assert both.unsure_below >= max(each.unsure_below for each in alone)


def test_the_same_seed_gives_the_same_bytes(folder: Path) -> None:
    """And another seed others."""
    first, again, other = (
        trained(folder, name, seed, HARDLY)
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    for part in PARTS:
        assert (first / part).read_bytes() == (again / part).read_bytes(), part
    assert (first / "judge.onnx").read_bytes() != (other / "judge.onnx").read_bytes()
