"""The tables of docs/speakers.md: the embedder's, and the segmentation's."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.machine import cpu_name
from streamser.speech import campplus, overlap
from tools.speakers.export import (
    FORMATS,
    SHIPPED,
    Format,
    describe,
    export_segmentation,
    export_voice,
)
from tools.speakers.judge import LENGTHS, PAIRS, EqualError, Spoken, judge, load, neutral, shortened
from tools.speakers.mixtures import NOISE_DB, Heard, Mixture, alone, load_noises, mixed, score
from tools.speakers.network import CampPlusNetwork
from tools.speakers.segmentation import SegmentationNetwork

__all__ = ["segmentation_tables", "voice_tables"]

_TIMED_S: Final = (1.5, 3.0, 10.0)
_ROUNDS: Final = 9
_MIXTURES: Final = 60
_SEED: Final = 1
_STRETCHES: Final = ((3.0, 6.0), (8.0, 12.0))
_FIGURES: Final = ("two: precision", "recall", "changes: precision", "recall", "wrong track")


def voice_tables(network: CampPlusNetwork, data: Path) -> str:
    """Measure equal error, size and cost of each format; raises ``ConfigError``."""
    corpora = load(data)
    errors: dict[tuple[str, str, str], dict[Format, EqualError]] = {}
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMATS:
            directory = Path(folder) / form
            export_voice(network, directory / campplus.GRAPH, form)
            describe(directory)
            embedder = campplus.load_campplus(directory)
            path = directory / campplus.GRAPH
            costs.append(_cost(form, path, partial(_describe, embedder)))
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
    head = ["corpus", "pairs", "of each", *FORMATS, f"cosine there ({SHIPPED})"]
    return "\n\n".join((_table(head, rows), _cost_table(costs)))


def segmentation_tables(network: SegmentationNetwork, data: Path) -> str:
    """Measure what is heard in made mixtures, size and cost; raises ``ConfigError``."""
    noises = load_noises(data / "noise_rir")
    material: dict[str, Sequence[Spoken]] = {}
    for corpus, clips in load(data).items():
        material |= {f"{corpus}, neutral": neutral(clips), f"{corpus}, all": clips}
    sets = {
        (name, f"{seconds[0]:g}–{seconds[1]:g}", kind): list(
            mixed(clips, _MIXTURES, _SEED, seconds, chosen)
        )
        for name, clips in material.items()
        for seconds in _STRETCHES
        for kind, chosen in (("clean", ()), (f"noise {NOISE_DB:g} dB", noises))
    }
    costs, found, singles = [], {}, []
    with tempfile.TemporaryDirectory() as folder:
        for form in FORMATS:
            directory = Path(folder) / form
            export_segmentation(network, directory / overlap.GRAPH, form)
            describe(directory)
            ears = overlap.load_segmentation(directory)
            found[form] = {key: score(ears.hear, mixtures) for key, mixtures in sets.items()}
            if form == SHIPPED:
                singles = [
                    [name, *(f"{share:.4f}" for share in alone(ears.hear, clips))]
                    for name, clips in material.items()
                ]
            mean = Heard(*np.mean(list(found[form].values()), axis=0))
            cost = _cost(form, directory / overlap.GRAPH, ears.hear)
            costs.append([*cost, *(f"{value:.3f}" for value in mean)])
    rows = [
        [*key, f"{_share(mixtures):.3f}", *(f"{value:.2f}" for value in found[SHIPPED][key])]
        for key, mixtures in sets.items()
    ]
    head = ["material", "seconds", "sound", "share of two", *_FIGURES]
    lone = _table(["one speaker alone", "frames of two", "clips of two", "clips in turns"], singles)
    return "\n\n".join((_table(head, rows), lone, _cost_table(costs, _FIGURES)))


def _describe(embedder: campplus.CampPlus, sound: Samples) -> None:
    embedder.embed([sound])


def _share(mixtures: Sequence[Mixture]) -> float:
    counts = [each.truth.sum(axis=1) >= 2 for each in mixtures]
    return float(np.concatenate(counts).mean())


def _cost(form: Format, path: Path, run: Callable[[Samples], object]) -> list[str]:
    """Return the format, the file's MB, and the least CPU time in ms by seconds of sound."""
    rng = np.random.default_rng(0)
    row = [form, f"{path.stat().st_size / 1e6:.1f}"]
    for seconds in _TIMED_S:
        sound = rng.normal(scale=0.05, size=round(seconds * SAMPLE_RATE)).astype(np.float32)
        spent = []
        for _ in range(_ROUNDS):
            began = time.process_time()
            run(sound)
            spent.append(time.process_time() - began)
        row.append(f"{1000 * min(spent):.0f}")
    return row


def _cost_table(rows: Sequence[Sequence[str]], further: Sequence[str] = ()) -> str:
    head = ["weights", "MB", *(f"{seconds:g} s, ms" for seconds in _TIMED_S), *further]
    note = f"CPU ms a sound: the least of {_ROUNDS}, one thread, on an {cpu_name()}."
    return f"{_table(head, rows)}\n\n{note}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
