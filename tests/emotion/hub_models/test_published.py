"""Published layouts, tiny and random, from their files to the answers their authors would get."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file

from streamser.audio.clip import Samples
from streamser.emotion.hub_models.labels import HubPart
from streamser.emotion.hub_models.registry import HUB_MODELS
from streamser.emotion.hub_models.torch_models import TorchReader, load_bare, load_reader
from streamser.errors import ModelError
from tests.emotion.hub_models.layouts import TORCH_MODELS, edit, snapshot_of

TEXTS = ["I am so happy to see you today.", "Leave me alone!", "The train leaves at nine."]
Floats = npt.NDArray[np.float64]
Copy = Callable[[str], Path]

everything = pytest.mark.parametrize("name", TORCH_MODELS)
superb = pytest.mark.parametrize(
    "name", [n for n in TORCH_MODELS if HUB_MODELS[n].kind == "superb"]
)
words = pytest.mark.parametrize("name", [n for n in TORCH_MODELS if HUB_MODELS[n].kind == "words"])
odyssey = pytest.mark.parametrize(
    "name", [n for n in TORCH_MODELS if HUB_MODELS[n].kind == "odyssey"]
)


def load(name: str, laid: Path) -> TorchReader:
    """Load a model from the cache of the tests."""
    return load_reader(HUB_MODELS[name], snapshot_of(name, laid))


def refused(name: str, directory: Path) -> str:
    """Return the line with which a model is refused."""
    with pytest.raises(ModelError) as caught:
        load_reader(HUB_MODELS[name], directory)
    assert str(caught.value).startswith(name)
    return str(caught.value)


def change(directory: Path, **tensors: torch.Tensor | None) -> None:
    """Change weights of a safetensors file, dots written as ``__``; ``None`` takes one away."""
    path = directory / "model.safetensors"
    state = load_file(path)
    for key, value in tensors.items():
        name = key.replace("__", ".")
        state.pop(name, None)
        if value is not None:
            state[name] = value
    save_file(state, path)


def reference(name: str, laid: Path) -> Any:
    """Load a stock model of transformers from the same files, as its card says."""
    import transformers as hf

    directory = snapshot_of(name, laid)
    architecture = json.loads((directory / "config.json").read_text())["architectures"][0]
    model, found = getattr(hf, architecture).from_pretrained(directory, output_loading_info=True)
    assert not [key for key in found["missing_keys"] if "masked_spec" not in key]
    return model.eval()


def hidden_of(encoder: Any, prefix: str, state: dict[str, Any], sound: Samples) -> Floats:
    """Run a stock encoder with published weights on one clip; returns float [T, width]."""
    own = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
    renamed = {
        key.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): value
        for key, value in own.items()
    }
    missing, _ = encoder.load_state_dict(renamed, strict=False)
    assert not missing
    with torch.inference_mode():
        hidden = encoder.eval()(torch.from_numpy(sound)[None]).last_hidden_state[0]
    return np.asarray(hidden.double().numpy())


def plain(state: dict[str, Any], name: str) -> Floats:
    """Return a weight as numpy has it."""
    return np.asarray(state[name].double().numpy())


@superb
def test_a_superb_model_answers_as_it_was_ported(
    laid: Path, clips: list[Samples], name: str
) -> None:
    """Weighted sum of layers, projector, mean and classifier, old names of weights included.

    The last layer counts with the norm behind it, as in s3prl and transformers 4, with which the
    weights were published; transformers 5.24's own class leaves that norm out.
    """
    import transformers as hf

    extractor = hf.Wav2Vec2FeatureExtractor.from_pretrained(snapshot_of(name, laid))
    model = reference(name, laid)
    got = load(name, laid).raw(clips)
    for row, clip in zip(got, clips, strict=True):
        given = extractor(clip, sampling_rate=16_000, return_tensors="pt").input_values
        with torch.inference_mode():
            found = model.base_model(given, output_hidden_states=True)
            states = torch.stack([*found.hidden_states[:-1], found.last_hidden_state])
            shares = torch.exp(model.layer_weights) / torch.exp(model.layer_weights).sum()
            mixed = (shares[:, None, None] * states[:, 0]).sum(dim=0)
            projected = mixed @ model.projector.weight.T + model.projector.bias
            expected = projected.mean(dim=0) @ model.classifier.weight.T + model.classifier.bias
        torch.testing.assert_close(row, expected, atol=2e-5, rtol=1e-4)


@words
def test_a_model_of_words_answers_as_transformers_own(laid: Path, name: str) -> None:
    """Tokenizer, encoder and the head on the first token."""
    import transformers as hf

    tokenizer = hf.AutoTokenizer.from_pretrained(snapshot_of(name, laid))
    model = reference(name, laid)
    got = load(name, laid).raw(TEXTS)
    for row, text in zip(got, TEXTS, strict=True):
        with torch.inference_mode():
            expected = model(**tokenizer(text, return_tensors="pt")).logits[0]
        torch.testing.assert_close(row, expected, atol=2e-5, rtol=1e-4)


def test_audeerings_head_is_the_published_formula(laid: Path, clips: list[Samples]) -> None:
    """Normalised clip, mean over time, dense, tanh, linear; here in numpy."""
    import transformers as hf

    directory = snapshot_of("audeering-msp-dim", laid)
    state = load_file(directory / "model.safetensors")
    encoder = hf.Wav2Vec2Model(hf.Wav2Vec2Config.from_pretrained(directory))
    got = load("audeering-msp-dim", laid).raw(clips)
    for row, clip in zip(got, clips, strict=True):
        exact = clip.astype(np.float64)
        normal = ((exact - exact.mean()) / np.sqrt(exact.var() + 1e-7)).astype(np.float32)
        pooled = hidden_of(encoder, "wav2vec2.", state, normal).mean(axis=0)
        inner = np.tanh(
            plain(state, "classifier.dense.weight") @ pooled + plain(state, "classifier.dense.bias")
        )
        expected = plain(state, "classifier.out_proj.weight") @ inner
        expected += plain(state, "classifier.out_proj.bias")
        np.testing.assert_allclose(row.numpy(), expected, atol=3e-5, rtol=1e-4)


@odyssey
def test_odysseys_pooling_and_network_are_the_published_formula(
    laid: Path, clips: list[Samples], name: str
) -> None:
    """Its own scale of sound, attentive statistics, linear, norm, ReLU, linear; here in numpy."""
    import transformers as hf

    directory = snapshot_of(name, laid)
    config = json.loads((directory / "config.json").read_text())
    state = load_file(directory / "model.safetensors")
    encoder = hf.WavLMModel(
        hf.WavLMConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=48,
            conv_dim=[16] * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
            num_buckets=40,
            do_stable_layer_norm=True,
            feat_extract_norm="layer",
        )
    )
    got = load(name, laid).raw(clips)
    for row, clip in zip(got, clips, strict=True):
        scaled = (clip.astype(np.float64) - config["mean"]) / (config["std"] + 0.000001)
        hidden = hidden_of(encoder, "ssl_model.", state, scaled.astype(np.float32))
        attended = np.tanh(
            hidden @ plain(state, "pool_model.sap_linear.weight").T
            + plain(state, "pool_model.sap_linear.bias")
        )
        scores = (attended @ plain(state, "pool_model.attention"))[:, 0]
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        mean = weights @ hidden
        deviation = np.sqrt(np.maximum(weights @ hidden**2 - mean**2, 1e-5))
        inner = plain(state, "ser_model.fc.0.0.weight") @ np.concatenate((mean, deviation))
        inner += plain(state, "ser_model.fc.0.0.bias")
        inner = (inner - inner.mean()) / np.sqrt(inner.var() + 1e-5)
        inner = inner * plain(state, "ser_model.fc.0.1.weight")
        inner = np.maximum(inner + plain(state, "ser_model.fc.0.1.bias"), 0.0)
        expected = plain(state, "ser_model.out.0.weight") @ inner
        expected += plain(state, "ser_model.out.0.bias")
        np.testing.assert_allclose(row.numpy(), expected, atol=2e-4, rtol=1e-3)


@everything
def test_a_clip_is_judged_alike_alone_and_among_others(
    laid: Path, clips: list[Samples], name: str
) -> None:
    """Whatever their lengths."""
    reader = load(name, laid)
    given: list[Any] = TEXTS if HUB_MODELS[name].modality == "text" else clips
    together = reader.raw(given)
    alone = torch.cat([reader.raw([item]) for item in given])
    torch.testing.assert_close(together, alone, atol=3e-5, rtol=1e-4)
    # Else a head that is not looked at would pass.
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@everything
def test_parts_are_probabilities_or_dimensions(laid: Path, clips: list[Samples], name: str) -> None:
    """Scores sum to 1; dimensions lie in [-1, 1]."""
    ready = HUB_MODELS[name]
    parts = load(name, laid).read(TEXTS if ready.modality == "text" else clips)
    assert len(parts) == 3
    for part in parts:
        assert part.modality == ready.modality
        if ready.labels:
            assert part.scores is not None
            assert sum(part.scores) == pytest.approx(1.0)
            assert 0.0 <= part.outside <= 1.0
        else:
            assert part.scores is None
            values = [getattr(part.dimensions, each) for each in ready.dimensions]
            assert all(-1.0 <= value <= 1.0 for value in values)


def test_labels_are_followed_by_name_not_by_place(copied: Copy, clips: list[Samples]) -> None:
    """Another order with weights to match means the same; without them it does not."""
    name = "odyssey-wavlm-categorical"
    directory = copied(name)
    before = load_reader(HUB_MODELS[name], directory).read(clips[:1])
    order = [7, 0, 2, 1, 3, 4, 5, 6]
    labels = json.loads((directory / "config.json").read_text())["id2label"]
    edit(directory, id2label={str(i): labels[str(old)] for i, old in enumerate(order)})
    followed = load_reader(HUB_MODELS[name], directory).read(clips[:1])
    state = load_file(directory / "model.safetensors")
    change(
        directory,
        ser_model__out__0__weight=state["ser_model.out.0.weight"][order].clone(),
        ser_model__out__0__bias=state["ser_model.out.0.bias"][order].clone(),
    )
    again = load_reader(HUB_MODELS[name], directory).read(clips[:1])
    assert scores(again) == pytest.approx(scores(before))
    assert scores(followed) != pytest.approx(scores(before), abs=1e-3)


def scores(parts: list[HubPart]) -> list[float]:
    """Return the scores of a part."""
    assert parts[0].scores is not None
    return list(parts[0].scores)


def test_an_order_of_labels_that_contradicts_itself_is_refused(copied: Copy) -> None:
    """Somebody changed one list and not the other."""
    directory = copied("superb-hubert-base")
    edit(directory, id2label={"0": "neu", "1": "ang", "2": "hap", "3": "sad"})
    line = refused("superb-hubert-base", directory)
    assert "output 1 is ang" in line
    assert "label2id" in line


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2", "3": "LABEL_3"}, "'LABEL_0'; known are"),
        ({"0": "neu", "1": "hap", "2": "ang", "3": "angst"}, "'angst'; known are neutral (neu"),
        ({"0": "neu", "1": "hap", "2": "ang", "3": "fear"}, "known to have neu, hap, ang, sad"),
        ({"0": "neu", "1": "hap", "2": "ang"}, "known to have"),
        ({"0": "neu", "1": "hap", "3": "ang", "4": "sad"}, "names no labels"),
        ({}, "names no labels"),
        ({"one": "neu"}, "is no list"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    copied: Copy, labels: dict[str, str], reason: str
) -> None:
    """One that no alias knows with the table of those that do."""
    directory = copied("superb-hubert-base")
    edit(directory, id2label=labels, label2id=None)
    assert reason in refused("superb-hubert-base", directory)


def test_a_head_that_is_missing_is_refused_by_name(copied: Copy) -> None:
    """Where transformers would make it up at random."""
    directory = copied("audeering-msp-dim")
    change(directory, classifier__dense__weight=None, classifier__dense__bias=None)
    line = refused("audeering-msp-dim", directory)
    assert "lack 'classifier.dense.weight' (and 1 more), which would be random" in line


def test_the_stock_head_in_the_place_of_audeerings_is_refused_by_name(copied: Copy) -> None:
    """The trap that gives a random head with transformers' own class."""
    directory = copied("audeering-msp-dim")
    change(directory, projector__weight=torch.zeros(8, 32))
    assert "hold 'projector.weight', which the model has not" in refused(
        "audeering-msp-dim", directory
    )


def test_a_layer_of_the_encoder_that_is_missing_is_refused_by_name(copied: Copy) -> None:
    """Not only heads count."""
    directory = copied("odyssey-wavlm-dims")
    change(directory, ssl_model__encoder__layers__1__final_layer_norm__weight=None)
    assert "layers.1.final_layer_norm.weight" in refused("odyssey-wavlm-dims", directory)


def test_a_weight_of_another_shape_or_no_number_is_refused_by_name(copied: Copy) -> None:
    """Each with what it is."""
    directory = copied("audeering-msp-dim")
    change(directory, classifier__out_proj__bias=torch.zeros(5))
    assert "'classifier.out_proj.bias' has the shape [5]" in refused("audeering-msp-dim", directory)
    change(directory, classifier__out_proj__bias=torch.tensor([0.0, torch.nan, 0.0]))
    assert "no number" in refused("audeering-msp-dim", directory)


def test_weights_without_an_odyssey_encoder_are_refused_by_name(copied: Copy) -> None:
    """Its sizes are read off the weights."""
    directory = copied("odyssey-wavlm-dims")
    change(directory, ssl_model__encoder__pos_conv_embed__conv__weight_v=None)
    assert "original1" in refused("odyssey-wavlm-dims", directory)
    edit(directory, ssl_type="facebook/hubert-large-ll60k")
    assert "microsoft/wavlm-large alone" in refused("odyssey-wavlm-dims", directory)


def test_another_kind_of_model_is_refused(copied: Copy) -> None:
    """Whatever else fits."""
    directory = copied("hartmann-distilroberta")
    edit(directory, model_type="bert")
    assert "a bert model, where roberta" in refused("hartmann-distilroberta", directory)


def test_sound_at_another_rate_is_refused(copied: Copy) -> None:
    """Here it is always 16 kHz."""
    directory = copied("superb-hubert-base")
    edit(directory, "preprocessor_config.json", sampling_rate=8000)
    assert "8000 Hz" in refused("superb-hubert-base", directory)


@pytest.mark.parametrize("keep", [0, 100, 20_000])
def test_a_file_cut_short_is_told_with_what_fetches_it_again(copied: Copy, keep: int) -> None:
    """Of either kind."""
    for name, file in (
        ("audeering-msp-dim", "model.safetensors"),
        ("superb-hubert-base", "pytorch_model.bin"),
    ):
        directory = copied(name)
        path = directory / file
        path.write_bytes(path.read_bytes()[:keep])
        line = refused(name, directory)
        assert file in line
        assert f"streamser models pull --force {name}" in line
        shutil.rmtree(directory)


class Mischief:
    """Make a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_with_code_in_it_is_refused_and_runs_nothing(copied: Copy, tmp_path: Path) -> None:
    """Weights alone are read."""
    directory = copied("superb-hubert-base")
    with (directory / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"weight": Mischief(tmp_path / "done")}, file, protocol=2)
    assert "never loaded" in refused("superb-hubert-base", directory)
    assert not (tmp_path / "done").exists()


def test_safetensors_are_preferred_to_a_pickle(copied: Copy, clips: list[Samples]) -> None:
    """The pickle beside them is not even opened."""
    name = "superb-hubert-base"
    directory = copied(name)
    before = load_reader(HUB_MODELS[name], directory).raw(clips[:1])
    state = torch.load(directory / "pytorch_model.bin", weights_only=True)
    save_file({key: value.clone() for key, value in state.items()}, directory / "model.safetensors")
    (directory / "pytorch_model.bin").write_bytes(b"nonsense")
    torch.testing.assert_close(load_reader(HUB_MODELS[name], directory).raw(clips[:1]), before)


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff"])
def test_a_damaged_configuration_is_told(copied: Copy, content: bytes) -> None:
    """With its file."""
    directory = copied("superb-hubert-base")
    (directory / "config.json").write_bytes(content)
    assert "config.json" in refused("superb-hubert-base", directory)


def test_an_encoder_alone_is_checked_as_the_whole(copied: Copy) -> None:
    """A training shall not begin with something random either."""
    directory = copied("audeering-msp-dim")
    bare = load_bare(HUB_MODELS["audeering-msp-dim"], directory)
    assert bare.normalize is True
    assert bare.architecture["model_type"] == "wav2vec2"
    change(directory, classifier__out_proj__bias=None)
    with pytest.raises(ModelError, match=r"classifier\.out_proj\.bias"):
        load_bare(HUB_MODELS["audeering-msp-dim"], directory)
