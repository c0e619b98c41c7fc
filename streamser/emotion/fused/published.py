"""A fused model on the Hugging Face hub: ``from_pretrained``, ``save_pretrained``, ``push_to_hub``.

What lies on the hub is the checkpoint of ``streamser.emotion.fused.checkpoint``, no file more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import nn

from streamser.emotion.calibration import Calibration
from streamser.emotion.fused.checkpoint import (
    LIBRARY,
    PIPELINE,
    TAGS,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from streamser.emotion.fused.config import FusedConfig
from streamser.emotion.fused.network import FusedModel
from streamser.emotion.hub import HubRequest

__all__ = ["PublishedModel"]


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
