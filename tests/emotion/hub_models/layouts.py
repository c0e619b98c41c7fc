"""Tiny random models laid out as the published ones are: same files, keys, heads and names.

Sizes alone are small. The keys of each ``config.json`` are those of the repository it stands for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from streamser.emotion.hub_models.registry import HUB_MODELS
from tests.emotion.fused.tiny import tiny_text

__all__ = ["TORCH_MODELS", "WIDTH", "edit", "lay_all", "lay_down", "old_names", "snapshot_of"]

WIDTH = 32
TORCH_MODELS = tuple(name for name, ready in HUB_MODELS.items() if not ready.is_funasr)

_SPEECH: dict[str, Any] = {
    "activation_dropout": 0.1,
    "apply_spec_augment": True,
    "attention_dropout": 0.1,
    "bos_token_id": 1,
    "classifier_proj_size": 24,
    "conv_dim": [16] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "ctc_loss_reduction": "sum",
    "ctc_zero_infinity": False,
    "eos_token_id": 2,
    "feat_extract_activation": "gelu",
    "feat_extract_dropout": 0.0,
    "feat_proj_dropout": 0.1,
    "final_dropout": 0.1,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout": 0.1,
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-05,
    "layerdrop": 0.1,
    "mask_feature_length": 10,
    "mask_feature_prob": 0.0,
    "mask_time_length": 10,
    "mask_time_prob": 0.05,
    "num_attention_heads": 2,
    "num_conv_pos_embedding_groups": 2,
    "num_conv_pos_embeddings": 16,
    "num_feat_extract_layers": 7,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
    "vocab_size": 32,
}
_LARGE = {"conv_bias": True, "do_stable_layer_norm": True, "feat_extract_norm": "layer"}
_BASE = {"conv_bias": False, "do_stable_layer_norm": False, "feat_extract_norm": "group"}
_EXTRACTOR = {
    "do_normalize": True,
    "feature_extractor_type": "Wav2Vec2FeatureExtractor",
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 16000,
}


def lay_all(cache: Path) -> Path:
    """Lay every model that torch runs into a hub's cache; returns the cache."""
    for name in TORCH_MODELS:
        lay_down(name, snapshot_of(name, cache))
    return cache


def snapshot_of(name: str, cache: Path) -> Path:
    """Return the directory of a model in a hub's cache, made as a download would make it."""
    repository = cache / f"models--{HUB_MODELS[name].repository.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / "main").write_text("abc")
    directory = repository / "snapshots" / "abc"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def lay_down(name: str, directory: Path) -> None:
    """Write a tiny random model under the layout of a public one; the same at every call."""
    kind = HUB_MODELS[name].kind
    if kind == "words":
        _words(name, directory)
    elif kind == "odyssey":
        _odyssey(name, directory)
    elif kind == "pooled":
        _audeering(directory)
    else:
        _superb(name, directory)


def edit(directory: Path, file: str = "config.json", **changes: Any) -> None:
    """Change values of a JSON file; ``None`` takes the key away."""
    path = directory / file
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: v for key, v in content.items() if v is not None}))


def old_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name weight-normed convolutions as torch did before version 2.1."""
    old = (
        (r"parametrizations\.weight\.original0$", "weight_g"),
        (r"parametrizations\.weight\.original1$", "weight_v"),
    )
    found = {}
    for name, value in state.items():
        for pattern, replacement in old:
            name = re.sub(pattern, replacement, name)
        found[name] = value.contiguous()
    return found


def _superb(name: str, directory: Path) -> None:
    import transformers as hf

    large, wav2vec2 = name.endswith("large"), "wav2vec2" in name
    prefix = "Wav2Vec2" if wav2vec2 else "Hubert"
    config = {
        "_name_or_path": "facebook/hubert-large-ll60k",
        "architectures": [f"{prefix}ForSequenceClassification"],
        **_SPEECH,
        **(_LARGE if large else _BASE),
        **_numbered(HUB_MODELS[name].labels),
        "finetuning_task": None,
        "model_type": "wav2vec2" if wav2vec2 else "hubert",
        "transformers_version": "4.10.0.dev0",
        "use_weighted_layer_sum": True,
    }
    config = {key: value for key, value in config.items() if value is not None}
    made = getattr(hf, f"{prefix}Config").from_dict(config)
    model = _random(lambda: getattr(hf, f"{prefix}ForSequenceClassification")(made))
    _write(directory, config, old_names(model.state_dict()), pickled=True)
    extractor = {**_EXTRACTOR, "return_attention_mask": large}
    (directory / "preprocessor_config.json").write_text(json.dumps(extractor))


def _audeering(directory: Path) -> None:
    import transformers as hf

    config = {
        "_name_or_path": "torch",
        "adapter_kernel_size": 3,
        "adapter_stride": 2,
        "add_adapter": False,
        "architectures": ["Wav2Vec2ForSpeechClassification"],
        **_SPEECH,
        **_LARGE,
        "codevector_dim": 48,
        "contrastive_logits_temperature": 0.1,
        "diversity_loss_weight": 0.1,
        "feat_quantizer_dropout": 0.0,
        "finetuning_task": "wav2vec2_reg",
        "hidden_dropout_prob": 0.1,
        **_numbered(("arousal", "dominance", "valence")),
        "mask_feature_min_masks": 0,
        "mask_time_min_masks": 2,
        "model_type": "wav2vec2",
        "num_adapter_layers": 3,
        "num_codevector_groups": 2,
        "num_codevectors_per_group": 320,
        "num_negatives": 100,
        "output_hidden_size": WIDTH,
        "pooling_mode": "mean",
        "problem_type": "regression",
        "proj_codevector_dim": 48,
        "tdnn_dilation": [1, 2, 3, 1, 1],
        "tdnn_dim": [32, 32, 32, 32, 48],
        "tdnn_kernel": [5, 3, 3, 1, 1],
        "torch_dtype": "float32",
        "transformers_version": "4.17.0.dev0",
        "use_weighted_layer_sum": False,
        "xvector_output_dim": 32,
    }
    encoder = _random(lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config.from_dict(config)))
    head = _random(
        lambda: nn.ModuleDict(
            {"dense": nn.Linear(WIDTH, WIDTH), "out_proj": nn.Linear(WIDTH, 3)}  # as its card says
        )
    )
    state = {f"wav2vec2.{name}": value for name, value in encoder.state_dict().items()}
    state |= {f"classifier.{name}": value for name, value in head.state_dict().items()}
    _write(directory, config, old_names(state))
    (directory / "preprocessor_config.json").write_text(json.dumps(_EXTRACTOR))


def _odyssey(name: str, directory: Path) -> None:
    import transformers as hf

    ready = HUB_MODELS[name]
    labels = tuple(label.capitalize() for label in ready.labels) or ready.dimensions
    config = {
        "architectures": ["SERModel"],
        "auto_map": {
            "AutoConfig": "pipeline_utils.SERConfig",
            "AutoModelForAudioClassification": "pipeline_utils.SERModel",
        },
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "sampling_rate": 16000,
        "classifier_dropout_prob": 0.5,
        "classifier_hidden_layers": 1,
        "hidden_size": WIDTH,
        "mean": -8.278621631819787e-05,
        "model_type": "ser",
        "num_attention_heads": 2,
        "num_classes": len(labels),
        "num_hidden_layers": 2,
        "ssl_type": "microsoft/wavlm-large",
        "std": 0.08485510250851999,
        "torch_dtype": "float32",
        "transformers_version": "4.34.0.dev0",
    }
    made = hf.WavLMConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        num_buckets=40,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
        conv_bias=False,
    )
    encoder = _random(lambda: hf.WavLMModel(made))
    outputs = len(labels)
    head = _random(
        lambda: nn.ModuleDict(
            {
                "0": nn.Linear(WIDTH, WIDTH),
                "1": nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.LayerNorm(WIDTH)),
                "2": nn.Linear(WIDTH, outputs),
            }
        )
    ).state_dict()
    state = {f"ssl_model.{key}": value for key, value in encoder.state_dict().items()}
    state |= {
        "pool_model.sap_linear.weight": head["0.weight"],
        "pool_model.sap_linear.bias": head["0.bias"],
        "pool_model.attention": 3.0 * head["2.weight"][:1].T,
        "ser_model.fc.0.0.weight": head["1.0.weight"],
        "ser_model.fc.0.0.bias": head["1.0.bias"],
        "ser_model.fc.0.1.weight": head["1.1.weight"],
        "ser_model.fc.0.1.bias": head["1.1.bias"],
        "ser_model.out.0.weight": head["2.weight"],
        "ser_model.out.0.bias": head["2.bias"],
    }
    _write(directory, config, old_names(state))
    if not ready.labels:
        # As published; it means nothing.
        (directory / "preprocessor_config.json").write_text('{"mean": 10}')


def _words(name: str, directory: Path) -> None:
    import transformers as hf

    ready = HUB_MODELS[name]
    tiny_text("roberta", directory)
    vocabulary = json.loads((directory / "config.json").read_text())["vocab_size"]
    (directory / "model.safetensors").unlink()
    multi_label = "multi" if ready.multi_label else "single"
    config = {
        "_name_or_path": "distilroberta-base",
        "architectures": ["RobertaForSequenceClassification"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "gradient_checkpointing": False,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": WIDTH,
        **_numbered(ready.labels),
        "initializer_range": 0.02,
        "intermediate_size": 48,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 66,
        "model_type": "roberta",
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "problem_type": f"{multi_label}_label_classification",
        "transformers_version": "4.6.1",
        "type_vocab_size": 1,
        "use_cache": True,
        "vocab_size": vocabulary,
    }
    made = hf.RobertaConfig.from_dict(config)
    model = _random(lambda: hf.RobertaForSequenceClassification(made))
    state = dict(model.state_dict())
    # Old versions kept the positions among the weights.
    state["roberta.embeddings.position_ids"] = torch.arange(66)[None]
    _write(directory, config, state, pickled=name.startswith("hartmann"))


def _numbered(labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }


def _random(make: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        # Norms and biases start as ones and zeros, which would hide a weight that is not loaded;
        # and heads should differ between clips.
        for name, parameter in model.named_parameters():
            wide = 0.3 if "encoder" not in name and "extractor" not in name else 0.02
            parameter.add_(wide * torch.randn_like(parameter))
    return model.eval()


def _write(
    directory: Path,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    *,
    pickled: bool = False,
) -> None:
    (directory / "config.json").write_text(json.dumps(config))
    if pickled:
        torch.save(dict(state), directory / "pytorch_model.bin")
    else:
        save_file(
            {name: value.contiguous().clone() for name, value in state.items()},
            directory / "model.safetensors",
        )
