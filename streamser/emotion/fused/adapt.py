"""What of a pretrained encoder learns: frozen parts, low-rank adaptation, weighted layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from streamser.emotion.fused.config import LoraConfig
from streamser.emotion.fused.pretrained import Family
from streamser.errors import ConfigError

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
