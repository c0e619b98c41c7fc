"""Where a model runs."""

from __future__ import annotations

from typing import Literal

import torch

from streamser.errors import ModelError

__all__ = ["settled_device"]


def settled_device(asked: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """Return the device for ``emotion.device``; raises ``ModelError`` where there is no CUDA."""
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise ModelError(
            "emotion.device is cuda, but torch finds no CUDA device here: choose cpu or auto",
            code="cuda_unavailable",
        )
    if asked == "auto":
        return "cuda" if there else "cpu"
    return asked
