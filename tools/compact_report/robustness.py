"""Voice alone when the sound is worse: noise, gain, telephone, short utterances."""

from __future__ import annotations

from typing import Final

import numpy as np

from tools.compact_report.bench import CLEAN, Bench, Condition
from tools.compact_report.changes import GAINS_DB, changes, gain
from tools.compact_report.clips import CORPORA, TITLES
from tools.compact_report.figures import uar_figure
from tools.compact_report.records import Cell, Figure, Section, Table

__all__ = ["robustness"]

_RECORDED: Final = ("emodb", "ravdess")
_GAIN_LOSS: Final = 0.01


def robustness(bench: Bench) -> Section:
    """Measure the voice under changes of the sound."""
    tried = [CLEAN, *changes(bench.data / "noise_rir")]
    rows = [_row(bench, condition) for condition in tried]
    louder: list[tuple[Cell, ...]] = [
        (TITLES[name], f"{decibels:+g} dB", *_moved(bench, name, gain(decibels)))
        for name in _RECORDED
        for decibels in GAINS_DB
    ]
    heads = tuple(f"{TITLES[name]} {time}" for name in CORPORA for time in ("cold", "warm"))
    return Section(
        title="Robustness of the voice",
        text="UAR in the streams of `Voice alone` where every utterance is changed, learnt ones "
        "too. Noise is real (noise_rir: noise1 to 5, office), its ratio holds during speech (ITU-T "
        "P.56); telephone: 300 to 3400 Hz, nothing above 4 kHz; short: from 0.2 s before speech "
        "begins to that long after it. CREMA-D's log-mel frames are changed as far as powers in "
        "64 bands can tell; a gain changes nothing in them by definition. A recording that would "
        "leave full scale is made quieter as a whole.",
        tables=(
            Table("UAR", ("sound", *heads), tuple(rows)),
            Table(
                "Gain",
                ("corpus", "gain", "largest change of a probability", "change of UAR"),
                tuple(louder),
            ),
        ),
    )


def _row(bench: Bench, condition: Condition) -> tuple[Cell, ...]:
    cells: list[Cell] = [condition.name]
    for name in CORPORA:
        played = bench.played(name, condition)
        corpus = bench.corpus(name)
        cells += [
            uar_figure(corpus, played, keep, bench.plan)
            for keep in (played[0].cold, played[0].warm)
        ]
    return tuple(cells)


def _moved(bench: Bench, name: str, condition: Condition) -> tuple[Figure, Figure]:
    """Return the largest change of a probability, and that of the UAR of warm or cold."""
    corpus = bench.corpus(name)
    before, after = bench.played(name), bench.played(name, condition)
    apart = [
        float(np.abs(one.scores - other.scores).max(initial=0.0))
        for one, other in zip(before, after, strict=True)
    ]
    losses = []
    for keep in (before[0].cold, before[0].warm):
        first = uar_figure(corpus, before, keep, bench.plan).value
        second = uar_figure(corpus, after, keep, bench.plan).value
        if first is not None and second is not None:
            losses.append(abs(first - second))
    change = Figure(value=max(losses, default=None)).aimed(_GAIN_LOSS, at_most=True)
    return Figure(value=max(apart), ships=apart[0]), change
