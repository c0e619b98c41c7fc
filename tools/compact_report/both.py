"""Voice and words together, on pairs that were made: whether fusion beats either alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from streamser.emotion.compact.model import CompactFeatures, CompactModel
from streamser.emotion.model import Prediction
from streamser.taxonomy import CATEGORIES
from streamser.training.corpora.registry import read_goemotions
from streamser.training.evaluation.bootstrap import Difference, compare
from streamser.training.evaluation.metrics import UAR, WAR
from streamser.training.evaluation.predictions import Predictions
from streamser.training.manifest import Item
from tools.compact_report.bench import Bench
from tools.compact_report.figures import answers, figures
from tools.compact_report.pairs import (
    AGREEING,
    KINDS,
    NEUTRAL_VOICE,
    NEUTRAL_WORDS,
    Pair,
    make,
)
from tools.compact_report.play import tabulate
from tools.compact_report.records import Cell, Figure, Section, Table
from tools.compact_report.texts import word_groups

__all__ = ["voice_and_words"]

_GIVEN: Final = ("voice only", "words only", "both")
_MIXED: Final = (AGREEING, NEUTRAL_WORDS, NEUTRAL_VOICE)

Heard = Mapping[str, Sequence[Prediction]]
"""A model's readings of all pairs, by what of them it was given."""


def voice_and_words(bench: Bench) -> Section:
    """Measure pairs of CREMA-D test voices and GoEmotions test texts."""
    corpus, streams = bench.corpus("cremad"), bench.streams("cremad")
    texts = [item for item in read_goemotions(bench.data / "text") if item.split == "test"]
    texts = texts[: bench.plan.texts]
    pairs = make(corpus, streams, texts, seed=0)
    heard = _hear(bench, pairs, texts)
    follow: list[tuple[Cell, ...]] = []
    for kind in KINDS:
        rows = [place for place, pair in enumerate(pairs) if pair.kind == kind]
        if rows:
            follow += [_following(bench, kind, given, pairs, rows, heard) for given in _GIVEN]
    chosen = {
        AGREEING: [place for place, pair in enumerate(pairs) if pair.kind == AGREEING],
        "mixed": _mixed(pairs),
    }
    scores, gains = _compared(bench, pairs, chosen, heard)
    return Section(
        title="Voice and words together",
        text="Nobody gives away emotional words in an emotional voice, so pairs were made: a warm "
        "utterance of a CREMA-D test speaker (the listener has learnt ten or more of that "
        "speaker's) with a GoEmotions test comment. Voice and words are independent given the "
        "category, so a gain here is that of two independent witnesses, no more. Voice only is "
        "the shipped model without text, words only without sound: with one of both absent the "
        "fused model is that branch, nothing else ships. The mixed set has equal parts of the "
        "first three kinds, and what counts as right is the emotional one of both. Conflicting "
        "pairs set happy against sad or angry; there is no right answer to them.",
        tables=(
            Table("UAR against the target", ("pairs", "given", "number", "UAR", "WAR"), scores),
            Table(
                "What both gain in UAR (paired bootstrap over speakers)",
                ("pairs", "over", "gain", "p"),
                gains,
            ),
            Table(
                "Whose category is the answer",
                ("pairs", "given", "the voice's", "the words'", "neither"),
                tuple(follow),
            ),
        ),
    )


def _hear(bench: Bench, pairs: Sequence[Pair], texts: Sequence[Item]) -> list[Heard]:
    """Return each model's readings of all pairs."""
    voices = bench.findings("cremad")
    wanted = sorted({pair.text for pair in pairs})
    heard: dict[int, Heard] = {}
    for group in word_groups(bench.models, bench.directories):
        spoken = [group.encoder.examine([(None, texts[place].text)])[0] for place in wanted]
        words = dict(zip(wanted, spoken, strict=True))
        for place in group.members:
            heard[place] = _readings(bench, bench.models[place], pairs, voices, words)
    return [heard[place] for place in range(len(bench.models))]


def _readings(
    bench: Bench,
    model: CompactModel,
    pairs: Sequence[Pair],
    voices: Sequence[CompactFeatures],
    words: Mapping[int, CompactFeatures],
) -> Heard:
    by_place: dict[tuple[int, int], list[int]] = {}
    for number, pair in enumerate(pairs):
        by_place.setdefault((pair.stream, pair.heard), []).append(number)
    found: dict[str, dict[int, Prediction]] = {given: {} for given in _GIVEN}
    for number, stream in enumerate(bench.streams("cremad")):
        listener = model.new_speaker()
        for heard, clip in enumerate(stream.clips):
            voice = voices[clip]
            alone: Prediction | None = None
            for place in by_place.get((number, heard), ()):
                said = words[pairs[place].text]
                alone = alone or listener.predict(voice)
                found["voice only"][place] = alone
                found["words only"][place] = listener.predict(said)
                both = CompactFeatures(voice.measured, said.words)
                found["both"][place] = listener.predict(both)
            listener.adapt(voice)
    return {given: [each[n] for n in range(len(pairs))] for given, each in found.items()}


def _mixed(pairs: Sequence[Pair]) -> list[int]:
    """Draw equally many pairs of each of the first three kinds."""
    rng = np.random.default_rng(0)
    places = [[n for n, pair in enumerate(pairs) if pair.kind == kind] for kind in _MIXED]
    least = min(map(len, places))
    return sorted(int(n) for each in places for n in rng.permutation(each)[:least])


def _answered(
    bench: Bench, pairs: Sequence[Pair], rows: Sequence[int], readings: Sequence[Prediction]
) -> Predictions:
    """Put the answers to some pairs in a table; what counts as right is their target."""
    clips = bench.corpus("cremad").clips
    chosen = [pairs[n] for n in rows]
    table = tabulate(
        [(pair.stream, pair.clip, pair.heard) for pair in chosen],
        [0.0] * len(rows),
        [readings[n] for n in rows],
    )
    return answers(
        table.scores,
        table.dimensions,
        table.named,
        labels=np.array([pair.target for pair in chosen], np.int64),
        ids=[f"{pair.stream}.{pair.heard}+{pair.text}+{pair.kind}" for pair in chosen],
        speakers=[clips[pair.clip].item.speaker for pair in chosen],
        corpus="pairs",
    )


def _compared(
    bench: Bench, pairs: Sequence[Pair], chosen: Mapping[str, Sequence[int]], heard: Sequence[Heard]
) -> tuple[tuple[tuple[Cell, ...], ...], tuple[tuple[Cell, ...], ...]]:
    scores: list[tuple[Cell, ...]] = []
    gains: list[tuple[Cell, ...]] = []
    for title, rows in chosen.items():
        if not rows:
            continue
        runs = {
            given: [_answered(bench, pairs, rows, each[given]) for each in heard]
            for given in _GIVEN
        }
        for given in _GIVEN:
            found = figures(runs[given], {"UAR": UAR, "WAR": WAR}, bench.plan)
            scores.append((title, given, len(rows), found["UAR"], found["WAR"]))
        for other in _GIVEN[:2]:
            apart = compare(runs["both"], runs[other], UAR, replicates=bench.plan.replicates)
            p = "–" if apart.p is None else f"{apart.p:.3f}"
            gains.append((title, other, _gain(apart), p))
    return tuple(scores), tuple(gains)


def _gain(apart: Difference) -> Figure:
    found = apart.difference
    return Figure(value=found.value, low=found.low, high=found.high, goal=0.0)


def _following(
    bench: Bench,
    kind: str,
    given: str,
    pairs: Sequence[Pair],
    rows: Sequence[int],
    heard: Sequence[Heard],
) -> tuple[Cell, ...]:
    """Return the share of answers that are the voice's, the words' or neither category."""
    shares = []
    for each in heard:
        said = [_likeliest(each[given][n]) for n in rows]
        voice = np.mean([s == pairs[n].voice for s, n in zip(said, rows, strict=True)])
        words = np.mean([s == pairs[n].words for s, n in zip(said, rows, strict=True)])
        # Where both agree, an answer that is both must not count twice.
        neither = 1 - voice if kind == AGREEING else 1 - voice - words
        shares.append((float(voice), float(words), float(neither)))
    columns = zip(*shares, strict=True)
    cells = [Figure(value=float(np.mean(column)), ships=column[0]) for column in columns]
    return kind, given, *cells


def _likeliest(reading: Prediction) -> int:
    return max(range(len(CATEGORIES)), key=lambda k: reading.scores[CATEGORIES[k]])
