"""The encoder in numpy computes what CTranslate2's does, but for the silence that it remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamser.errors import ModelError
from streamser.speech.whisper_encoder import RememberingEncoder, read_encoder, silence
from tests.scripted_whisper import build_babbling_whisper


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a Whisper of random weights that hears something."""
    return build_babbling_whisper(tmp_path_factory.mktemp("encoder") / "babbling")


@pytest.fixture(scope="module")
def encoder(model: Path) -> RememberingEncoder:
    """Load its encoder."""
    return RememberingEncoder(read_encoder(model / "model.bin"))


def theirs(model: Path, features: Any, kind: str = "float32") -> Any:
    """Encode with CTranslate2."""
    import ctranslate2

    whisper = ctranslate2.models.Whisper(str(model), compute_type=kind, intra_threads=1)
    found = whisper.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(features[None])))
    return np.array(found)[0]


def sound(frames: int) -> Any:
    """Return features that are no silence."""
    return np.random.default_rng(0).standard_normal((80, frames)).astype(np.float32)


def test_a_full_window_is_encoded_as_by_ctranslate2(
    model: Path, encoder: RememberingEncoder
) -> None:
    """There is nothing behind it to be remembered."""
    features = sound(3000)
    np.testing.assert_allclose(encoder.encode(features), theirs(model, features), atol=0.02)


def test_silence_is_encoded_as_in_the_full_window(model: Path, encoder: RememberingEncoder) -> None:
    """However little of it is encoded, the rest is remembered."""
    still = theirs(model, silence(80, 3000))
    np.testing.assert_allclose(encoder.silent, still, atol=0.02)
    for frames in (8, 104, 3000):
        short = encoder.encode(silence(80, frames))
        assert short.shape == (frames // 2, still.shape[1])
        # Its last frame sees the edge of the window, and every fourth step stands for four.
        np.testing.assert_allclose(short[:-1], still[: frames // 2 - 1], atol=0.1)


def test_sound_is_encoded_more_as_in_the_full_window_than_without_memory(
    model: Path, encoder: RememberingEncoder
) -> None:
    """That is what it is for."""
    window = silence(80, 3000)
    window[:, :200] = sound(200)
    full = theirs(model, window)[:90]
    ours = np.abs(encoder.encode(window[:, :200])[:90] - full).mean()
    alone = np.abs(theirs(model, window[:, :200])[:90] - full).mean()
    assert ours < 0.5 * alone


def test_the_weights_of_the_encoder_alone_are_read(model: Path) -> None:
    """As float32, whatever they are written in; what was written once for several is there."""
    plain = read_encoder(model / "model.bin")
    assert {values.dtype for values in plain.values()} == {np.dtype(np.float32)}
    assert plain["conv1/weight"].shape == (64, 80, 3)
    assert plain["conv1/bias"].shape == plain["conv2/bias"].shape == (64,)
    assert not any(name.startswith("decoder") for name in plain)


def test_weights_in_int8_are_multiplied_out(model: Path, tmp_path: Path) -> None:
    """As converted models may have them."""
    plain = read_encoder(model / "model.bin")
    small = read_encoder(
        build_babbling_whisper(tmp_path / "small", quantization="int8") / "model.bin"
    )
    assert plain.keys() == small.keys()
    for name, values in plain.items():
        np.testing.assert_allclose(small[name], values, atol=0.02)


@pytest.mark.parametrize("damage", ["empty", "short", "missing"])
def test_weights_that_cannot_be_read_are_one_line(model: Path, tmp_path: Path, damage: str) -> None:
    """So that whoever asked can do without."""
    path = tmp_path / "model.bin"
    whole = (model / "model.bin").read_bytes()
    if damage != "missing":
        path.write_bytes(whole[:1000] if damage == "short" else b"")
    with pytest.raises(ModelError, match=r"weights in .*model\.bin cannot be read") as caught:
        read_encoder(path)
    assert "\n" not in str(caught.value)


def test_an_encoder_without_a_weight_names_it(model: Path) -> None:
    """A model of another architecture is not taken for Whisper."""
    weights = read_encoder(model / "model.bin")
    del weights["layer_0/ffn/linear_0/bias"]
    with pytest.raises(ModelError, match="no layer_0/ffn/linear_0/bias in its encoder"):
        RememberingEncoder(weights)
