"""Train the bundled model, from the freely licensed corpora to the folder that ships.

    python -m tools.compact --data DIR --parts DIR --out DIR --seed 1

``--data`` holds cremad_mel/, emodb/, noise_rir/, speech/ and text/; ``--parts`` words.onnx and
tokenizer.json as ``train_words`` and ``export_words`` wrote them, and layers.onnx as
``export_layers`` did. A bundle's folder holds all three.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch

from streamser.errors import StreamserError
from tools.compact.recipe import BundleSettings, read_corpora, train_bundle

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the training; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.compact", description="Train the model that ships."
    )
    parser.add_argument("--data", type=Path, required=True, help="cremad_mel/, noise_rir/ ...")
    parser.add_argument("--parts", type=Path, required=True, help="exported words and layers")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--cache", type=Path, help="keeps measurements; default: OUT/../cache")
    parser.add_argument("--english", action="store_true", help="leave EmoDB out, to test on it")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, help="of learning; fewer for a trial")
    parser.add_argument("--threads", type=int, default=1, help="of torch; the result depends on it")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    settings = BundleSettings()
    if options.steps is not None:
        learn = msgspec.structs.replace(settings.learn, steps=options.steps)
        settings = msgspec.structs.replace(settings, learn=learn)
    begun = time.monotonic()
    try:
        cache = options.cache or options.out.parent / "cache"
        corpora = read_corpora(
            options.data, options.parts, settings.channels, cache, german=not options.english
        )
        _tell(f"{len(corpora.voices.ids)} voices, {len(corpora.texts)} texts")
        train_bundle(corpora, options.parts, options.out, settings, seed=options.seed, tell=_tell)
    except StreamserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    _tell(f"{options.out} written after {time.monotonic() - begun:.0f} s")
    return 0


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
