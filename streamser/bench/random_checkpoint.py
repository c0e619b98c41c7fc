"""A checkpoint of full size with random weights: the speed is real, the readings mean nothing.

    python -m streamser.bench.random_checkpoint paper /tmp/random
    streamser serve --asr none --model /tmp/random

For measuring where no trained weights can be had.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from msgspec.structs import replace

from streamser.bench.architectures import random_model
from streamser.emotion.fused.checkpoint import save_checkpoint
from streamser.emotion.fused.pretrained_encoders import PretrainedText
from streamser.training.settings import load_train_settings

__all__ = ["CARD", "write_random_checkpoint"]

CARD = """\
# Random weights

Made to measure speed. It has learnt nothing, and what it says of anybody means nothing.
"""


def write_random_checkpoint(preset: str, directory: Path, *, seed: int = 1) -> int:
    """Write a checkpoint of a training preset's size; return how many parameters it has.

    Its tokenizer knows no word: every word is the same token. Raises ``ConfigError``, and
    ``ModelError`` where an architecture is not known or the disk refuses.
    """
    torch.manual_seed(seed)
    model = random_model(load_train_settings(preset).model)
    # The encoders know their architectures; a preset only names them.
    model.config = replace(
        model.config,
        acoustic=getattr(model.acoustic, "config", None),
        text=getattr(model.text, "config", None),
    )
    if isinstance(model.text, PretrainedText):
        model.text.tokenizer.enable_padding()
    save_checkpoint(directory, model, calibrations={}, card=CARD)
    return sum(weight.numel() for weight in model.parameters())


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m streamser.bench.random_checkpoint")
    parser.add_argument("preset", help="a training preset, such as paper or base")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    parameters = write_random_checkpoint(asked.preset, asked.directory, seed=asked.seed)
    print(f"{asked.directory}: {parameters / 1e6:.0f} million random parameters")


if __name__ == "__main__":
    _main()
