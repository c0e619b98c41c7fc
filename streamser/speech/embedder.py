"""Embedders of voices that others bring: found by name, and kept from doing harm."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from streamser.audio.clip import Samples
from streamser.errors import ConfigError, ModelError
from streamser.speech.speakers import SpeakerEmbedder, Voice

__all__ = ["GuardedEmbedder", "load_embedder"]

logger = logging.getLogger(__name__)

_OR_NONE = "or set speakers.embedder to none"


def load_embedder(place: str) -> SpeakerEmbedder:
    """Make the embedder that a ``module:factory`` makes.

    Raises ``ConfigError`` where there is no such factory, or it makes something else;
    ``ModelError`` where the module cannot be imported, or the factory fails.
    """
    module, _, name = place.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ConfigError(
            f"speakers.embedder: {place!r} names no factory: write module:factory, such as"
            f" my_voices:make_embedder, {_OR_NONE}."
        )
    factory = getattr(_import(module), name, None)
    if not callable(factory):
        lack = f"has no {name}" if factory is None else f"has a {name} that cannot be called"
        raise ConfigError(
            f"speakers.embedder: the module {module} {lack}: name a function or class of it that"
            f" makes an embedder, {_OR_NONE}."
        )
    try:
        made = factory()
    except Exception as error:
        raise ModelError(
            f"speakers.embedder: {place} fails to make an embedder ({_reason(error)}): see to"
            f" what it needs, {_OR_NONE}."
        ) from error
    if not isinstance(getattr(made, "name", None), str) or not callable(
        getattr(made, "embed", None)
    ):
        raise ConfigError(
            f"speakers.embedder: what {place} makes ({type(made).__name__}) lacks the name or the"
            f" embed() of a SpeakerEmbedder: let it make one, {_OR_NONE}."
        )
    embedder: SpeakerEmbedder = made
    return embedder


class GuardedEmbedder:
    """Ask an embedder, and let through neither its faults nor a vector that is none."""

    def __init__(self, embedder: SpeakerEmbedder) -> None:
        self._embedder = embedder
        self._size: int | None = None

    def try_out(self, sound: Samples) -> None:
        """Describe a sound; raises ``ModelError`` where that cannot be done."""
        try:
            self._embed([sound])
        except Exception as error:
            raise ModelError(
                f"speakers.embedder: {self._embedder.name} cannot describe a voice"
                f" ({_reason(error)}): see to what it needs, {_OR_NONE}."
            ) from error

    def embed(self, batch: Sequence[Samples]) -> list[Voice | None]:
        """Describe a batch; ``None`` for what cannot be described, which is logged in one line."""
        try:
            return list(self._embed(batch))
        except Exception as error:
            name, count = self._embedder.name, len(batch)
            logger.warning("%s failed on a batch of %d (%s)", name, count, _reason(error))
        # Nobody's label may depend on whose voices shared the batch.
        return [None] if len(batch) == 1 else [self._embed_alone(sound) for sound in batch]

    def _embed_alone(self, sound: Samples) -> Voice | None:
        try:
            return self._embed([sound])[0]
        except Exception:
            return None

    def _embed(self, batch: Sequence[Samples]) -> list[Voice]:
        found = self._embedder.embed(batch)
        if len(found) != len(batch):
            raise ValueError(f"it gave {len(found)} vectors for {len(batch)} sounds")
        return [self._checked(vector) for vector in found]

    def _checked(self, vector: Any) -> Voice:
        # A copy: an embedder may use its memory again.
        voice = np.array(vector, np.float32)
        if voice.ndim != 1 or not np.isfinite(voice).all() or not voice.any():
            raise ValueError("it gave what is no vector with a direction")
        if self._size is None:
            self._size = len(voice)
        if len(voice) != self._size:
            raise ValueError(f"it gave a vector of {len(voice)} numbers after one of {self._size}")
        return voice


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except Exception as error:
        # Of the module itself, or of a package around it; not of what it imports.
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"speakers.embedder: there is no module {module}: install it, put its folder into"
                f" PYTHONPATH, {_OR_NONE}."
            ) from None
        raise ModelError(
            f"speakers.embedder: the module {module} cannot be imported ({_reason(error)}): see to"
            f" what it needs, {_OR_NONE}."
        ) from error


def _reason(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
