"""EmoDB by leave-two-speakers-out: the other eight teach, with all else that teaches.

    python -m tools.compact.leave_out --data DIR --parts DIR --cache DIR --out FILE.md

The voice alone, as in ``ablation``: that is what the finished model says of it, bit for bit but
for rounding. A pair of neighbours in the list of speakers is left out at a time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from streamser.emotion.compact.encoders import load_layers
from streamser.errors import StreamserError
from streamser.training.corpora.acted import read_emodb
from tools.compact.ablation import Clip, Score, mean_score, measured_clips, train_and_judge
from tools.compact.channels import open_studio
from tools.compact.lessons import training_lessons
from tools.compact.recipe import BundleSettings
from tools.compact.voices import Voices, read_voices

__all__ = ["main", "without"]


def without(voices: Voices, speakers: Sequence[str]) -> Voices:
    """Leave speakers out, by names as ``corpus/speaker``."""
    kept = ~np.isin(voices.speakers, list(speakers))
    return Voices(
        values=voices.values[:, kept],
        pools=voices.pools[kept],
        votes=voices.votes[kept],
        dimensions=voices.dimensions[kept],
        speakers=tuple(np.array(voices.speakers)[kept].tolist()),
        ids=tuple(np.array(voices.ids)[kept].tolist()),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Train without each pair of speakers, and judge it on them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.compact.leave_out")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parts", type=Path, required=True, help="folder of layers.onnx")
    parser.add_argument("--cache", type=Path, required=True, help="measurements, kept")
    parser.add_argument("--out", type=Path, required=True, help="Markdown to write")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        lines = _run(options)
    except StreamserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 0


def _run(options: argparse.Namespace) -> list[str]:
    settings, layers = BundleSettings(), load_layers(options.parts)
    clips = measured_clips(read_emodb(options.data / "emodb", categories="all"), layers)
    voices = read_voices(
        training_lessons(options.data),
        settings.channels,
        open_studio(options.data / "noise_rir"),
        layers,
        cache=options.cache / "voices-train.npz",
    )
    names = sorted({clip.speaker for clip in clips})
    lines = ["| left out | UAR cold | warm | neutral throughout | angry |", "|---|---|---|---|---|"]
    scores: list[Score] = []
    for pair in zip(names[::2], names[1::2], strict=True):
        rest = without(voices, [f"emodb/{name}" for name in pair])
        test: list[Clip] = [clip for clip in clips if clip.speaker in pair]
        scores += [
            train_and_judge(settings, rest, {"": test}, 1 + number)[""]
            for number in range(options.seeds)
        ]
        lines.append(_row(" and ".join(pair), mean_score(scores[-options.seeds :])))
        print(lines[-1], flush=True)
    lines.append(_row("mean", mean_score(scores)))
    print(lines[-1], flush=True)
    return lines


def _row(name: str, score: Score) -> str:
    cold, warm, neutral, angry = score
    return f"| {name} | {cold:.3f} | {warm:.3f} | {neutral:.2f} | {angry:.2f} |"


if __name__ == "__main__":
    sys.exit(main())
