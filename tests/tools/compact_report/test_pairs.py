from __future__ import annotations

from streamser.taxonomy import CATEGORIES
from streamser.training.corpora.registry import read_goemotions
from tools.compact_report.bench import Bench
from tools.compact_report.both import voice_and_words
from tools.compact_report.pairs import (
    AGREEING,
    CONFLICTING,
    KINDS,
    NEUTRAL_VOICE,
    NEUTRAL_WORDS,
    make,
)
from tools.compact_report.records import Figure
from tools.compact_report.streams import WARM, Stream

NEUTRAL = CATEGORIES.index("neutral")


def test_pairs_are_of_the_kind_they_say(bench: Bench) -> None:
    """Warm utterances only; the target is the emotional one."""
    corpus = bench.corpus("cremad")
    texts = [item for item in read_goemotions(bench.data / "text") if item.split == "test"]
    stream = Stream("1007", tuple(corpus.by_speaker()["1007"]) * 3)
    pairs = make(corpus, [stream], texts, seed=0)
    assert {pair.kind for pair in pairs} == set(KINDS)
    assert min(pair.heard for pair in pairs) >= WARM
    for pair in pairs:
        assert corpus.clips[pair.clip].label == pair.voice
        assert texts[pair.text].category == CATEGORIES[pair.words]
        assert (pair.voice == pair.words) == (pair.kind == AGREEING)
        assert (pair.kind == NEUTRAL_WORDS) == (pair.words == NEUTRAL != pair.voice)
        assert (pair.kind == NEUTRAL_VOICE) == (pair.voice == NEUTRAL != pair.words)
        if pair.kind == CONFLICTING:
            assert CATEGORIES.index("happy") in (pair.voice, pair.words)
        if pair.kind in (NEUTRAL_WORDS, NEUTRAL_VOICE):
            assert pair.target == max(pair.voice, pair.words)
    assert pairs == make(corpus, [stream], texts, seed=0)


def test_shares_of_an_answer_sum_to_one(bench: Bench) -> None:
    """The voice's, the words', neither; where both agree the first two are one."""
    follow = voice_and_words(bench).tables[2]
    for kind, _, *cells in follow.rows:
        shares = [cell.value or 0.0 for cell in cells if isinstance(cell, Figure)]
        if kind == AGREEING:
            assert shares[0] == shares[1]
            shares = shares[1:]
        assert abs(sum(shares) - 1) < 1e-9
