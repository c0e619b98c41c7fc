"""The lower layers of a Whisper encoder: they hear more of a voice than its words.

An utterance is encoded as long as it is, without the silence that Whisper's window of 30 s is
filled up with; the layers that know the words are not built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.compact.whisper_mel import BANDS, HOP, LOWEST, Frames, whisper_frames
from streamser.emotion.frontend import Mel, Sound
from streamser.emotion.neural.adapt import LayerSum, adapt, checkpoint_layers
from streamser.emotion.neural.config import WhisperAcousticConfig
from streamser.emotion.neural.interfaces import AudioBatch, Encoded
from streamser.emotion.neural.pretrained import ACOUSTIC_FAMILIES, rebuild
from streamser.emotion.neural.whisper_weights import FAMILY, check_layers, load_lower_layers
from streamser.errors import ModelError

__all__ = ["WhisperAcoustic", "build_whisper_acoustic", "load_whisper_acoustic", "whisper_input"]

_AUDIBLE: Final = 4.0  # decades of power below the loudest frame: softer ends are left out
_RANGE: Final = 8.0  # decades below the loudest band, as Whisper has it
_PEAK: Final = 1.5  # what the loudest band of speech is to Whisper, in decades


class WhisperAcoustic(nn.Module):
    """Encode clips with Whisper's convolutions and first layers: a vector for each 20 ms.

    Implements ``AcousticEncoder``. ``model`` is transformers' bare encoder; its layers above the
    highest of ``config.used_layers``, and the norm behind its last, are left out. The vectors of
    each layer are brought to zero mean and unit variance before they are joined: they grow from
    layer to layer. Which weights learn is decided here, see ``adapt``; LoRA adapts the query and
    value projections. Raises ``ModelError`` for a model of fewer layers, or of another number of
    mel bands.
    """

    def __init__(self, config: WhisperAcousticConfig, model: Any) -> None:
        super().__init__()
        check_layers(config.name, max(config.used_layers), len(model.layers))
        if model.config.num_mel_bins != BANDS:
            raise ModelError(
                f"{config.name} hears {model.config.num_mel_bins} mel bands, here there are"
                f" {BANDS}: choose another Whisper, such as tiny.en, base, or large-v2."
            )
        self.config = config
        self.elastic = True
        model.layers = model.layers[: max(config.used_layers)]
        model.layer_norm = nn.Identity()
        adapt(model, FAMILY, config.frozen, config.lora)
        # Sines: they say where, and there is nothing to learn in them.
        model.embed_positions.requires_grad_(False)
        self.model = model
        summed = config.join == "sum" and len(config.used_layers) > 1
        self.layer_sum = LayerSum(len(config.used_layers)) if summed else None
        self._channels = int(model.config.d_model)
        self.width = self._channels * (len(config.used_layers) if config.join == "concat" else 1)
        self._positions = int(model.config.max_source_positions)
        longest = max(1, int(config.max_seconds * SAMPLE_RATE) // HOP)
        self._most = min(longest, 2 * self._positions)
        if config.gradient_checkpointing:
            checkpoint_layers(model)
        self.train()

    def train(self, mode: bool = True) -> WhisperAcoustic:
        """Switch dropout; a frozen encoder stays without."""
        super().train(mode)
        if self.config.frozen == "all":
            self.model.eval()
        return self

    def prepare(self, clips: Sequence[Sound]) -> AudioBatch:
        """Turn clips into what Whisper hears, float32 [B, T, 80], and their lengths in frames.

        A frame is 10 ms; clips are cut at ``max_seconds``. Of ready-made features it is those
        in Whisper's bands that count. Raises ``ModelError`` for features that have none.
        """
        found = [torch.from_numpy(whisper_input(self._levels(clip))) for clip in clips]
        if not found:
            return AudioBatch(torch.zeros(0, 1, BANDS), torch.zeros(0, dtype=torch.int64))
        lengths = torch.tensor([len(frames) for frames in found], dtype=torch.int64)
        return AudioBatch(nn.utils.rnn.pad_sequence(found, batch_first=True), lengths)

    def forward(self, batch: AudioBatch) -> Encoded:
        """Encode a batch into float [B, ceil(T / 2), width]."""
        learning = self.config.frozen != "all"
        with torch.set_grad_enabled(torch.is_grad_enabled() and learning):
            states, mask = self._encode(batch)
            chosen = [
                functional.layer_norm(states[layer], (self._channels,))
                for layer in self.config.used_layers
            ]
        # The weights of a sum learn also where the layers do not.
        hidden = torch.cat(chosen, dim=2) if self.layer_sum is None else self.layer_sum(chosen)
        return Encoded(hidden.masked_fill(~mask[:, :, None], 0.0), mask)

    def _encode(self, batch: AudioBatch) -> tuple[list[Tensor], Tensor]:
        """Return what the first layer reads and what each gives, and which positions are real."""
        lengths = batch.lengths.clamp(min=1)
        # Padding may reach beyond the positions that there are.
        vectors = batch.values[:, : 2 * self._positions].transpose(1, 2)
        fixed = self.config.frozen != "none" or self.config.lora is not None
        with torch.set_grad_enabled(torch.is_grad_enabled() and not fixed):
            for convolution, stride in ((self.model.conv1, 1), (self.model.conv2, 2)):
                real = _real(lengths, vectors.shape[2])
                # Beyond its end an item must meet the zeros that it would meet alone.
                vectors = functional.gelu(convolution(vectors.masked_fill(~real[:, None], 0.0)))
                lengths = torch.div(lengths - 1, stride, rounding_mode="floor") + 1
        mask = _real(lengths, vectors.shape[2])
        hidden = vectors.transpose(1, 2)
        hidden = hidden + self.model.embed_positions.weight[: hidden.shape[1]]
        states = [hidden]
        for layer in self.model.layers:
            found = layer(states[-1], mask[:, None, None, :])
            # Older versions of transformers give a tuple.
            states.append(found[0] if isinstance(found, tuple) else found)
        return states, mask

    def _levels(self, clip: Sound) -> Frames:
        if not isinstance(clip, Mel):
            return whisper_frames(np.asarray(clip, dtype=np.float32)[: self._most * HOP - 1])
        if clip.whisper is None:
            raise ModelError(
                f"{self.config.name}: a Whisper encoder needs the recording itself, or frames of "
                "128 bands, and a clip has log-mel features of 64; use the compact encoder, or "
                "give audio."
            )
        return clip.whisper[: self._most]


def whisper_input(levels: Frames) -> Frames:
    """Scale log10 mel powers, float32 [T, 80], as Whisper wants them, in [-0.625, 1.375].

    However loud the clip is, its loudest band counts as in loud speech. What lies 40 dB below
    the loudest frame at either end is left out; T is never 0 in what is returned.
    """
    if not len(levels):
        levels = np.full((1, BANDS), LOWEST, np.float32)
    loudness = np.log10(np.power(10.0, levels, dtype=np.float64).sum(axis=1))
    audible = np.flatnonzero(loudness >= loudness.max() - _AUDIBLE)
    heard = levels[audible[0] : audible[-1] + 1]
    scaled = np.maximum(heard - heard.max(), -_RANGE) + (_PEAK + 4.0)
    if not np.ptp(heard):
        scaled = np.full((1, BANDS), _PEAK + 4.0 - _RANGE)
    found: Frames = (scaled / 4.0).astype(np.float32)
    return found


def load_whisper_acoustic(
    config: WhisperAcousticConfig, *, offline: bool = False
) -> WhisperAcoustic:
    """Build an encoder with its published weights; its ``config`` has ``architecture`` filled in.

    Raises ``ModelError``, see ``load_lower_layers`` and ``WhisperAcoustic``.
    """
    model, architecture = load_lower_layers(config.name, max(config.used_layers), offline=offline)
    return WhisperAcoustic(replace(config, architecture=architecture), model)


def build_whisper_acoustic(config: WhisperAcousticConfig) -> WhisperAcoustic:
    """Build an encoder of ``config.architecture`` with random weights, without any network.

    The state of what ``load_whisper_acoustic`` gave for the same settings fits exactly. Raises
    ``ModelError`` where there is no architecture, or one that cannot be built.
    """
    if config.architecture is None:
        raise ModelError(
            f"{config.name}: its architecture is not written down, so that it cannot be rebuilt; "
            "load it with its published weights first."
        )
    families = {FAMILY.name: ACOUSTIC_FAMILIES[FAMILY.name]}
    return WhisperAcoustic(config, rebuild(config.architecture, families))


def _real(lengths: Tensor, total: int) -> Tensor:
    """Return which positions are within their item, bool [B, total]."""
    return torch.arange(total, device=lengths.device) < lengths[:, None]
