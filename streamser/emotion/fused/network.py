"""The fused multi-task model: two encoders, their fusion, a classifier and a regressor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from streamser.emotion.frontend import Mel, Sound
from streamser.emotion.fused.config import (
    AcousticConfig,
    CompactAcousticConfig,
    CompactTextConfig,
    FusedConfig,
    HeadsConfig,
    PluginAcousticConfig,
    PluginTextConfig,
    TextConfig,
    WhisperAcousticConfig,
)
from streamser.emotion.fused.fusion import Fusion
from streamser.emotion.fused.interfaces import (
    AcousticEncoder,
    AudioBatch,
    Encoded,
    FusedInput,
    FusedOutput,
    TextBatch,
    TextEncoder,
)
from streamser.errors import ConfigError
from streamser.taxonomy import CATEGORIES, DIMENSIONS

_BatchT = TypeVar("_BatchT", AudioBatch, TextBatch)


class FusedModel(nn.Module):
    """Tell categories and dimensions of emotion from voice, words, or both.

    arXiv 2401.00536: encoders, fusion, one classifier and one sigmoid regressor on the same
    vector. What an item gives does not depend on its neighbours in the batch nor on padding.
    Raises ``ConfigError`` for a configuration that makes no model, see ``check_config``.
    """

    def __init__(
        self, config: FusedConfig, acoustic: nn.Module | None, text: nn.Module | None
    ) -> None:
        super().__init__()
        check_config(config)
        for name, wanted, given in (
            ("acoustic", config.acoustic, acoustic),
            ("text", config.text, text),
        ):
            if (wanted is None) != (given is None):
                raise ConfigError(
                    f"the {name} encoder must be both configured and given, or neither"
                )
        self.config = config
        self.acoustic = acoustic
        self.text = text
        self.fusion = Fusion(
            config.fusion,
            None if acoustic is None else cast(AcousticEncoder, acoustic).width,
            None if text is None else cast(TextEncoder, text).width,
        )
        self.classifier = _head(config.fusion.width, len(config.heads.categories), config.heads)
        self.regressor = _head(config.fusion.width, len(config.heads.dimensions), config.heads)

    def forward(self, batch: FusedInput) -> FusedOutput:
        """Say what is in a batch that lies on the model's device.

        Rows of a modality that an item lacks are not encoded. An item with neither modality
        gives the model's constant answer.
        """
        fused = self.fusion(
            self._encode(self.acoustic, batch.audio, batch.has_audio),
            self._encode(self.text, batch.text, batch.has_text),
        )
        # Half precision is too coarse for a probability or a CCC.
        with torch.autocast(fused.fused.device.type, enabled=False):
            vector = fused.fused.to(self._dtype)
            return FusedOutput(
                self.classifier(vector),
                torch.sigmoid(self.regressor(vector)),
                fused.audio,
                fused.text,
            )

    def prepare(self, sounds: Sequence[Sound | None], texts: Sequence[str | None]) -> FusedInput:
        """Turn sounds and texts, one of each for an item, into a batch on the CPU.

        ``None``, a sound of no samples and a blank text are absent; so is everything of a
        modality that the model does not have. Raises what the encoders' ``prepare`` raises.
        """
        if len(sounds) != len(texts):
            raise ValueError(f"{len(sounds)} sounds do not go with {len(texts)} texts")
        clips = [
            sound if self.acoustic is not None and sound is not None and _frames(sound) else None
            for sound in sounds
        ]
        words = [
            text if self.text is not None and text is not None and text.strip() else None
            for text in texts
        ]
        audio = [clip for clip in clips if clip is not None]
        spoken = [text for text in words if text is not None]
        has_audio = torch.tensor([clip is not None for clip in clips], dtype=torch.bool)
        has_text = torch.tensor([text is not None for text in words], dtype=torch.bool)
        sound_batch = text_batch = None
        if audio:
            sound_batch = _spread(cast(AcousticEncoder, self.acoustic).prepare(audio), has_audio)
        if spoken:
            text_batch = _spread(cast(TextEncoder, self.text).prepare(spoken), has_text)
        return FusedInput(sound_batch, text_batch, has_audio, has_text)

    def branch_parameters(self, modality: Literal["audio", "text"]) -> Iterator[nn.Parameter]:
        """Yield the weights of one modality's path: encoder, projection and refinement.

        They are what random modality masking freezes. None where the model lacks it.
        """
        encoder = {"audio": self.acoustic, "text": self.text}[modality]
        if encoder is not None:
            yield from encoder.parameters()
            yield from self.fusion.branches[modality].parameters()

    def encoder_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the weights inside pretrained encoders, which want a smaller learning rate."""
        if self.acoustic is not None and _begins_learnt(self.config.acoustic):
            yield from self.acoustic.parameters()
        if self.text is not None and _begins_learnt(self.config.text):
            yield from self.text.parameters()

    @property
    def _dtype(self) -> torch.dtype:
        heads = (*self.classifier.parameters(), *self.regressor.parameters())
        return heads[0].dtype

    def _encode(
        self, encoder: nn.Module | None, batch: AudioBatch | TextBatch | None, present: Tensor
    ) -> Encoded | None:
        """Encode the rows that are present; the others get no real position.

        ``None`` for a modality that the model does not have.
        """
        if encoder is None:
            return None
        rows = present.nonzero().squeeze(1)
        if batch is None or not len(rows):
            width = cast(AcousticEncoder, encoder).width
            hidden = torch.zeros(len(present), 1, width, dtype=self._dtype, device=present.device)
            return Encoded(hidden, torch.zeros_like(hidden[:, :, 0], dtype=torch.bool))
        chosen = type(batch)(*(tensor.index_select(0, rows) for tensor in batch))
        encoded = encoder(chosen)
        return Encoded(
            _scatter(encoded.hidden.to(self._dtype), rows, len(present)),
            _scatter(encoded.mask, rows, len(present)),
        )


class _Nothing(nn.Module):
    """Stand for a head with nothing to say: [B, d] becomes [B, 0]."""

    def forward(self, vector: Tensor) -> Tensor:
        return vector[:, :0]


def check_config(config: FusedConfig) -> None:
    """Refuse a configuration that makes no model, with ``ConfigError`` and one clear line."""
    if config.acoustic is None and config.text is None:
        raise ConfigError("a model needs an acoustic encoder, a text encoder, or both: set one")
    if isinstance(config.acoustic, WhisperAcousticConfig):
        _check_layers(config.acoustic.used_layers)
    if config.fusion.width % config.fusion.heads:
        raise ConfigError(
            f"fusion.width {config.fusion.width} is not divisible by "
            f"fusion.heads {config.fusion.heads}"
        )
    heads = config.heads
    if not heads.categories and not heads.dimensions:
        raise ConfigError("a model needs a task: set heads.categories, heads.dimensions, or both")
    if len(heads.categories) == 1:
        raise ConfigError("heads.categories needs two categories at least, or none")
    for setting, names, known in (
        ("heads.categories", heads.categories, CATEGORIES),
        ("heads.dimensions", heads.dimensions, DIMENSIONS),
    ):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigError(f"{setting}: unknown {unknown[0]!r}; known: {', '.join(known)}")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ConfigError(f"{setting}: {twice[0]!r} is there more than once")


def _check_layers(layers: tuple[int, ...]) -> None:
    named = ", ".join(map(str, layers))
    if not any(layers):
        raise ConfigError(f"acoustic.used_layers = {named}: name one layer at least, from 1")
    if list(layers) != sorted(set(layers)):
        raise ConfigError(f"acoustic.used_layers = {named}: name each once, the lowest first")


def _begins_learnt(config: AcousticConfig | TextConfig | None) -> bool:
    if isinstance(config, PluginAcousticConfig | PluginTextConfig):
        return config.pretrained
    return not isinstance(config, CompactAcousticConfig | CompactTextConfig | None)


def _head(width: int, outputs: int, config: HeadsConfig) -> nn.Module:
    if not outputs:
        return _Nothing()
    if not config.hidden:
        return nn.Linear(width, outputs)
    return nn.Sequential(
        nn.Dropout(config.dropout),
        nn.Linear(width, config.hidden),
        nn.GELU(),
        nn.Dropout(config.dropout),
        nn.Linear(config.hidden, outputs),
    )


def _frames(sound: Sound) -> int:
    return len(sound.decibels) if isinstance(sound, Mel) else len(sound)


def _spread(batch: _BatchT, present: Tensor) -> _BatchT:
    """Put the rows of a batch where they belong among the absent ones, which are zero."""
    rows = present.nonzero().squeeze(1)
    return type(batch)(*(_scatter(tensor, rows, len(present)) for tensor in batch))


def _scatter(tensor: Tensor, rows: Tensor, size: int) -> Tensor:
    """Return [size, ...] with the given rows at their places and zero elsewhere."""
    if len(rows) == size:
        return tensor
    return tensor.new_zeros(size, *tensor.shape[1:]).index_copy(0, rows, tensor)
