"""Loading public models by their short names: where they are, what runs them, on which device."""

from __future__ import annotations

from pathlib import Path

from streamser.emotion.ready.model import ReadyModel
from streamser.emotion.ready.place import locate
from streamser.emotion.ready.reader import Reader
from streamser.emotion.ready.registry import Ready, named
from streamser.errors import ModelError
from streamser.settings import EmotionSettings

__all__ = ["load_ready"]


def load_ready(settings: EmotionSettings, *, offline: bool = False) -> ReadyModel:
    """Load the public models that ``settings.model`` names, downloading what is missing.

    To be called on the device thread, whose number of CPU threads it sets where
    ``settings.threads`` is not 0. The precision ``"auto"`` is bfloat16 on cuda, else float32.
    ``offline`` forbids downloads. Raises ``ConfigError`` for a name that none has, ``ModelError``
    for files that cannot be had or used, without CUDA where the settings ask for it, and for int8;
    ``ImportError`` where torch is not installed.
    """
    wanted = named(settings.model)
    # All of them first: a missing file is better known before the first is loaded.
    places = [locate(ready, offline=offline) for ready in wanted]
    import torch

    from streamser.emotion.neural.device import settled_device

    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = settled_device(settings.device)
    precision = _precision(settings.precision, device)
    return ReadyModel(
        [
            _reader(ready, place, device, precision)
            for ready, place in zip(wanted, places, strict=True)
        ]
    )


def _precision(asked: str, device: str) -> str:
    if asked == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    if asked == "int8":
        raise ModelError(
            "emotion.precision int8 is for checkpoints; choose float32, bfloat16 or float16 for"
            " public models"
        )
    return asked


def _reader(ready: Ready, place: Path, device: str, precision: str) -> Reader:
    if ready.is_funasr:
        from streamser.emotion.ready.funasr import load_funasr

        return load_funasr(ready, place, device=device)
    import torch

    from streamser.emotion.ready.published import load_reader

    half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    return load_reader(ready, place).to(torch.device(device), half)
