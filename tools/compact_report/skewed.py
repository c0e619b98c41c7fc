"""Streams that are not balanced: mostly neutral, or of one emotion throughout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from streamser.taxonomy import CATEGORIES
from streamser.training.evaluation.metrics import UAR
from streamser.training.evaluation.predictions import Predictions
from tools.compact_report.bench import Bench
from tools.compact_report.clips import CORPORA
from tools.compact_report.figures import answers_of, figures, said_share, uar_lost
from tools.compact_report.play import Played, play
from tools.compact_report.records import Cell, Figure, Section, Table
from tools.compact_report.streams import mixed

__all__ = ["skewed_streams"]

_SECONDS: Final = 120.0  # a lasting emotion must still be seen after two minutes
_NEUTRAL: Final = (0.25, 0.5, 0.7, 0.9)
_LOSS: Final = {0.7: 0.04}  # what a stream of so much neutral may lose
_ANGRY: Final = 0.65


def skewed_streams(bench: Bench) -> Section:
    """Measure streams of 50, 70 and 90 % neutral, and of a single emotion."""
    mostly: list[tuple[Cell, ...]] = []
    single: list[tuple[Cell, ...]] = []
    for name in CORPORA:
        mostly += _mostly_neutral(bench, name)
        single += [_single(bench, name, category) for category in CATEGORIES]
    return Section(
        title="Skewed streams",
        text=f"Real streams are mostly neutral, and some are angry throughout. Each stream is "
        f"{bench.plan.mixed} utterances of a speaker, drawn again and again by shares of the four "
        "categories (what is not neutral: evenly). The loss is of warm UAR against streams of 25 % "
        "each that are drawn in the same way. In streams of a single emotion: how many utterances "
        "are called that (likeliest category), at first and after two minutes of stream "
        "(utterance + 0.5 s of pause each).",
        tables=(
            Table(
                "Mostly neutral, warm",
                ("corpus", "neutral", "UAR", "lost"),
                tuple(mostly),
            ),
            Table(
                "One emotion throughout: the share called so",
                ("corpus", "throughout", "first four", "warm", "after two minutes"),
                tuple(single),
            ),
        ),
    )


def _mostly_neutral(bench: Bench, name: str) -> list[tuple[Cell, ...]]:
    corpus = bench.corpus(name)
    rows: list[tuple[Cell, ...]] = []
    balanced: list[Predictions] = []
    for share in _NEUTRAL:
        others = (1 - share) / (len(CATEGORIES) - 1)
        shares = {each: share if each == "neutral" else others for each in CATEGORIES}
        played = _played(bench, name, shares)
        runs = [answers_of(corpus, each, each.warm) for each in played]
        found = figures(runs, {"UAR": UAR}, bench.plan)["UAR"]
        balanced = balanced or runs
        together = [
            Predictions.join([before, after]) for before, after in zip(balanced, runs, strict=True)
        ]
        measures = {"lost": uar_lost(len(balanced[0]))}
        lost = figures(together, measures, bench.plan)["lost"].aimed(_LOSS.get(share), at_most=True)
        rows.append((corpus.title, f"{share:.0%}", found, lost if runs is not balanced else "–"))
    return rows


def _single(bench: Bench, name: str, category: str) -> tuple[Cell, ...]:
    corpus = bench.corpus(name)
    played = _played(bench, name, {category: 1.0})
    late = played[0].clock >= _SECONDS

    def called(keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Figure:
        runs: list[Predictions] = [answers_of(corpus, each, keep) for each in played]
        return figures(runs, {category: said_share(category)}, bench.plan)[category]

    after = called(late).aimed(_ANGRY if category == "angry" else None)
    return corpus.title, category, called(played[0].cold), called(played[0].warm), after


def _played(bench: Bench, name: str, shares: Mapping[str, float]) -> list[Played]:
    corpus, plan = bench.corpus(name), bench.plan
    streams = [
        stream
        for seed in range(plan.stream_seeds)
        for stream in mixed(corpus, shares, plan.mixed, seed)
    ]
    findings, seconds = bench.findings(name), bench.seconds(name)
    return [play(model, streams, findings, seconds) for model in bench.models]
