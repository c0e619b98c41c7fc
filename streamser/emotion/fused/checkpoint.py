"""A trained model as a directory: what it is, its weights, its calibration, its card.

``config.json`` (format, version, ``FusedConfig``), ``model.safetensors``, ``calibration.json``,
``README.md`` (the model card), and ``tokenizer.json`` where it reads text: the same on the
disk, in the wheel and on the hub. Loading is strict, so that a model is never silently half
random, and no pickle is ever opened.

On the hub lies the same, no file more: ``from_pretrained``, ``save_pretrained``, ``push_to_hub``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import torch
from huggingface_hub import ModelCardData, PyTorchModelHubMixin
from msgspec.structs import replace
from torch import nn

from streamser.emotion.calibration import Calibration, read_calibrations, write_calibrations
from streamser.emotion.compact.model import is_bundle
from streamser.emotion.fused.build import rebuild_model
from streamser.emotion.fused.config import FusedConfig
from streamser.emotion.fused.interfaces import TextEncoder
from streamser.emotion.fused.network import FusedModel
from streamser.emotion.loading import read_weights, write_weights
from streamser.errors import ConfigError, ModelError, first_line
from streamser.hub import HubRequest, fetch, split_revision

LIBRARY: Final = "streamser"
PIPELINE: Final = "audio-classification"
TAGS: Final = ("emotion-recognition", "speech-emotion-recognition", "valence-arousal")

FORMAT: Final = "streamser-fused"
VERSION: Final = 1

_CONFIG: Final = "config.json"
_WEIGHTS: Final = "model.safetensors"
_CALIBRATION: Final = "calibration.json"
_CARD: Final = "README.md"
_TOKENIZER: Final = "tokenizer.json"
_OURS: Final = frozenset({_CONFIG, _WEIGHTS, _CALIBRATION, _CARD, _TOKENIZER})
_PICKLES: Final = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
_SCALE: Final = (0.0, 1.0)


class CheckpointDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Say what a checkpoint is: its ``config.json``.

    ``dimension_scale`` are the ends of the scale that the regressor answers on; ``tokenizer``
    and ``weights`` are the SHA-256 of ``tokenizer.json`` and ``model.safetensors``, empty where
    there is none, or none was written down. A calibration may be another one later on.
    """

    format: str
    version: int
    dimension_scale: tuple[float, float]
    model: FusedConfig
    tokenizer: str = ""
    weights: str = ""


class _CheckpointHeading(msgspec.Struct):
    """The part of a ``config.json`` that every version has."""

    format: str = ""
    version: int = 0


class Checkpoint(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """Hold a loaded model with what was fitted on its answers, and where it came from.

    ``calibrations`` has a calibration for each of some of the sets of modalities; ``card`` is
    the model card, empty where there is none.
    """

    model: FusedModel
    calibrations: dict[str, Calibration]
    directory: Path
    card: str = ""


def save_checkpoint(
    directory: Path,
    model: FusedModel,
    *,
    calibrations: Mapping[str, Calibration],
    card: str,
    license: str | None = None,
) -> None:
    """Write a checkpoint; what was there before stays whole until the new one is.

    ``calibrations`` has keys "audio", "text", "audio+text"; ``card`` is the model card in
    Markdown, which gets the hub's front matter (with ``license``, an identifier of the hub's)
    if it has none. A directory that holds anything but a checkpoint is not replaced. Raises
    ``ConfigError`` for such a one, ``ModelError`` where the disk refuses or the model holds
    numbers that are not finite.
    """
    target = Path(os.path.realpath(directory))
    part, old = (target.with_name(f".{target.name}.{kind}") for kind in ("part", "old"))
    try:
        _refuse_foreign(target)
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        try:
            _write(part, model, calibrations, finished_card(card, license))
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
            # Killed before this, the old one is still found: see `_whole`.
            part.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise ModelError(
            f"the checkpoint {directory} cannot be written: {error.strerror or error}"
        ) from None


def load_checkpoint(
    where: str | Path,
    *,
    offline: bool = False,
    device: str | torch.device = "cpu",
    request: HubRequest | None = None,
) -> Checkpoint:
    """Load a checkpoint from a directory, or by its name on the hub, in evaluation mode.

    A name may say which revision is meant, and no other: ``owner/name@revision``.

    ``offline`` forbids downloads; ``request`` says more about how to ask the hub. torch's
    random numbers go on as if nothing had been loaded. Raises ``ModelError``, in one line that
    names the file, for whatever is missing, damaged, of another format or of another model.
    """
    directory = _whole(Path(where).expanduser())
    if directory is None:
        name, revision = split_revision(str(where))
        request = request or HubRequest(offline=offline)
        if revision is not None:
            request = replace(request, revision=revision)
        directory = fetch(name, request)
    try:
        _refuse_other_formats(directory)
    except OSError as error:  # a directory that may not be looked into
        raise ModelError(f"{directory} cannot be read: {error.strerror or error}") from None
    description = _read_description(directory / _CONFIG)
    _refuse_other(directory / _TOKENIZER, description.tokenizer)
    with torch.random.fork_rng(devices=[]):
        _refuse_outsized(directory, description.model)
        model = _rebuild(directory, description.model)
    read_weights(directory / _WEIGHTS, model)
    # Last, since who reads them can say what exactly is wrong with them.
    _refuse_other(directory / _WEIGHTS, description.weights)
    return Checkpoint(
        model=model.to(device).eval(),
        calibrations=read_calibrations(directory / _CALIBRATION),
        directory=directory,
        card=_read_card(directory / _CARD),
    )


def _write(
    directory: Path, model: FusedModel, calibrations: Mapping[str, Calibration], card: str
) -> None:
    if model.text is not None:
        cast(TextEncoder, model.text).save_assets(directory)
    write_weights(directory / _WEIGHTS, model)
    write_calibrations(directory / _CALIBRATION, calibrations)
    description = CheckpointDescription(
        format=FORMAT,
        version=VERSION,
        dimension_scale=_SCALE,
        model=model.config,
        tokenizer=_fingerprint(directory / _TOKENIZER),
        weights=_fingerprint(directory / _WEIGHTS),
    )
    text = msgspec.json.format(msgspec.json.encode(description), indent=2)
    (directory / _CONFIG).write_bytes(text + b"\n")
    (directory / _CARD).write_text(card, encoding="utf-8")


def finished_card(text: str, license: str | None = None) -> str:
    """Return a card in Markdown with front matter: library, task, tags, and licence if given.

    A card that begins with its own front matter stays as it is. An empty one gets a line.
    """
    if text.startswith("---\n"):
        return text
    data = ModelCardData(
        library_name=LIBRARY, pipeline_tag=PIPELINE, license=license, tags=list(TAGS)
    )
    body = text.strip() or "# Emotion from speech\n\nA model of streamser; nobody described it yet."
    return f"---\n{data.to_yaml().strip()}\n---\n\n{body}\n"


def _fingerprint(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refuse_foreign(target: Path) -> None:
    """Keep a slip in the path from taking away what is no checkpoint."""
    if target.exists() and not target.is_dir():
        raise ConfigError(f"{target} is a file: name the directory that the checkpoint shall be.")
    foreign = [path.name for path in target.glob("*")] if target.is_dir() else []
    if others := sorted(name for name in foreign if name not in _OURS):
        raise ConfigError(
            f"{target} holds other things than a checkpoint ({others[0]}), which would be lost:"
            " name a new or empty directory."
        )


def _whole(directory: Path) -> Path | None:
    """Return the directory, or the older one that a killed save has left beside it.

    ``None`` where there is neither.
    """
    try:
        if directory.exists():
            return directory
        old = directory.with_name(f".{directory.name}.old")
        return old if old.is_dir() else None
    except (OSError, ValueError):  # a name too long, with a NUL in it, or empty
        return None


def _refuse_other_formats(directory: Path) -> None:
    if not directory.is_dir():
        if directory.suffix.lower() in _PICKLES:
            raise ModelError(f"{directory}: only safetensors are loaded, never pickles")
        raise ModelError(f"{directory} is a file: a checkpoint is a directory with {_CONFIG}")
    if is_bundle(directory):
        raise ModelError(
            f"{directory} is a bundled model, which listens but cannot be trained on; in a"
            " checkout of the repository python -m tools.compact_report measures it"
        )
    lacking = [name for name in (_CONFIG, _WEIGHTS) if not (directory / name).is_file()]
    if not lacking:
        return
    pickles = sorted(path for path in directory.iterdir() if path.suffix.lower() in _PICKLES)
    if _WEIGHTS in lacking and pickles:
        raise ModelError(f"{pickles[0]}: only safetensors are loaded, never pickles")
    inner = sorted(
        path.parent for path in directory.glob(f"*/{_WEIGHTS}") if (path.parent / _CONFIG).is_file()
    )
    hint = f"; there is one in {inner[0]}" if inner else ""
    raise ModelError(f"{directory} is no checkpoint of streamser: it lacks {lacking[0]}{hint}")


def _read_description(path: Path) -> CheckpointDescription:
    try:
        text = path.read_bytes()
        heading = msgspec.json.decode(text, type=_CheckpointHeading)
        if heading.format != FORMAT:
            raise ModelError(f"{path} is not of the format {FORMAT}, but of another program")
        if heading.version > VERSION:
            raise ModelError(
                f"{path} is of version {heading.version}, this streamser knows {VERSION}:"
                " run pip install --upgrade streamser"
            )
        found = msgspec.json.decode(text, type=CheckpointDescription)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path} does not describe a model: {error}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    if found.version != VERSION or found.dimension_scale != _SCALE:
        raise ModelError(
            f"{path}: version {found.version} with the scale {list(found.dimension_scale)} was"
            " never written by streamser"
        )
    return found


def _refuse_other(path: Path, fingerprint: str) -> None:
    """Refuse a part that is another, or damaged, where nothing else would tell.

    Another tokenizer of as many tokens would give each word another's vector; of a weight that
    is damaged, most damage makes another number.
    """
    try:
        found = _fingerprint(path)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None
    # One that is missing is told by whoever needs it.
    if found and fingerprint and found != fingerprint:
        raise ModelError(
            f"{path} is damaged, or of another model than config.json: copy the checkpoint again"
        )


def _refuse_outsized(directory: Path, config: FusedConfig) -> None:
    """Refuse to build a model of more numbers than the file can hold, before it fills the memory.

    Tensors that share memory are counted twice, and written once, of two bytes a number at least.
    """
    try:
        with torch.device("meta"):
            shell = rebuild_model(config, directory)
    except Exception:  # whatever is wrong is told by the building of the real one
        return
    path = directory / _WEIGHTS
    needed, there = sum(map(torch.numel, shell.state_dict().values())), path.stat().st_size
    if needed > there:
        raise ModelError(
            f"{path} is no safetensors file, or only a part of one, or of another model than"
            f" {_CONFIG}: it has {there} bytes for {needed} numbers"
        )


def _rebuild(directory: Path, config: FusedConfig) -> FusedModel:
    try:
        return rebuild_model(config, directory)
    except (ConfigError, ModelError) as error:
        named = str(directory) in str(error)
        raise ModelError(str(error) if named else f"{directory / _CONFIG}: {error}") from None
    except ImportError:  # nothing is wrong with the checkpoint
        raise
    # An architecture that makes no sense fails somewhere within transformers or torch.
    except Exception as error:
        raise ModelError(
            f"{directory / _CONFIG} does not describe a model that can be built:"
            f" {first_line(error)}"
        ) from error


def _read_card(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from None


class PublishedModel(  # type: ignore[call-arg]
    FusedModel,
    PyTorchModelHubMixin,  # type: ignore[misc]
    library_name=LIBRARY,
    pipeline_tag=PIPELINE,
    tags=list(TAGS),
    paper_url="https://arxiv.org/abs/2401.00536",
):
    """A fused model together with its calibrations and card, as the hub keeps them.

    ``push_to_hub(name)`` is the hub client's own; it raises the client's errors.
    """

    calibrations: dict[str, Calibration]
    card: str
    push_to_hub: Callable[..., str]

    def __init__(
        self, config: FusedConfig, acoustic: nn.Module | None, text: nn.Module | None
    ) -> None:
        super().__init__(config, acoustic, text)
        self.calibrations = {}
        self.card = ""

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> PublishedModel:
        """Take over a checkpoint's model: the encoders themselves, and copies of the rest."""
        model = checkpoint.model
        with torch.random.fork_rng(devices=[]):
            published = cls(model.config, model.acoustic, model.text)
        published.load_state_dict(model.state_dict())
        published.calibrations = dict(checkpoint.calibrations)
        published.card = checkpoint.card
        return published.train(model.training)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        map_location: str = "cpu",
    ) -> PublishedModel:
        """Load a checkpoint from a directory or the hub, as strictly as ``load_checkpoint``.

        The arguments are those of the hub's mixin. Raises ``ModelError``.
        """
        request = HubRequest(
            offline=local_files_only,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force=force_download,
        )
        return cls.of(
            load_checkpoint(pretrained_model_name_or_path, device=map_location, request=request)
        )

    def save_pretrained(
        self,
        save_directory: str | Path,
        *,
        config: None = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write a checkpoint, as ``save_checkpoint`` does, and push it too if asked.

        The arguments are those of the hub's mixin; a checkpoint writes its own configuration
        and card, so that ``config`` and ``model_card_kwargs`` must be left out. Returns the
        URL of the hub's commit, if there was one.
        """
        if config is not None or model_card_kwargs is not None:
            raise ValueError("a checkpoint writes its own config.json and model card")
        directory = Path(save_directory)
        save_checkpoint(directory, self, calibrations=self.calibrations, card=self.card)
        if not push_to_hub:
            return None
        return self.push_to_hub(repo_id or directory.name, **push_to_hub_kwargs)
