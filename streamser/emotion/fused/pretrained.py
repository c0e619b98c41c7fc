"""Fetch published encoders of the transformers library, whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch

from streamser.emotion.loading import NOT_NEEDED
from streamser.errors import ModelError, first_line


class Family(NamedTuple):
    """Say how one family of transformers is built, what of it freezes and what LoRA adapts.

    ``frozen`` names the modules of the paper's rule (arXiv 2401.00536 §3: feature extractor and
    embedding layers); ``adapted`` the query and value projections; with ``bare_weights`` the
    attention reads their weights without calling them. ``renamed`` maps patterns of published
    names to the model's own.
    """

    name: str
    configuration: str
    module: str
    model: str
    frozen: tuple[str, ...]
    adapted: tuple[str, ...]
    sdpa: bool
    bare_weights: bool = False
    options: tuple[tuple[str, Any], ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()


_CONVOLUTIONS = ("feature_extractor", "feature_projection", "encoder.pos_conv_embed")
_NO_POOLER = (("add_pooling_layer", False),)


def _speech(name: str, prefix: str, *, sdpa: bool) -> Family:
    module = f"transformers.models.{name}"
    adapted = ("q_proj", "v_proj")
    return Family(
        name,
        f"{prefix}Config",
        module,
        f"{prefix}Model",
        _CONVOLUTIONS,
        adapted,
        sdpa,
        bare_weights=not sdpa,
    )


ACOUSTIC_FAMILIES: Mapping[str, Family] = {
    "hubert": _speech("hubert", "Hubert", sdpa=True),
    "wav2vec2": _speech("wav2vec2", "Wav2Vec2", sdpa=True),
    "wavlm": _speech("wavlm", "WavLM", sdpa=False),
    "whisper": Family(
        "whisper",
        "WhisperConfig",
        "transformers.models.whisper.modeling_whisper",
        "WhisperEncoder",
        ("conv1", "conv2", "embed_positions"),
        ("q_proj", "v_proj"),
        sdpa=True,
        renamed=((r"^(model\.)?encoder\.", ""),),
    ),
}
"""By ``model_type``.

The projection of the features counts as a part of their extractor, the positional convolution
as an embedding: the paper does not say.
"""

TEXT_FAMILIES: Mapping[str, Family] = {
    "deberta-v2": Family(
        "deberta-v2",
        "DebertaV2Config",
        "transformers.models.deberta_v2",
        "DebertaV2Model",
        ("embeddings",),
        ("query_proj", "value_proj"),
        sdpa=False,
    ),
    "roberta": Family(
        "roberta",
        "RobertaConfig",
        "transformers.models.roberta",
        "RobertaModel",
        ("embeddings",),
        ("query", "value"),
        sdpa=True,
        options=_NO_POOLER,
    ),
    "bert": Family(
        "bert",
        "BertConfig",
        "transformers.models.bert",
        "BertModel",
        ("embeddings",),
        ("query", "value"),
        sdpa=True,
        options=_NO_POOLER,
    ),
}
"""By ``model_type``; DeBERTa-v3 is deberta-v2, MiniLM is bert, DistilRoBERTa is roberta."""

_MOST_LAYERS: Final = 1000

# What a rebuilt encoder does not depend on.
_INCIDENTAL = frozenset(
    {
        "_name_or_path",
        "architectures",
        "id2label",
        "label2id",
        "torch_dtype",
        "transformers_version",
    }
)

# Random layer dropping and masking of the pretraining; the paper names neither.
_SETTLED: Mapping[str, Any] = {
    "layerdrop": 0.0,
    "encoder_layerdrop": 0.0,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
}


def family_of(name: str, model_type: object, families: Mapping[str, Family]) -> Family:
    """Return the family of a ``model_type``; raise ``ModelError`` with the list if it is none."""
    if isinstance(model_type, str) and model_type in families:
        return families[model_type]
    known = ", ".join(families)
    what = f"a {model_type} model" if model_type else "a model of no known family"
    raise ModelError(f"{name}: {what} cannot be used here; these families can: {known}.")


def load_published(
    name: str, families: Mapping[str, Family], *, offline: bool
) -> tuple[Any, dict[str, Any]]:
    """Load a bare encoder with its published weights in float32, in evaluation mode.

    ``name`` is a local directory or a name on the hub; ``offline`` looks at what is downloaded
    only. Returns the transformers model and its configuration as plain JSON data, from which
    ``rebuild`` makes the same architecture. Only safetensors are read, and no code of a
    repository is run. Raises ``ModelError`` in one line: nothing there, not reachable, another
    family, a pickle, a missing weight or another shape (so that no layer is silently random).
    """
    configuration, family = _configuration(name, families, offline=offline)
    place = _place(name)
    if Path(place).is_dir():
        _refuse_pickles(name, Path(place))
    _refuse_adapters(name, offline=offline)
    try:
        with quiet():
            model, found = _model_class(family).from_pretrained(
                place,
                config=configuration,
                use_safetensors=True,
                local_files_only=offline,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
                attn_implementation="sdpa" if family.sdpa else "eager",
                key_mapping=dict(family.renamed) or None,
                **dict(family.options),
            )
    except Exception as error:
        if "safetensors" in str(error) and isinstance(error, OSError):
            raise ModelError(_pickled(name)) from None
        why = first_line(error)
        raise ModelError(f"{name}: its weights cannot be loaded: {why}") from None
    _refuse_gaps(name, found)
    return model, plain(configuration)


def read_architecture(
    name: str, families: Mapping[str, Family], *, offline: bool
) -> dict[str, Any]:
    """Return a checkpoint's configuration as ``load_published`` does, without its weights.

    Raises ``ModelError`` in one line, as that does.
    """
    return plain(_configuration(name, families, offline=offline)[0])


def load_tokenizer(name: str, *, offline: bool) -> Any:
    """Load a checkpoint's tokenizer as a ``tokenizers.Tokenizer`` that pads as it asks.

    One that is published as a sentencepiece model (``spm.model``) is converted. Raises
    ``ModelError`` in one line where there is none, or none that can be used.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            loaded = AutoTokenizer.from_pretrained(
                _place(name), local_files_only=offline, trust_remote_code=False
            )
    except Exception as error:
        why = first_line(error)
        raise ModelError(f"{name}: its tokenizer cannot be loaded: {why}") from None
    tokenizer = getattr(loaded, "backend_tokenizer", None)
    if tokenizer is None or loaded.pad_token_id is None:
        raise ModelError(f"{name}: its tokenizer is of no kind that can be used here.")
    tokenizer.no_truncation()
    tokenizer.enable_padding(pad_id=loaded.pad_token_id, pad_token=loaded.pad_token)
    return tokenizer


def rebuild(architecture: Mapping[str, Any], families: Mapping[str, Family]) -> Any:
    """Build an encoder of a configuration that ``load_published`` gave, with random weights.

    Needs no network and no file. Raises ``ModelError`` if it names another family or holds
    values that this family cannot be built of.
    """
    family = family_of("architecture", architecture.get("model_type"), families)
    for name, value in architecture.items():
        # They are built one after another, whatever weights there are for them.
        if name.endswith("layers") and isinstance(value, int) and value > _MOST_LAYERS:
            raise ModelError(f"architecture: {name} is {value}, and {_MOST_LAYERS} are the most")
    import transformers

    try:
        configuration = getattr(transformers, family.configuration).from_dict(dict(architecture))
        _settle(configuration)
        with quiet():
            return _model_class(family)._from_config(
                configuration,
                dtype=torch.float32,
                attn_implementation="sdpa" if family.sdpa else "eager",
                **dict(family.options),
            )
    except Exception as error:
        why = first_line(error)
        raise ModelError(f"architecture: no {family.name} can be built of it: {why}") from None


def read_preprocessor(name: str, *, offline: bool) -> dict[str, Any]:
    """Return a checkpoint's ``preprocessor_config.json``; empty if it has none."""
    try:
        file = _file(name, "preprocessor_config.json", offline=offline)
        content = json.loads(file.read_text("utf-8")) if file else {}
    except (OSError, ValueError, RecursionError) as error:
        why = first_line(error)
        raise ModelError(f"{name}: preprocessor_config.json cannot be read: {why}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{name}: preprocessor_config.json is no JSON object.")
    return content


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from writing reports and bars meanwhile; bars of downloads stay."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    hub_level = hub.get_verbosity()
    logging.set_verbosity_error()
    hub.set_verbosity_error()
    _show_bars(logging, False)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        hub.set_verbosity(hub_level)
        _show_bars(logging, bars)


def _show_bars(logging: Any, show: bool) -> None:
    # The library's own switch would turn off the bars of downloads too.
    logging._tqdm_active = show


def _configuration(
    name: str, families: Mapping[str, Family], *, offline: bool
) -> tuple[Any, Family]:
    from transformers import AutoConfig

    place = _place(name)
    try:
        with quiet():
            configuration = AutoConfig.from_pretrained(
                place, local_files_only=offline, trust_remote_code=False
            )
    except Exception as error:
        raise _not_there(name, error, families, offline=offline) from None
    family = family_of(name, getattr(configuration, "model_type", None), families)
    if getattr(configuration, "add_adapter", False):
        raise ModelError(
            f"{name}: it ends in a convolutional adapter (add_adapter), which is not supported; "
            "name a checkpoint without one."
        )
    _settle(configuration)
    return configuration, family


def _model_class(family: Family) -> Any:
    import importlib

    return getattr(importlib.import_module(family.module), family.model)


def _place(name: str) -> str:
    directory = Path(name).expanduser()
    if directory.is_dir():
        return str(directory)
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name:
        raise ModelError(f"{name!r}: there is no such directory; give one that holds a model.")
    return name


def _not_there(
    name: str, error: Exception, families: Mapping[str, Family], *, offline: bool
) -> ModelError:
    text = str(error)
    if Path(name).expanduser().is_dir():
        if not (Path(name).expanduser() / "config.json").is_file():
            return ModelError(f"{name}: this directory holds no config.json of a model.")
        if isinstance(error, ValueError | KeyError):
            known = ", ".join(families)
            return ModelError(
                f"{name}: its config.json is of no family that can be used here: {known}."
            )
        return ModelError(f"{name}: its config.json cannot be read: {first_line(error)}")
    if offline:
        return ModelError(
            f"{name}: it is no directory here and has not been downloaded; give a local "
            f"directory, or allow the network once (or run `hf download {name}`)."
        )
    if "connect" in text or "connection" in text:
        return ModelError(
            f"{name}: it is no directory here, and the hub cannot be reached to fetch it; "
            "check the network, or give a local directory."
        )
    return ModelError(f"{name}: it is no directory here, and on the hub: {first_line(error)}")


def _file(name: str, file: str, *, offline: bool) -> Path | None:
    """Return a file of a checkpoint, fetched if need be; ``None`` if it has none."""
    from transformers.utils import cached_file

    with quiet():
        found = cached_file(
            _place(name),
            file,
            local_files_only=offline,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    return None if found is None else Path(found)


def _refuse_adapters(name: str, *, offline: bool) -> None:
    """Refuse what transformers would put an adapter on, by itself.

    It would read the adapter's pickle where there are no safetensors, and then tell what the
    adapter lacks instead of what the encoder does.
    """
    try:
        found = _file(name, "adapter_config.json", offline=offline)
    except (OSError, ValueError) as error:
        raise ModelError(f"{name}: its files cannot be looked at: {first_line(error)}") from None
    if found is not None:
        raise ModelError(
            f"{name}: it carries an adapter (adapter_config.json), which is never loaded; merge it "
            "into its model with peft's merge_and_unload and name what that saves."
        )


def _refuse_pickles(name: str, directory: Path) -> None:
    if any(directory.glob("*.safetensors")):
        return
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt")):
        raise ModelError(_pickled(name))
    raise ModelError(f"{name}: this directory holds no weights (model.safetensors).")


def _pickled(name: str) -> str:
    folder = Path(name).name + "-safetensors"
    return (
        f"{name}: it has its weights as a pickle only, which can run code and is never loaded; "
        'if you trust it, convert it once: python -c "from transformers import AutoModel; '
        f"AutoModel.from_pretrained('{name}').save_pretrained('{folder}')\", and copy its other "
        "files there."
    )


def _refuse_gaps(name: str, found: Mapping[str, Any]) -> None:
    missing = sorted(key for key in found["missing_keys"] if not NOT_NEEDED.search(key))
    if missing:
        raise ModelError(
            f"{name}: {len(missing)} weights of the encoder are missing, {missing[0]} among "
            "them; it would be random there."
        )
    other = sorted(found["mismatched_keys"])
    if other:
        key, had, wanted = other[0]
        raise ModelError(
            f"{name}: {len(other)} weights have another shape than config.json says: {key} is "
            f"{tuple(had)}, not {tuple(wanted)}."
        )
    if found.get("error_msgs"):
        raise ModelError(f"{name}: its weights cannot be loaded: {found['error_msgs'][0]}")


def _settle(configuration: Any) -> None:
    for key, value in _SETTLED.items():
        if hasattr(configuration, key):
            setattr(configuration, key, value)


def plain(configuration: Any) -> dict[str, Any]:
    """Return a configuration as JSON data, without what a rebuilt encoder does not depend on."""
    content = configuration.to_dict()
    kept = {key: value for key, value in content.items() if key not in _INCIDENTAL}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain
