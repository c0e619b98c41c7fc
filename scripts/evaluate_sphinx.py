"""Measure the embedded recogniser: word error rate and processor time, on recordings not here.

    python scripts/evaluate_sphinx.py --data DIR [--set NAME=VALUE[,NAME=VALUE…]]…

DIR has speech/ (labels.csv with path, speaker and text; audio 16 kHz mono). Every speaker's
clips are one session and grow by half a second, as live ones do. The first row is
``SphinxTranscriber`` as it is; each ``--set`` adds one with parameters of pocketsphinx changed.
RTF is processor time (not wall time) per second of sound, partials included. On a machine with
other work compare rows of one run only. The bundled demo recording is measured too: its
synthetic voices set no parameter. Memory is what a decoder adds to the process, loading the
seconds it takes; the first pays for the shared library and the files of the model.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Clip, Samples, to_samples
from streamser.bench.word_errors import bare_words, word_errors
from streamser.speech import sphinx

__all__ = ["main"]

_STEP = SAMPLE_RATE // 2
_MARGIN_MS = 300
_DEMO = Path(sphinx.__file__).parents[1] / "assets" / "demo.flac"


class Said(msgspec.Struct, frozen=True, eq=False):
    """Hold a recording, who speaks in it, and the bare words."""

    speaker: str
    samples: Samples
    words: list[str]


def sound(path: Path) -> Samples:
    """Read a 16 kHz mono recording."""
    samples, rate = soundfile.read(path, dtype="float32")
    if rate != SAMPLE_RATE:
        raise SystemExit(f"{path} has {rate} Hz, not {SAMPLE_RATE}")
    return np.asarray(samples, np.float32)


def recorded(folder: Path) -> list[Said]:
    """Read the clips that have a transcript."""
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["text"].strip()]
    return [
        Said(row["speaker"], sound(folder / row["path"]), bare_words(row["text"])) for row in rows
    ]


def demo() -> list[Said]:
    """Cut the bundled recording into its utterances, with a little room around each."""
    truth = json.loads(_DEMO.with_suffix(".json").read_text(encoding="utf-8"))
    whole = sound(_DEMO)
    return [
        Said(
            line["speaker"],
            whole[
                max(0, to_samples(line["start_ms"] - _MARGIN_MS)) : to_samples(
                    line["end_ms"] + _MARGIN_MS
                )
            ],
            bare_words(line["text"]),
        )
        for line in truth["utterances"]
    ]


def measure(clips: Sequence[Said]) -> tuple[float, float]:
    """Recognise all clips as they grow; return WER and processor time per second of sound."""
    transcriber = sphinx.SphinxTranscriber(max_decoders=1)
    wrong = 0
    began = time.process_time()
    for number, clip in enumerate(clips):
        total = len(clip.samples)
        for end in [*range(_STEP, total, _STEP), total]:
            growing = Clip(clip.speaker, number, 0, clip.samples[:end], final=end == total)
            (transcript,) = transcriber.transcribe([growing])
        wrong += word_errors(clip.words, transcript.text.split())
    spent = time.process_time() - began
    seconds = sum(len(clip.samples) for clip in clips) / SAMPLE_RATE
    return wrong / sum(len(clip.words) for clip in clips), spent / seconds


def resident_mib() -> float:
    """Return the resident memory of this process; 0 where /proc does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * 4096 / 2**20


def weigh(decoders: int) -> None:
    """Print what each of several decoders in this process adds, and the time it loads."""
    print("\n| decoder | loading, s | memory added, MiB |\n|---|---|---|")
    kept = []
    for number in range(1, decoders + 1):
        before, began = resident_mib(), time.process_time()
        kept.append(sphinx._new_decoder())
        spent = time.process_time() - began
        print(f"| {number} | {spent:.2f} | {resident_mib() - before:.0f} |")


def changes(text: str) -> dict[str, Any]:
    """Parse ``name=value,…``; values are JSON, else text."""
    changed: dict[str, Any] = {}
    for pair in text.split(","):
        name, found, value = pair.partition("=")
        if not found:
            raise SystemExit(f"--set {text}: write it as NAME=VALUE, such as maxhmmpf=5000")
        try:
            changed[name] = json.loads(value)
        except ValueError:
            changed[name] = value
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the evaluation; return the exit code."""
    parser = argparse.ArgumentParser(description="Evaluate the embedded recogniser.")
    parser.add_argument("--data", type=Path, required=True, help="folder with speech/")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE,… of pocketsphinx")
    options = parser.parse_args(arguments)
    if not (options.data / "speech" / "labels.csv").is_file():
        print(f"{options.data} has no speech/labels.csv", file=sys.stderr)
        return 2
    tried = [("as it is", {}), *((text, changes(text)) for text in options.set)]
    weigh(3)
    corpora = {"recordings": recorded(options.data / "speech"), "demo": demo()}
    columns = " | ".join(f"{name} WER | RTF" for name in corpora)
    print(f"\n| parameters | {columns} |\n|{'---|' * (1 + 2 * len(corpora))}")
    chosen = dict(sphinx._PARAMETERS)
    for name, changed in tried:
        try:
            sphinx._PARAMETERS.update(changed)
            cells = [f"{wer:.3f} | {rtf:.3f}" for wer, rtf in map(measure, corpora.values())]
        finally:
            sphinx._PARAMETERS.clear()
            sphinx._PARAMETERS.update(chosen)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
