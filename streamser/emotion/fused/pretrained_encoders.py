"""Encoders of the transformers library, of voice and of words, as parts of a fused model.

And what of them learns: frozen parts, low-rank adaptation, weighted layers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, cast

import numpy as np
import torch
from msgspec.structs import replace
from tokenizers import Tokenizer
from torch import Tensor, nn

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.emotion.frontend import Mel, Sound
from streamser.emotion.fused import pretrained
from streamser.emotion.fused.compact_encoders import encodable
from streamser.emotion.fused.config import (
    LoraConfig,
    PretrainedAcousticConfig,
    PretrainedTextConfig,
)
from streamser.emotion.fused.interfaces import AudioBatch, Encoded, TextBatch
from streamser.emotion.fused.pretrained import Family
from streamser.errors import ConfigError, ModelError, first_line

Frozen: TypeAlias = Literal["features", "all", "none"]


class LayerSum(nn.Module):
    """Sum what layers give with softmax weights that learn; at first all count the same.

    As in SUPERB (Yang et al. 2021, §3.1): Σ_l softmax(w)_l · h_l over ``states`` of them, such
    as the input of the first layer and the output of each.
    """

    def __init__(self, states: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(states))

    def forward(self, states: Sequence[Tensor]) -> Tensor:
        """Return [B, T, d] of as many such tensors."""
        shares = torch.softmax(self.weights, dim=0)
        total = shares[0] * states[0]
        for share, state in zip(shares[1:], states[1:], strict=True):
            total = total + share * state
        return total


class LowRank(nn.Module):
    """Add a learnable matrix of low rank to a weight: W + α/r · B A (Hu et al. 2021, §4.1).

    For layers that read a projection's weight without calling it, where peft has no effect.
    """

    def __init__(self, outputs: int, inputs: int, config: LoraConfig) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(torch.empty(config.rank, inputs))
        self.lora_B = nn.Parameter(torch.zeros(outputs, config.rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)
        self._scale = config.alpha / config.rank

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight, [outputs, inputs]."""
        return weight + self._scale * (self.lora_B @ self.lora_A)


def adapt(model: nn.Module, family: Family, frozen: Frozen, lora: LoraConfig | None) -> None:
    """Decide in place which weights of a bare encoder learn.

    ``features`` is the paper's rule (arXiv 2401.00536 §3): feature extractor and embeddings
    frozen, transformer layers trained. With ``lora`` all published weights are frozen, and
    small matrices beside the query and value projections learn. Raises ``ConfigError`` where
    both cannot be had, or without peft.
    """
    if lora is not None and frozen == "all":
        raise ConfigError('frozen = "all" and lora exclude each other: LoRA has to learn.')
    for parameter in model.parameters():
        parameter.requires_grad_(frozen != "all" and lora is None)
    if lora is not None:
        _insert(model, family, lora)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name)
    elif frozen == "features":
        for name in family.frozen:
            model.get_submodule(name).requires_grad_(False)


def checkpoint_layers(model: Any) -> None:
    """Forget activations inside the transformer layers and compute them again when needed."""
    # The first name is that of newer versions of transformers, which warn of the second.
    enable = getattr(model, "activation_checkpointing_enable", None)
    # The re-entrant kind loses the gradients of layers recorded on the way.
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


@contextmanager
def recorded(layers: nn.ModuleList) -> Iterator[list[Tensor]]:
    """Collect the input of the first layer and the output of each while they run."""
    states: list[Tensor] = []

    def before(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.append(arguments[0] if arguments else named["hidden_states"])

    def after(module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    hooks = [layers[0].register_forward_pre_hook(before, with_kwargs=True)]
    hooks += [layer.register_forward_hook(after) for layer in layers]
    try:
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def _insert(model: nn.Module, family: Family, lora: LoraConfig) -> None:
    if family.bare_weights:
        if lora.dropout:
            raise ConfigError(
                f"lora.dropout has no place in {family.name}, whose attention reads the weights "
                "themselves; set it to 0."
            )
        for name, module in list(model.named_modules()):
            if name.rpartition(".")[2] in family.adapted and isinstance(module, nn.Linear):
                low = LowRank(module.out_features, module.in_features, lora)
                nn.utils.parametrize.register_parametrization(module, "weight", low)
        return
    try:
        import peft
    except ImportError:
        raise ConfigError("LoRA needs peft: pip install 'streamser[train]'.") from None
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(family.adapted),
    )
    peft.inject_adapter_in_model(settings, model)


_HOP: Final = 160
"""Samples that become one log-mel frame of Whisper."""


class PretrainedAcoustic(nn.Module):
    """Encode recordings with a published encoder: one vector of ``width`` for each 20 ms.

    Implements ``AcousticEncoder``. ``model`` is the bare transformers model; which of its
    weights learn is decided here, by ``config``. Random layer dropping and masking of the
    pretraining are off (the paper names neither). Raises ``ConfigError``, see ``adapt``.
    """

    def __init__(self, config: PretrainedAcousticConfig, model: Any) -> None:
        super().__init__()
        self._family = pretrained.family_of(
            config.name, model.config.model_type, pretrained.ACOUSTIC_FAMILIES
        )
        self._whisper = self._family.name == "whisper"
        self.config = config
        self.width = int(model.config.hidden_size)
        self.elastic = not self._whisper
        adapt(model, self._family, config.frozen, config.lora)
        self.model = model
        self.layer_sum = LayerSum(model.config.num_hidden_layers + 1) if config.layer_sum else None
        if config.gradient_checkpointing:
            checkpoint_layers(model)
        if self._whisper:
            self._most = min(int(config.max_seconds * SAMPLE_RATE), self._window)
            self._least = 1
        else:
            # Else it lets gradients begin at the samples, for another kind of checkpointing.
            model.feature_extractor._requires_grad = False
            self._most = int(config.max_seconds * SAMPLE_RATE)
            self._least = _least_samples(model.config.conv_kernel, model.config.conv_stride)
        self.train()

    def train(self, mode: bool = True) -> PretrainedAcoustic:
        """Switch dropout; a frozen encoder stays without."""
        super().train(mode)
        if self.config.frozen == "all":
            self.model.eval()
        return self

    def prepare(self, clips: Sequence[Sound]) -> AudioBatch:
        """Turn clips into waveforms [B, S], or for Whisper log-mel frames [B, F, mels].

        Clips are cut at ``max_seconds``, brought to zero mean and unit variance each if
        ``normalize``, and padded to the least that the convolutions take. Whisper's frames (10
        ms) are always those of its whole window, 30 s, and their padding is what silence looks
        like there; ``lengths`` counts the frames of the clip. Raises ``ModelError`` for ``Mel``.
        """
        sounds = [self._waveform(clip) for clip in clips]
        if self._whisper:
            return self._log_mel(sounds)
        lengths = [max(len(sound), self._least) for sound in sounds]
        values = torch.zeros(len(sounds), max(lengths, default=self._least))
        for row, sound in zip(values, sounds, strict=True):
            row[: len(sound)] = torch.from_numpy(sound)
        return AudioBatch(values, torch.tensor(lengths, dtype=torch.int64))

    def forward(self, batch: AudioBatch) -> Encoded:
        """Encode a batch into float [B, T, width]; a clip gives at least one vector."""
        learning = self.config.frozen != "all"
        with torch.set_grad_enabled(torch.is_grad_enabled() and learning):
            states, frames = self._read(batch) if self._whisper else self._listen(batch)
        hidden = states[-1] if self.layer_sum is None else self.layer_sum(states)
        if self._whisper:
            hidden = hidden[:, : int(frames.max())]
        mask = torch.arange(hidden.shape[1], device=frames.device) < frames[:, None]
        return Encoded(hidden.masked_fill(~mask[:, :, None], 0.0), mask)

    def _listen(self, batch: AudioBatch) -> tuple[Sequence[Tensor], Tensor]:
        """Return the layers to use, the last one at the end, and the vectors of each clip."""
        lengths = batch.lengths.clamp(min=self._least)
        frames = self.model._get_feat_extract_output_lengths(lengths)
        # Gradients through seven convolutions over samples would cost most of the memory.
        frozen = self.config.frozen != "none" or self.config.lora is not None
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            features = self._convolve(batch.values, lengths)
            projected = self.model.feature_projection(features)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        mask = torch.arange(hidden.shape[1], device=frames.device) < frames[:, None]
        encoder = self.model.encoder
        with warnings.catch_warnings():
            # WavLM's attention gives torch masks of two types.
            warnings.filterwarnings("ignore", "Support for mismatched", UserWarning)
            if self.layer_sum is None:
                return (encoder(hidden, attention_mask=mask).last_hidden_state,), frames
            with recorded(encoder.layers) as states:
                last = encoder(hidden, attention_mask=mask).last_hidden_state
        # Some end in a norm over the last layer: it is the normed output that is used.
        return (*states[:-1], last), frames

    def _convolve(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Return the features [B, T, channels] of the convolutions; behind a clip they are any."""
        extractor = self.model.feature_extractor
        if self.model.config.feat_extract_norm != "group":
            features: Tensor = extractor(values)
            return features.transpose(1, 2)
        # Their first norm is over all time, of which padding must not be a part.
        first, *others = extractor.conv_layers
        hidden = first.conv(values[:, None])
        total = hidden.shape[2]
        (kernel,), (stride,) = first.conv.kernel_size, first.conv.stride
        counts = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        normed = [
            nn.functional.pad(first.layer_norm(row[None, :, :count]), (0, total - count))
            for row, count in zip(hidden, counts.tolist(), strict=True)
        ]
        hidden = first.activation(torch.cat(normed))
        for layer in others:
            hidden = layer(hidden)
        return cast(Tensor, hidden).transpose(1, 2)

    def _read(self, batch: AudioBatch) -> tuple[Sequence[Tensor], Tensor]:
        frames = self.model._get_feat_extract_output_lengths(batch.lengths.clamp(min=1))
        given = batch.values.transpose(1, 2)
        if self.layer_sum is None:
            return (self.model(given).last_hidden_state,), frames
        with recorded(self.model.layers) as states:
            last = self.model(given).last_hidden_state
        return (*states[:-1], last), frames

    def _waveform(self, clip: Sound) -> Samples:
        if isinstance(clip, Mel):
            raise ModelError(
                f"{self.config.name}: a pretrained acoustic encoder needs the recording itself, "
                "and a clip has log-mel features only; use the compact encoder, or give audio."
            )
        sound = np.asarray(clip, dtype=np.float32)[: self._most]
        if not self.config.normalize or not len(sound):
            return np.ascontiguousarray(sound)
        exact = sound.astype(np.float64)
        # The small term is transformers': silence stays silence.
        normal: Samples = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-7)
        return normal.astype(np.float32)

    def _log_mel(self, sounds: Sequence[Samples]) -> AudioBatch:
        from transformers import WhisperFeatureExtractor

        mels = self.model.config.num_mel_bins
        window = self._window
        if not sounds:
            empty = torch.zeros(0, window // _HOP, mels)
            return AudioBatch(empty, torch.zeros(0, dtype=torch.int64))
        extractor = WhisperFeatureExtractor(feature_size=mels, sampling_rate=SAMPLE_RATE)
        features = extractor(
            list(sounds), sampling_rate=SAMPLE_RATE, max_length=window, return_tensors="pt"
        )
        lengths = [max(1, -(-len(sound) // _HOP)) for sound in sounds]
        values = features["input_features"].transpose(1, 2).contiguous()
        return AudioBatch(values, torch.tensor(lengths, dtype=torch.int64))

    @property
    def _window(self) -> int:
        """Samples that Whisper always takes: two log-mel frames for each of its positions."""
        return 2 * _HOP * int(self.model.config.max_source_positions)


def load_pretrained_acoustic(
    config: PretrainedAcousticConfig, *, offline: bool = False
) -> PretrainedAcoustic:
    """Build an encoder with its published weights, from the hub or a local directory.

    Its ``config`` has ``architecture`` and ``normalize`` filled in: the latter as the
    checkpoint's ``preprocessor_config.json`` says, else where the convolutions are normed layer
    by layer (what their authors did). Raises ``ModelError``, see ``load_published``, and where
    the model was made for another rate than 16 kHz.
    """
    model, architecture = pretrained.load_published(
        config.name, pretrained.ACOUSTIC_FAMILIES, offline=offline
    )
    wanted = pretrained.read_preprocessor(config.name, offline=offline)
    rate = wanted.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise ModelError(
            f"{config.name}: it is made for sound at {rate} Hz; here it is {SAMPLE_RATE}."
        )
    normalize = config.normalize
    if normalize is None:
        layered = architecture.get("feat_extract_norm") == "layer"
        normalize = bool(wanted.get("do_normalize", layered))
    return PretrainedAcoustic(
        replace(config, architecture=architecture, normalize=normalize), model
    )


def build_pretrained_acoustic(config: PretrainedAcousticConfig) -> PretrainedAcoustic:
    """Build an encoder of ``config.architecture`` with random weights, without any network.

    The state of what ``load_pretrained_acoustic`` gave for the same settings fits exactly.
    Raises ``ModelError`` where there is no architecture, or one that cannot be built.
    """
    if config.architecture is None:
        raise ModelError(
            f"{config.name}: its architecture is not written down, so that it cannot be rebuilt; "
            "load it with its published weights first."
        )
    return PretrainedAcoustic(
        config, pretrained.rebuild(config.architecture, pretrained.ACOUSTIC_FAMILIES)
    )


def _least_samples(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return how many samples the convolutions need for one vector."""
    needed = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        needed = (needed - 1) * stride + kernel
    return needed


_FILE: Final = "tokenizer.json"


class PretrainedText(nn.Module):
    """Encode texts with a published encoder: one vector for each token, the special ones too.

    Implements ``TextEncoder``. ``model`` is the bare transformers model; which of its weights
    learn is decided here, by ``config`` (relative positions count as part of the layers).
    ``tokenizer`` has its padding set. Raises ``ConfigError``, see ``adapt``, and ``ModelError``
    where the tokenizer knows tokens that the model has no vector for.
    """

    def __init__(self, config: PretrainedTextConfig, model: Any, tokenizer: Tokenizer) -> None:
        super().__init__()
        family = pretrained.family_of(
            config.name, model.config.model_type, pretrained.TEXT_FAMILIES
        )
        self.config = config
        self.width = int(model.config.hidden_size)
        adapt(model, family, config.frozen, config.lora)
        self.model = model
        self.layer_sum = LayerSum(model.config.num_hidden_layers + 1) if config.layer_sum else None
        if config.gradient_checkpointing:
            checkpoint_layers(model)
        if max(tokenizer.get_vocab().values(), default=-1) >= model.config.vocab_size:
            raise ModelError(
                f"{config.name}: its tokenizer knows {tokenizer.get_vocab_size()} tokens and its "
                f"model {model.config.vocab_size}; they do not belong together."
            )
        self.tokenizer = tokenizer
        tokenizer.enable_truncation(min(config.max_tokens, _positions(model.config)))
        self.train()

    def train(self, mode: bool = True) -> PretrainedText:
        """Switch dropout; a frozen encoder stays without."""
        super().train(mode)
        if self.config.frozen == "all":
            self.model.eval()
        return self

    def prepare(self, texts: Sequence[str]) -> TextBatch:
        """Turn texts into token ids [B, L], cut to ``max_tokens`` with the special ones."""
        found = self.tokenizer.encode_batch([encodable(text) for text in texts])
        if not found:
            return TextBatch(torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, 1).bool())
        ids = torch.tensor([encoding.ids for encoding in found], dtype=torch.int64)
        return TextBatch(ids, torch.tensor([one.attention_mask for one in found]).bool())

    def forward(self, batch: TextBatch) -> Encoded:
        """Encode a batch into float [B, L, width]."""
        # A row without any token would have nothing to attend to.
        first = torch.arange(batch.mask.shape[1], device=batch.mask.device) == 0
        seen = batch.mask | (first & ~batch.mask.any(dim=1, keepdim=True))
        learning = self.config.frozen != "all"
        with torch.set_grad_enabled(torch.is_grad_enabled() and learning):
            found = self.model(
                input_ids=batch.ids,
                attention_mask=seen.long(),
                output_hidden_states=self.layer_sum is not None,
            )
        if self.layer_sum is None:
            hidden = found.last_hidden_state
        else:
            hidden = self.layer_sum(found.hidden_states)
        return Encoded(hidden.masked_fill(~batch.mask[:, :, None], 0.0), batch.mask)

    def save_assets(self, directory: Path) -> None:
        """Write the tokenizer beside the weights, as ``tokenizer.json``."""
        self.tokenizer.save(str(directory / _FILE))


def load_pretrained_text(config: PretrainedTextConfig, *, offline: bool = False) -> PretrainedText:
    """Build an encoder with its published weights, from the hub or a local directory.

    Its ``config`` has ``architecture`` filled in. Raises ``ModelError``, see
    ``load_published`` and ``load_tokenizer``.
    """
    model, architecture = pretrained.load_published(
        config.name, pretrained.TEXT_FAMILIES, offline=offline
    )
    tokenizer = pretrained.load_tokenizer(config.name, offline=offline)
    return PretrainedText(replace(config, architecture=architecture), model, tokenizer)


def build_pretrained_text(config: PretrainedTextConfig, directory: Path) -> PretrainedText:
    """Build an encoder of ``config.architecture`` with random weights, without any network.

    ``directory`` holds what ``save_assets`` wrote. The state of what ``load_pretrained_text``
    gave for the same settings fits exactly. Raises ``ModelError`` where there is no
    architecture or one that cannot be built, and for a tokenizer that is missing or damaged.
    """
    if config.architecture is None:
        raise ModelError(
            f"{config.name}: its architecture is not written down, so that it cannot be rebuilt; "
            "load it with its published weights first."
        )
    path = directory / _FILE
    if not path.is_file():
        raise ModelError(f"{path} is missing: a checkpoint with a pretrained text encoder needs it")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises nothing narrower
        why = first_line(error)
        raise ModelError(f"{path} is damaged: {why}; copy the checkpoint again") from None
    if tokenizer.padding is None:
        raise ModelError(f"{path} has no padding: it is not a tokenizer of a pretrained encoder")
    return PretrainedText(
        config, pretrained.rebuild(config.architecture, pretrained.TEXT_FAMILIES), tokenizer
    )


def _positions(configuration: Any) -> int:
    """Return the most tokens that the model has positions for."""
    positions = int(configuration.max_position_embeddings)
    if configuration.model_type == "roberta":
        # Its positions are counted from behind the padding's.
        return positions - int(configuration.pad_token_id) - 1
    return positions
