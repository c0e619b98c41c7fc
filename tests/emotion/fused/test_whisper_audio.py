"""Whisper's lower layers, tiny and random, from sound and features to gradients and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch.nn import functional

from streamser.audio.clip import Samples
from streamser.emotion.compact.encoders import whisper_frames
from streamser.emotion.frontend import Mel, log_mel
from streamser.emotion.fused.config import LoraConfig, WhisperAcousticConfig
from streamser.emotion.fused.interfaces import AcousticEncoder, AudioBatch
from streamser.emotion.fused.whisper import (
    WhisperAcoustic,
    build_whisper_acoustic,
    load_whisper_acoustic,
    whisper_input,
)
from streamser.errors import ConfigError, ModelError
from tests.emotion.fused.tiny import WIDTH, tiny_acoustic


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where a tiny Whisper of two layers lies, in the form of transformers."""
    return tiny_acoustic("whisper", tmp_path_factory.mktemp("encoders") / "whisper")


def load(directory: Path, **settings: Any) -> WhisperAcoustic:
    """Load the first two layers of the encoder in a directory."""
    settings = {"used_layers": (1, 2), **settings}
    config = WhisperAcousticConfig(name=str(directory), **settings)
    return load_whisper_acoustic(config, offline=True)


def swell(samples: int, seed: int = 0) -> Samples:
    """Make noise that swells and fades."""
    rng = np.random.default_rng(seed)
    loudness = 0.2 * np.sin(np.linspace(0, np.pi, samples)) + 0.02
    return (loudness * rng.standard_normal(samples)).astype(np.float32)


def learning(encoder: WhisperAcoustic) -> set[str]:
    """Return the names of the weights that have gradients."""
    return {name for name, weight in encoder.named_parameters() if weight.requires_grad}


def step(encoder: WhisperAcoustic) -> dict[str, torch.Tensor]:
    """Run forward and backward once; return the gradients there are."""
    encoder.zero_grad()
    hidden = encoder(encoder.prepare([swell(16_000), swell(8_000, 1)])).hidden
    (hidden * torch.linspace(-1, 1, hidden.shape[2])).square().sum().backward()
    return {
        name: weight.grad.clone()
        for name, weight in encoder.named_parameters()
        if weight.grad is not None
    }


@pytest.mark.parametrize("join", ["sum", "concat"])
def test_item_depends_on_itself_alone(saved: Path, join: str) -> None:
    """A clip gives the same in a batch of others, and padded by any silence, as on its own."""
    encoder = load(saved, join=join).eval()
    clips = [swell(16_000), swell(30, 1), swell(9_001, 2), swell(40_000, 3), swell(0, 4)]
    with torch.inference_mode():
        batch = encoder.prepare(clips)
        wide = batch._replace(values=functional.pad(batch.values, (0, 0, 0, 333)))
        for together in (encoder(batch), encoder(wide)):
            for row, clip in enumerate(clips):
                alone = encoder(encoder.prepare([clip]))
                real = int(alone.mask.sum())
                assert real == int(together.mask[row].sum()) >= 1
                difference = together.hidden[row, :real] - alone.hidden[0]
                assert difference.abs().max() <= 1e-5
                assert (together.hidden[row, real:] == 0).all()
    assert together.hidden.shape[2] == encoder.width == {"sum": 1, "concat": 2}[join] * WIDTH
    assert isinstance(encoder, AcousticEncoder)
    assert encoder.prepare([]).values.shape == (0, 1, 80)


def test_agrees_with_transformers_on_a_full_window(saved: Path) -> None:
    """Each layer's vectors, normalised, are those that the library's encoder gives."""
    import transformers

    frames = torch.randn(1, 400, 80, generator=torch.Generator().manual_seed(0))
    theirs = transformers.AutoModel.from_pretrained(saved).encoder.eval()
    encoder = load(saved, used_layers=(0, 1), join="concat").eval()
    assert len(encoder.model.layers) == 1
    with torch.inference_mode():
        states = theirs(frames.transpose(1, 2), output_hidden_states=True).hidden_states
        found = encoder(AudioBatch(frames, torch.tensor([400]))).hidden
    expected = [functional.layer_norm(state, (WIDTH,)) for state in states[:2]]
    torch.testing.assert_close(found, torch.cat(expected, dim=2), atol=1e-5, rtol=1e-5)


def test_what_it_hears_is_scaled_as_whisper_wants_it() -> None:
    """As by the library's own front end, but for the level, which does not count."""
    import transformers

    clip = swell(32_000)
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    theirs = extractor(clip, sampling_rate=16_000, padding=False, return_tensors="np")
    (expected,) = theirs["input_features"]
    ours = whisper_input(whisper_frames(clip))
    # The library leaves out the last frame, and what it adds at either end is a mirror.
    expected = (expected - expected.max()).T[2:198]
    np.testing.assert_allclose((ours - ours.max())[2:198], expected, atol=1e-4)
    assert ours.max() == pytest.approx(1.375)
    quiet = whisper_input(whisper_frames(0.01 * clip))
    np.testing.assert_allclose(quiet, ours, atol=1e-4)


def test_silence_around_speech_is_left_out() -> None:
    """So that the same words give the same, however early the microphone was opened."""
    clip = swell(16_000)
    quiet = 1e-6 * np.random.default_rng(1).standard_normal(16_000).astype(np.float32)
    around = np.concatenate([quiet, clip, quiet])
    alone, heard = (whisper_input(whisper_frames(each)) for each in (clip, around))
    assert len(alone) == len(heard)
    np.testing.assert_allclose(heard[2:97], alone[2:97], atol=1e-3)
    for nothing in (np.zeros(0, np.float32), np.zeros(8000, np.float32)):
        silence = whisper_input(whisper_frames(nothing))
        assert silence.shape == (1, 80)
        assert (silence == -0.625).all()


def test_features_in_whispers_bands_are_heard_as_the_recording_is(saved: Path) -> None:
    """Coarser ones are refused in one line."""
    encoder, clip = load(saved), swell(16_000)
    mel = Mel(log_mel(clip), whisper_frames(clip))
    batch = encoder.prepare([clip, mel])
    assert torch.equal(batch.values[0], batch.values[1])
    with pytest.raises(ModelError, match="needs the recording itself, or frames of 128") as caught:
        encoder.prepare([Mel(log_mel(clip))])
    assert "\n" not in str(caught.value)


def test_clips_are_cut(saved: Path) -> None:
    """At what is configured, and at the positions that there are."""
    for seconds, frames in ((0.5, 50), (30.0, 400)):
        encoder = load(saved, max_seconds=seconds).eval()
        clip = swell(80_000)
        assert encoder.prepare([clip]).lengths.tolist() == [frames]
        mel = Mel(log_mel(clip), whisper_frames(clip))
        assert encoder.prepare([mel]).lengths.tolist() == [frames]


def test_layers_learn_and_convolutions_do_not_unless_asked(saved: Path) -> None:
    """Whole, from the layers on, or not at all; positions never do."""
    by_default, free = load(saved), load(saved, frozen="none")
    names = {name for name, _ in free.named_parameters()} - {"model.embed_positions.weight"}
    assert learning(free) == names
    assert learning(by_default) == {name for name in names if "model.conv" not in name}
    for encoder in (by_default, free):
        grown = {name for name, gradient in step(encoder).items() if gradient.any()}
        assert grown == learning(encoder)
    still = load(saved, frozen="all").train()
    assert learning(still) == {"layer_sum.weights"}
    assert set(step(still)) == {"layer_sum.weights"}
    assert not load(saved, frozen="all", used_layers=(2,))(
        still.prepare([swell(9)])
    ).hidden.requires_grad


def test_lora_learns_beside_queries_and_values(saved: Path) -> None:
    """At first without effect; nothing else of the encoder learns."""
    lora = LoraConfig(rank=2, alpha=4, dropout=0.0)
    encoder = load(saved, used_layers=(2,), lora=lora).eval()
    batch = encoder.prepare([swell(16_000)])
    before = encoder(batch).hidden.detach()
    torch.testing.assert_close(before, load(saved, used_layers=(2,)).eval()(batch).hidden)
    names = learning(encoder)
    # Two layers, query and value, two matrices each.
    assert len(names) == 8
    assert all("q_proj.lora_" in name or "v_proj.lora_" in name for name in names)
    step(encoder)
    torch.optim.SGD([w for w in encoder.parameters() if w.requires_grad], lr=0.1).step()
    assert (encoder(batch).hidden - before).abs().max() > 1e-4
    with pytest.raises(ConfigError, match="exclude each other"):
        load(saved, frozen="all", lora=lora)


def test_checkpointing_changes_no_gradient(saved: Path) -> None:
    """Computing activations twice gives the same gradients."""
    plain, again = (step(load(saved, gradient_checkpointing=twice)) for twice in (False, True))
    assert set(plain) == set(again)
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [{}, {"used_layers": (1,)}, {"join": "concat", "lora": LoraConfig(rank=2)}],
    ids=["plain", "the first layer alone", "lora side by side"],
)
def test_is_rebuilt_from_its_configuration(saved: Path, settings: dict[str, Any]) -> None:
    """Configuration as JSON and state are enough for the same encoder, without the files."""
    encoder = load(saved, **settings).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    written = msgspec.json.encode(replace(encoder.config, name="not/there"))
    config = msgspec.json.decode(written, type=WhisperAcousticConfig)
    again = build_whisper_acoustic(config).eval()
    again.load_state_dict(encoder.state_dict(), strict=True)
    assert learning(again) == learning(encoder)
    clips = [swell(16_000), swell(5_000)]
    first, second = encoder(encoder.prepare(clips)), again(again.prepare(clips))
    assert torch.equal(first.hidden, second.hidden)


def test_needs_an_architecture_to_be_rebuilt(saved: Path) -> None:
    """With layers enough; or there is nothing to build."""
    config = replace(load(saved, used_layers=(1,)).config, used_layers=(1, 2))
    with pytest.raises(ModelError, match=r"has 1 layers: .*used_layers cannot name 2"):
        build_whisper_acoustic(config)
    with pytest.raises(ModelError, match="not written down"):
        build_whisper_acoustic(WhisperAcousticConfig(name=str(saved)))
    with pytest.raises(ModelError, match="these families can: whisper"):
        build_whisper_acoustic(WhisperAcousticConfig(architecture={"model_type": "hubert"}))
