"""The lower layers of a Whisper encoder, with published weights: CTranslate2's or transformers'.

They hear more of a voice than its words. An utterance is encoded as long as it is, without the
silence that Whisper's window of 30 s is filled up with; the layers that know the words are not
built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn import functional

from streamser.audio.clip import SAMPLE_RATE
from streamser.emotion.compact.encoders import BANDS, HOP, LOWEST, Frames, whisper_frames
from streamser.emotion.frontend import Mel, Sound
from streamser.emotion.fused.config import WhisperAcousticConfig
from streamser.emotion.fused.interfaces import AudioBatch, Encoded
from streamser.emotion.fused.pretrained import ACOUSTIC_FAMILIES, Family, load_published, rebuild
from streamser.emotion.fused.pretrained_encoders import LayerSum, adapt, checkpoint_layers
from streamser.errors import ModelError
from streamser.speech.whisper_encoder import read_encoder
from streamser.speech.whisper_files import WHISPER_SIZES, locate_whisper

FAMILY: Final[Family] = ACOUSTIC_FAMILIES["whisper"]

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


_Array = npt.NDArray[np.float32]

_SIZES: Final = (
    "model_type",
    "d_model",
    "encoder_layers",
    "encoder_attention_heads",
    "encoder_ffn_dim",
    "num_mel_bins",
    "max_source_positions",
    "activation_function",
    "dropout",
    "attention_dropout",
    "activation_dropout",
)
"""What an encoder is built of; the rest is the decoder's."""

_ENDS: Final = {
    "conv1.weight": "conv1/weight",
    "conv1.bias": "conv1/bias",
    "conv2.weight": "conv2/weight",
    "conv2.bias": "conv2/bias",
    "embed_positions.weight": "position_encodings/encodings",
    "layer_norm.weight": "layer_norm/gamma",
    "layer_norm.bias": "layer_norm/beta",
}
_PARTS: Final = {
    "self_attn_layer_norm.weight": "self_attention/layer_norm/gamma",
    "self_attn_layer_norm.bias": "self_attention/layer_norm/beta",
    "self_attn.out_proj.weight": "self_attention/linear_1/weight",
    "self_attn.out_proj.bias": "self_attention/linear_1/bias",
    "final_layer_norm.weight": "ffn/layer_norm/gamma",
    "final_layer_norm.bias": "ffn/layer_norm/beta",
    "fc1.weight": "ffn/linear_0/weight",
    "fc1.bias": "ffn/linear_0/bias",
    "fc2.weight": "ffn/linear_1/weight",
    "fc2.bias": "ffn/linear_1/bias",
}
"""The names of a layer's weights in CTranslate2, by those here; projections are stacked there."""


def load_lower_layers(name: str, highest: int, *, offline: bool) -> tuple[Any, dict[str, Any]]:
    """Load the convolutions and first layers of a Whisper encoder, in float32.

    ``name`` is a size of faster-whisper, a directory with CTranslate2's ``model.bin``, or
    whatever ``load_published`` takes; ``offline`` forbids downloads. Returns transformers' bare
    encoder and its configuration as plain JSON data, of ``highest`` layers. Raises
    ``ModelError`` in one line: nothing there, another kind of model, a weight that is missing
    or of another shape, fewer layers.
    """
    place = Path(name).expanduser()
    if name in WHISPER_SIZES and not place.is_dir():
        place = locate_whisper(name, offline)
    if (place / "model.bin").is_file() and not any(place.glob("*.safetensors")):
        return _of_ctranslate2(name, read_encoder(place / "model.bin"), highest)
    model, published = load_published(name, {FAMILY.name: FAMILY}, offline=offline)
    check_layers(name, highest, len(model.layers))
    architecture: dict[str, Any] = {key: published[key] for key in _SIZES if key in published}
    return model, architecture | {"encoder_layers": highest}


def _of_ctranslate2(
    name: str, weights: Mapping[str, _Array], highest: int
) -> tuple[Any, dict[str, Any]]:
    layers = {key for key in weights if re.fullmatch(r"layer_\d+/ffn/linear_0/weight", key)}
    try:
        width, bands, _ = weights["conv1/weight"].shape
        architecture = {
            "model_type": FAMILY.name,
            "d_model": width,
            "encoder_layers": highest,
            "encoder_attention_heads": int(weights["num_heads"]),
            "encoder_ffn_dim": len(weights["layer_0/ffn/linear_0/weight"]),
            "num_mel_bins": bands,
            "max_source_positions": len(weights["position_encodings/encodings"]),
        }
        check_layers(name, highest, len(layers))
        state = {key: torch.from_numpy(value) for key, value in _renamed(weights, highest)}
    except KeyError as error:
        raise ModelError(
            f"{name}: its model.bin is no whole Whisper of CTranslate2: the encoder lacks"
            f" {error.args[0]}."
        ) from None
    except (ValueError, TypeError) as error:
        raise ModelError(f"{name}: its model.bin is no Whisper of CTranslate2: {error}.") from None
    model = rebuild(architecture, {FAMILY.name: FAMILY})
    for key, own in model.state_dict().items():
        if own.shape != state[key].shape:
            raise ModelError(
                f"{name}: {key} is {tuple(state[key].shape)} in its model.bin, and"
                f" {tuple(own.shape)} goes with its other weights."
            )
    model.load_state_dict(state)
    return model, architecture


def _renamed(weights: Mapping[str, _Array], highest: int) -> Iterator[tuple[str, _Array]]:
    """Yield the weights of so many layers by the names of transformers."""
    for ours, theirs in _ENDS.items():
        yield ours, weights[theirs]
    for layer in range(highest):
        for ours, theirs in _PARTS.items():
            yield f"layers.{layer}.{ours}", weights[f"layer_{layer}/{theirs}"]
        stacked = f"layer_{layer}/self_attention/linear_0"
        for kind in ("weight", "bias"):
            parts = np.split(weights[f"{stacked}/{kind}"], 3)
            for projection, part in zip("qkv", parts, strict=True):
                # Keys have no bias: CTranslate2 fills it up with zeros.
                if (projection, kind) != ("k", "bias"):
                    yield f"layers.{layer}.self_attn.{projection}_proj.{kind}", part


def check_layers(name: str, highest: int, layers: int) -> None:
    """Raise ``ModelError`` where a layer is asked for that an encoder of so many does not have."""
    if highest > layers:
        raise ModelError(
            f"{name} has {layers} layers: model.acoustic.used_layers cannot name {highest}."
        )
