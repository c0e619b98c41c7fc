"""Embedders, which describe voices: the one that comes with the program, and those of others.

``campplus``, which comes with the program, is such an embedder (docs/speakers.md); whoever has a
better one brings it: the setting ``speakers.embedder`` names a function or class, as
``module:factory``, that makes one when called without arguments.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from streamser.audio.clip import Samples
from streamser.errors import ConfigError, ModelError
from streamser.speech.clustering import Voice as Voice
from streamser.speech.clustering import VoiceSpace, plain_space, read_space

Windows: TypeAlias = Sequence[tuple[int, int]]
"""Stretches of a sound, in order: the first sample of each, and the one after its last."""


class SpeakerEmbedder(Protocol):
    """Describe voices by vectors that are the closer, the likelier they are of one speaker.

    It is made and used on the worker thread alone. Before anybody speaks it is tried on a second
    of faint noise. Whatever it raises later costs an utterance its label, and nothing else.
    """

    name: str

    def embed(self, batch: Sequence[Samples]) -> list[Voice]:
        """Describe a batch of mono sound at 16 kHz; one unit vector per item, in order.

        All are of one size, and independent of their neighbours.
        """
        ...


@runtime_checkable
class WindowEmbedder(SpeakerEmbedder, Protocol):
    """Describe voices, and those in windows of one sound together, for less than one by one."""

    def embed_windows(self, sound: Samples, windows: Windows) -> list[Voice]:
        """Describe the voice in each window, in order; windows may overlap."""
        ...


logger = logging.getLogger(__name__)

BUNDLED = "campplus"
"""The embedder that comes with the program, as the setting names it."""
SPACE = "space.npz"
"""Where its voices lie, beside its weights."""
_OR_OFF = "or set speakers.told_apart to off"


def load_embedder(place: str) -> SpeakerEmbedder:
    """Make the embedder that comes with the program, ``campplus``, or what a factory makes.

    ``place`` names one of the two, the factory as ``module:factory``. Raises ``ConfigError``
    where there is no such factory, or it makes something else; ``ModelError`` where the module
    cannot be imported, the factory fails, or the bundled weights are damaged.
    """
    if place == BUNDLED:
        from streamser.speech.campplus import load_campplus

        return load_campplus()
    module, _, name = place.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise ConfigError(
            f"speakers.embedder: {place!r} names no embedder: write {BUNDLED}, or module:factory"
            f" such as my_voices:make_embedder, {_OR_OFF}."
        )
    factory = getattr(_import(module), name, None)
    if not callable(factory):
        lack = f"has no {name}" if factory is None else f"has a {name} that cannot be called"
        raise ConfigError(
            f"speakers.embedder: the module {module} {lack}: name a function or class of it that"
            f" makes an embedder, {_OR_OFF}."
        )
    try:
        made = factory()
    except Exception as error:
        raise ModelError(
            f"speakers.embedder: {place} fails to make an embedder ({_reason(error)}): see to"
            f" what it needs, {_OR_OFF}."
        ) from error
    if not isinstance(getattr(made, "name", None), str) or not callable(
        getattr(made, "embed", None)
    ):
        raise ConfigError(
            f"speakers.embedder: what {place} makes ({type(made).__name__}) lacks the name or the"
            f" embed() of a SpeakerEmbedder: let it make one, {_OR_OFF}."
        )
    embedder: SpeakerEmbedder = made
    return embedder


def space_of(place: str, likeness: float) -> Callable[[int], VoiceSpace]:
    """Return what says, from the size of a voice, where voices of an embedder lie.

    ``place`` is that of ``load_embedder``. Of one that does not come with the program is known no
    more than ``likeness`` in (0, 1), the mean cosine between voices of one speaker. Raises
    ``ModelError`` where what comes with the program is missing or damaged.
    """
    if place == BUNDLED:
        from streamser.graphs import check_part, read_parts
        from streamser.speech.campplus import DIRECTORY

        check_part(DIRECTORY, SPACE, read_parts(DIRECTORY).parts)
        bundled = read_space(DIRECTORY / SPACE)
        return lambda size: bundled
    return partial(plain_space, likeness=likeness)


def embed_windows(embedder: SpeakerEmbedder, sound: Samples, windows: Windows) -> list[Voice]:
    """Describe the voice in each window of a sound: together, or as a batch.

    Raises whatever the embedder does.
    """
    if isinstance(embedder, WindowEmbedder):
        return embedder.embed_windows(sound, windows)
    return embedder.embed(_cut(sound, windows))


class LateEmbedder:
    """Be an embedder that is loaded once it is asked: where maybe nobody will."""

    def __init__(self, place: str) -> None:
        self.name = place
        self._loaded: SpeakerEmbedder | None = None

    def embed(self, batch: Sequence[Samples]) -> list[Voice]:
        """Describe a batch; raises what ``load_embedder`` raises, every time."""
        return self._embedder.embed(batch)

    def embed_windows(self, sound: Samples, windows: Windows) -> list[Voice]:
        """Describe windows of a sound; raises as ``embed`` does."""
        return embed_windows(self._embedder, sound, windows)

    @property
    def _embedder(self) -> SpeakerEmbedder:
        if self._loaded is None:
            self._loaded = load_embedder(self.name)
        return self._loaded


class GuardedEmbedder:
    """Ask an embedder, and let through neither its faults nor a vector that is none."""

    def __init__(self, embedder: SpeakerEmbedder) -> None:
        self.is_late = isinstance(embedder, LateEmbedder)
        self._embedder = embedder
        self._size: int | None = None

    def try_out(self, sound: Samples) -> None:
        """Describe a sound; raises ``ModelError`` where that cannot be done."""
        try:
            self._embed([sound])
        except Exception as error:
            raise ModelError(
                f"speakers.embedder: {self._embedder.name} cannot describe a voice"
                f" ({_reason(error)}): see to what it needs, {_OR_OFF}."
            ) from error

    def embed(self, batch: Sequence[Samples]) -> list[Voice | None]:
        """Describe a batch; ``None`` for what cannot be described, which is logged in one line."""
        return self._guarded(batch, partial(self._embed, batch))

    def embed_windows(self, sounds: Sequence[tuple[Samples, Windows]]) -> list[Voice | None]:
        """Describe the voices in windows of sounds, one list for all; ``None`` as in ``embed``."""
        if not isinstance(self._embedder, WindowEmbedder):
            return self.embed([window for each in sounds for window in _cut(*each)])
        return [voice for each in sounds if each[1] for voice in self._embed_sound(*each)]

    def _embed_sound(self, sound: Samples, windows: Windows) -> list[Voice | None]:
        def describe() -> list[Voice]:
            return self._checked(embed_windows(self._embedder, sound, windows), len(windows))

        return self._guarded(_cut(sound, windows), describe)

    def _guarded(
        self, batch: Sequence[Samples], describe: Callable[[], list[Voice]]
    ) -> list[Voice | None]:
        try:
            return list(describe())
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
        return self._checked(self._embedder.embed(batch), len(batch))

    def _checked(self, found: Sequence[Any], count: int) -> list[Voice]:
        if len(found) != count:
            raise ValueError(f"it gave {len(found)} vectors for {count} sounds")
        return [self._one_checked(vector) for vector in found]

    def _one_checked(self, vector: Any) -> Voice:
        # A copy: an embedder may use its memory again.
        voice = np.array(vector, np.float32)
        if voice.ndim != 1 or not np.isfinite(voice).all() or not voice.any():
            raise ValueError("it gave what is no vector with a direction")
        if self._size is None:
            self._size = len(voice)
        if len(voice) != self._size:
            raise ValueError(f"it gave a vector of {len(voice)} numbers after one of {self._size}")
        return voice


def _cut(sound: Samples, windows: Windows) -> list[Samples]:
    return [sound[start:end] for start, end in windows]


def _import(module: str) -> Any:
    try:
        return import_module(module)
    except Exception as error:
        # Of the module itself, or of a package around it; not of what it imports.
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"speakers.embedder: there is no module {module}: install it, put its folder into"
                f" PYTHONPATH, {_OR_OFF}."
            ) from None
        raise ModelError(
            f"speakers.embedder: the module {module} cannot be imported ({_reason(error)}): see to"
            f" what it needs, {_OR_OFF}."
        ) from error


def _reason(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
