"""Published acoustic encoders, tiny and random, from their files to gradients and back."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec.structs import replace

from streamser.audio.clip import Samples
from streamser.emotion.frontend import Mel
from streamser.emotion.fused.config import LoraConfig, PretrainedAcousticConfig
from streamser.emotion.fused.interfaces import AcousticEncoder
from streamser.emotion.fused.pretrained_encoders import (
    PretrainedAcoustic,
    build_pretrained_acoustic,
    load_pretrained_acoustic,
)
from streamser.errors import ConfigError, ModelError
from tests.emotion.fused.tiny import ACOUSTIC_FAMILIES, WIDTH, AcousticFamily, tiny_acoustic

families = pytest.mark.parametrize("family", ACOUSTIC_FAMILIES)
# One of each kind of attention and front end where the others add nothing.
kinds = pytest.mark.parametrize("family", ["hubert", "wavlm", "whisper"])

Saved = Callable[[AcousticFamily], Path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Return where a family's tiny encoder lies; nobody writes there."""
    root = tmp_path_factory.mktemp("encoders")
    return lambda family: (
        root / family if (root / family).is_dir() else tiny_acoustic(family, root / family)
    )


def config_of(directory: Path, **settings: Any) -> PretrainedAcousticConfig:
    """Return the configuration of the encoder in a directory."""
    return PretrainedAcousticConfig(name=str(directory), **settings)


def load(directory: Path, **settings: Any) -> PretrainedAcoustic:
    """Load the encoder in a directory."""
    return load_pretrained_acoustic(config_of(directory, **settings), offline=True)


def noise(samples: int, seed: int = 0) -> Samples:
    """Return a second-long swell of noise with an offset, so that normalising shows."""
    rng = np.random.default_rng(seed)
    loudness = 0.2 * np.sin(np.linspace(0, np.pi, samples)) + 0.02
    return (loudness * rng.standard_normal(samples) + 0.01).astype(np.float32)


def edit(directory: Path, file: str, **changes: Any) -> None:
    """Change values of a JSON file."""
    path = directory / file
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def learning(encoder: torch.nn.Module) -> set[str]:
    """Return the names of the weights that have gradients."""
    return {name for name, weight in encoder.named_parameters() if weight.requires_grad}


def step(encoder: PretrainedAcoustic, clips: list[Samples]) -> dict[str, torch.Tensor]:
    """Run forward and backward once; return the gradients there are."""
    encoder.zero_grad()
    encoded = encoder(encoder.prepare(clips))
    (encoded.hidden * torch.linspace(-1, 1, WIDTH)).square().sum().backward()
    return {
        name: weight.grad.clone()
        for name, weight in encoder.named_parameters()
        if weight.grad is not None
    }


@families
def test_item_depends_on_itself_alone(saved: Saved, family: AcousticFamily) -> None:
    """A clip gives the same in a batch of others, longer, shorter and empty, as on its own."""
    encoder = load(saved(family)).eval()
    clips = [noise(16_000), noise(30, 1), noise(9_001, 2), noise(40_000, 3), noise(0, 4)]
    with torch.inference_mode():
        together = encoder(encoder.prepare(clips))
        for row, clip in enumerate(clips):
            alone = encoder(encoder.prepare([clip]))
            real = int(alone.mask.sum())
            assert real == int(together.mask[row].sum()) >= 1
            assert together.mask[row, :real].all()
            difference = together.hidden[row, :real] - alone.hidden[0]
            assert difference.abs().max() <= 1e-5
            assert (together.hidden[row, real:] == 0).all()
    assert together.hidden.shape[2] == encoder.width == WIDTH
    assert isinstance(encoder, AcousticEncoder)


@families
def test_agrees_with_transformers(saved: Saved, family: AcousticFamily) -> None:
    """A clip on its own gives what the library gives with the checkpoint's own preprocessor."""
    import transformers

    clip = noise(20_000)
    extractor = transformers.AutoFeatureExtractor.from_pretrained(saved(family))
    theirs = transformers.AutoModel.from_pretrained(saved(family)).eval()
    theirs = theirs.encoder if family == "whisper" else theirs
    encoder = load(saved(family)).eval()
    features = extractor(clip, sampling_rate=16_000, return_tensors="pt")
    with torch.inference_mode():
        expected = theirs(features[theirs.main_input_name]).last_hidden_state[0]
        got = encoder(encoder.prepare([clip])).hidden[0]
    assert len(got) == 63 if family == "whisper" else len(got) == len(expected) == 62
    torch.testing.assert_close(got, expected[: len(got)], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mels", [80, 128])
def test_whisper_hears_its_whole_window(tmp_path: Path, mels: int) -> None:
    """Whisper's log-mel frames fill its window, but only those of the clip are real."""
    import transformers

    configuration = transformers.WhisperConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_mel_bins=mels,
        vocab_size=8,
        pad_token_id=0,
    )
    transformers.WhisperModel(configuration).save_pretrained(tmp_path)
    encoder = load(tmp_path, max_seconds=100).eval()
    batch = encoder.prepare([noise(16_000), noise(32 * 16_000)])
    assert batch.values.shape == (2, 3000, mels)
    assert batch.lengths.tolist() == [100, 3000]
    with torch.inference_mode():
        assert encoder(batch).mask.sum(dim=1).tolist() == [50, 1500]


def test_cuts_long_clips(saved: Saved) -> None:
    """Only the first ``max_seconds`` of a clip are heard."""
    encoder = load(saved("hubert"), max_seconds=0.5, normalize=False)
    clip = noise(16_000)
    batch = encoder.prepare([clip])
    assert batch.lengths.tolist() == [8_000]
    assert np.array_equal(batch.values[0].numpy(), clip[:8_000])


def test_nothing_makes_an_empty_batch(saved: Saved) -> None:
    """No clips make a batch without rows, for every kind of front end."""
    assert load(saved("hubert")).prepare([]).values.shape[0] == 0
    assert load(saved("whisper")).prepare([]).values.shape == (0, 400, 80)


def test_normalises_as_the_checkpoint_asks(saved: Saved, tmp_path: Path) -> None:
    """The preprocessor decides; without one, layer-normed convolutions do; a setting wins."""
    assert load(saved("hubert")).config.normalize is True
    assert load(saved("hubert-base")).config.normalize is False
    asked = tiny_acoustic("hubert-base", tmp_path / "asked")
    edit(asked, "preprocessor_config.json", do_normalize=True)
    assert load(asked).config.normalize is True
    assert load(asked, normalize=False).config.normalize is False
    for family, expected in (("hubert", True), ("hubert-base", False), ("whisper", False)):
        bare = tiny_acoustic(family, tmp_path / f"bare-{family}")  # type: ignore[arg-type]
        (bare / "preprocessor_config.json").unlink()
        assert load(bare).config.normalize is expected
    values = load(saved("hubert")).prepare([noise(16_000), noise(4_000)]).values
    assert abs(float(values[0].mean())) < 1e-6
    assert float(values[0].std()) == pytest.approx(1, abs=1e-3)
    assert (values[1, 4_000:] == 0).all()


def test_silence_is_normalised_to_silence(saved: Saved) -> None:
    """A clip of zeros stays zeros and gives finite vectors."""
    encoder = load(saved("hubert")).eval()
    batch = encoder.prepare([np.zeros(8_000, np.float32)])
    assert (batch.values == 0).all()
    assert torch.isfinite(encoder(batch).hidden).all()


def test_refuses_ready_made_features(saved: Saved) -> None:
    """Log-mel frames cannot stand for the recording."""
    mel = Mel(decibels=np.zeros((10, 64), np.float32))
    with pytest.raises(ModelError, match="needs the recording itself"):
        load(saved("hubert")).prepare([noise(4_000), mel])


@families
def test_trains_what_the_paper_trains(saved: Saved, family: AcousticFamily) -> None:
    """By default all but feature extractor and embeddings learns, in training mode too."""
    encoder = load(saved(family)).train()
    frozen = ["model.feature_extractor.", "model.feature_projection."]
    frozen.append("model.encoder.pos_conv_embed.")
    if family == "whisper":
        frozen = ["model.conv1.", "model.conv2.", "model.embed_positions."]
    names = {name for name, _ in encoder.named_parameters()}
    expected = {name for name in names if not name.startswith(tuple(frozen))}
    assert learning(encoder) == expected < names
    grown = {name for name, grad in step(encoder, [noise(16_000)]).items() if grad.any()}
    # Softmax does not see a constant added to all keys.
    assert {name for name in expected - grown if "k_proj.bias" not in name} == set()


@kinds
def test_freezes_all_or_nothing(saved: Saved, family: AcousticFamily) -> None:
    """Frozen throughout, no graph is built and dropout stays off; else every weight learns."""
    still = load(saved(family), frozen="all").train()
    assert not learning(still)
    batch = still.prepare([noise(16_000)])
    first = still(batch).hidden
    assert not first.requires_grad
    assert torch.equal(first, still(batch).hidden)
    free = load(saved(family), frozen="none").train()
    assert learning(free) == {name for name, _ in free.named_parameters()}
    grown = {name for name, grad in step(free, [noise(16_000)]).items() if grad.any()}
    assert {name.split(".")[1] for name in grown} == {
        name.split(".")[1] for name, _ in free.named_parameters()
    }


@families
def test_training_draws_dropout_alone(saved: Saved, family: AcousticFamily, tmp_path: Path) -> None:
    """Neither layers are dropped nor time masked, whatever the pretraining did."""
    directory = tiny_acoustic(family, tmp_path / family)
    dropouts = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
    off = dict.fromkeys((*dropouts, "dropout"), 0.0)
    wild = {"layerdrop": 0.9, "encoder_layerdrop": 0.9, "apply_spec_augment": True}
    wild |= {"mask_time_prob": 0.9, "mask_time_length": 2, "mask_feature_prob": 0.9}
    edit(directory, "config.json", **off, **wild)
    encoder = load(directory)
    batch = encoder.prepare([noise(16_000), noise(8_000)])
    trained, tested = encoder.train()(batch).hidden, encoder.eval()(batch).hidden
    torch.testing.assert_close(trained, tested, atol=1e-5, rtol=1e-5)


@families
def test_layer_sum_begins_uniform(saved: Saved, family: AcousticFamily) -> None:
    """The weighted sum is at first the mean over all layers as transformers returns them."""
    import transformers

    clip = noise(16_000)
    theirs = transformers.AutoModel.from_pretrained(saved(family)).eval()
    theirs = theirs.encoder if family == "whisper" else theirs
    encoder = load(saved(family), layer_sum=True).eval()
    batch = encoder.prepare([clip])
    given = batch.values.transpose(1, 2) if family == "whisper" else batch.values
    with torch.inference_mode():
        found = theirs(given, output_hidden_states=True)
        states = torch.stack([*found.hidden_states[:-1], found.last_hidden_state])
        hidden = encoder(batch).hidden
    assert len(states) == 3
    expected = states.mean(dim=0)[:, : hidden.shape[1]]
    torch.testing.assert_close(hidden, expected, atol=1e-5, rtol=1e-5)


def test_layer_weights_learn_over_a_frozen_encoder(saved: Saved) -> None:
    """With everything frozen the shares of the layers still have gradients."""
    grads = step(load(saved("hubert"), frozen="all", layer_sum=True), [noise(16_000)])
    assert set(grads) == {"layer_sum.weights"}
    assert grads["layer_sum.weights"].abs().min() > 0


@kinds
def test_checkpointing_changes_no_gradient(saved: Saved, family: AcousticFamily) -> None:
    """Computing activations twice gives the same gradients, those of the layer sum included."""
    found = []
    for twice in (False, True):
        encoder = load(saved(family), layer_sum=True, gradient_checkpointing=twice).train()
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
            if isinstance(getattr(module, "dropout", None), float):
                module.dropout = 0.0  # type: ignore[assignment]
        found.append(step(encoder, [noise(16_000), noise(8_000)]))
    plain, again = found
    assert set(plain) == set(again)
    assert "layer_sum.weights" in plain
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, atol=1e-4, rtol=1e-4)


@families
def test_lora_learns_beside_frozen_weights(saved: Saved, family: AcousticFamily) -> None:
    """Low-rank matrices begin without effect, are all that learns, and then do change it."""
    encoder = load(saved(family), lora=LoraConfig(rank=2, alpha=4)).eval()
    batch = encoder.prepare([noise(16_000)])
    torch.testing.assert_close(encoder(batch).hidden, load(saved(family)).eval()(batch).hidden)
    names = learning(encoder)
    assert names
    assert all("lora_" in name for name in names)
    # Two layers, query and value, two matrices each.
    assert len(names) == 8
    before = encoder(batch).hidden.detach()
    step(encoder, [noise(16_000)])
    torch.optim.SGD([w for w in encoder.parameters() if w.requires_grad], lr=0.1).step()
    assert (encoder(batch).hidden - before).abs().max() > 1e-4


def test_lora_has_its_limits(saved: Saved) -> None:
    """What cannot be had together is refused in one line."""
    with pytest.raises(ConfigError, match="exclude each other"):
        load(saved("hubert"), frozen="all", lora=LoraConfig())
    with pytest.raises(ConfigError, match="dropout has no place in wavlm"):
        load(saved("wavlm"), lora=LoraConfig(dropout=0.1))


@families
@pytest.mark.parametrize(
    "settings",
    [{}, {"layer_sum": True, "lora": LoraConfig(rank=2)}],
    ids=["plain", "lora and layer sum"],
)
def test_is_rebuilt_from_its_configuration(
    saved: Saved, family: AcousticFamily, settings: dict[str, Any]
) -> None:
    """Configuration as JSON and state are enough for the same encoder, without the files."""
    encoder = load(saved(family), **settings).eval()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    written = msgspec.json.encode(replace(encoder.config, name="not/there"))
    config = msgspec.json.decode(written, type=PretrainedAcousticConfig)
    again = build_pretrained_acoustic(config).eval()
    assert config == replace(encoder.config, name="not/there")
    state = encoder.state_dict()
    assert not torch.equal(next(iter(again.state_dict().values())), next(iter(state.values())))
    again.load_state_dict(state, strict=True)
    assert learning(again) == learning(encoder)
    clips = [noise(16_000), noise(5_000)]
    first, second = encoder(encoder.prepare(clips)), again(again.prepare(clips))
    assert torch.equal(first.hidden, second.hidden)


def test_needs_an_architecture_to_be_rebuilt(saved: Saved) -> None:
    """Without an architecture, or with another kind of model's, there is nothing to build."""
    with pytest.raises(ModelError, match="not written down"):
        build_pretrained_acoustic(config_of(saved("hubert")))
    for wrong in ({"model_type": "bert"}, {"hidden_size": 8}):
        with pytest.raises(ModelError, match="hubert, wav2vec2, wavlm, whisper"):
            build_pretrained_acoustic(PretrainedAcousticConfig(name="x", architecture=wrong))
    odd = {"model_type": "hubert", "hidden_size": 30, "num_attention_heads": 4}
    with pytest.raises(ModelError, match="no hubert can be built"):
        build_pretrained_acoustic(PretrainedAcousticConfig(name="x", architecture=odd))


class _Harm:
    """What a pickle can do to who loads it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def test_never_loads_a_pickle(tmp_path: Path) -> None:
    """A directory with pickled weights alone is refused, and told how to convert them."""
    directory = tiny_acoustic("hubert", tmp_path / "model")
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(_Harm(tmp_path / "harm")))
    with pytest.raises(ModelError, match="save_pretrained") as caught:
        load(directory)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_refuses_an_adapter(tmp_path: Path) -> None:
    """Which the library would load by itself, from a pickle where there is nothing else."""
    directory = tiny_acoustic("hubert", tmp_path / "model")
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "x", "target_modules": ["q_proj"]}
    (directory / "adapter_config.json").write_text(json.dumps(adapter))
    (directory / "adapter_model.bin").write_bytes(pickle.dumps(_Harm(tmp_path / "harm")))
    with pytest.raises(ModelError, match="carries an adapter") as caught:
        load(directory)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()


def change_weights(directory: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Rewrite a directory's weights."""
    from safetensors.torch import load_file, save_file

    path = directory / "model.safetensors"
    state = load_file(path)
    change(state)
    save_file(state, path, metadata={"format": "pt"})


def test_refuses_gaps(tmp_path: Path) -> None:
    """A missing weight, another shape, a cut file, no file: one line each, nothing random."""
    name = "encoder.layers.1.attention.q_proj.weight"
    directory = tiny_acoustic("hubert", tmp_path / "missing")
    change_weights(directory, lambda state: state.pop(name))
    with pytest.raises(ModelError, match=rf"1 weights .* are missing, {name}"):
        load(directory)
    directory = tiny_acoustic("hubert", tmp_path / "shape")
    change_weights(directory, lambda state: state.update({name: torch.zeros(4, 4)}))
    with pytest.raises(ModelError, match=rf"another shape .*: {name} is \(4, 4\), not \(32, 32\)"):
        load(directory)
    directory = tiny_acoustic("hubert", tmp_path / "cut")
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelError, match="weights cannot be loaded"):
        load(directory)
    path.unlink()
    with pytest.raises(ModelError, match=r"holds no weights"):
        load(directory)


def test_takes_what_is_not_needed_or_too_much(tmp_path: Path) -> None:
    """Heads and mask vectors of the pretraining make no difference, there or not."""
    directory = tiny_acoustic("hubert", tmp_path / "model")
    before = load(directory).state_dict()
    change_weights(directory, lambda state: state.pop("masked_spec_embed"))
    change_weights(directory, lambda state: state.update({"lm_head.weight": torch.zeros(3, 3)}))
    after = load(directory).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_says_what_is_wrong_with_a_directory(tmp_path: Path) -> None:
    """Another family, no configuration, a broken one, other rates: one line each."""
    directory = tiny_acoustic("hubert", tmp_path / "model")
    edit(directory, "preprocessor_config.json", sampling_rate=8_000)
    with pytest.raises(ModelError, match="8000 Hz"):
        load(directory)
    (directory / "preprocessor_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"preprocessor_config\.json cannot be read"):
        load(directory)
    edit(directory, "config.json", model_type="gpt2")
    with pytest.raises(ModelError, match=r"gpt2 model .* hubert, wav2vec2, wavlm, whisper"):
        load(directory)
    edit(directory, "config.json", model_type="never_heard_of")
    with pytest.raises(ModelError, match="hubert, wav2vec2, wavlm, whisper"):
        load(directory)
    (directory / "config.json").write_text("{]")
    with pytest.raises(ModelError, match=r"config\.json cannot be read"):
        load(directory)
    (directory / "config.json").unlink()
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        load(directory)
    with pytest.raises(ModelError, match="no such directory"):
        load(tmp_path / "nowhere")
    wav2vec2 = tiny_acoustic("wav2vec2", tmp_path / "adapter")
    edit(wav2vec2, "config.json", add_adapter=True)
    with pytest.raises(ModelError, match="add_adapter"):
        load(wav2vec2)


def test_says_what_is_wrong_with_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was not downloaded, and a hub out of reach, are told apart in one line."""
    config = PretrainedAcousticConfig(name="nobody/never-published-this")
    with pytest.raises(ModelError, match="has not been downloaded"):
        load_pretrained_acoustic(config, offline=True)
    import transformers

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("We couldn't connect to 'https://huggingface.co' to load the files,\nand")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", unreachable)
    with pytest.raises(ModelError, match="the hub cannot be reached") as caught:
        load_pretrained_acoustic(config)
    assert "\n" not in str(caught.value)
