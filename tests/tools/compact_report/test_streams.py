from __future__ import annotations

import numpy as np
import pytest

from streamser.taxonomy import CATEGORIES
from tools.compact_report.bench import Bench
from tools.compact_report.clips import CORPORA, read_corpus
from tools.compact_report.plan import Plan
from tools.compact_report.play import play
from tools.compact_report.streams import Stream, mixed, shuffled


def test_a_stream_is_all_clips_of_a_speaker_in_an_order_of_its_seed(bench: Bench) -> None:
    """Those without a category too."""
    corpus = bench.corpus("cremad")
    streams = shuffled(corpus, 0)
    assert {stream.speaker for stream in streams} == {"1007", "1017"}
    for stream in streams:
        assert sorted(stream.clips) == corpus.by_speaker()[stream.speaker]
    assert streams == shuffled(corpus, 0) != shuffled(corpus, 1)
    assert -1 in corpus.labels


def test_mixed_streams_hold_their_shares(bench: Bench) -> None:
    """One category alone; and none of what has no share."""
    corpus = bench.corpus("emodb")
    angry = mixed(corpus, {"angry": 1.0}, 30, 0)
    assert {corpus.labels[clip] for stream in angry for clip in stream.clips} == {3}
    many = mixed(corpus, {"neutral": 0.7, "happy": 0.3}, 2000, 0)[0]
    shares = np.bincount(corpus.labels[list(many.clips)], minlength=4) / 2000
    assert shares == pytest.approx([0.7, 0.3, 0, 0], abs=0.05)


@pytest.mark.parametrize("name", CORPORA)
def test_labels_are_those_of_the_corpus(name: str, bench: Bench) -> None:
    """The reader's categories and the table's emotions agree."""
    names = {"neutral": "neutral", "happiness": "happy", "sadness": "sad", "anger": "angry"}
    for clip in bench.corpus(name).clips:
        expected = names.get(clip.emotion)
        assert clip.label == (CATEGORIES.index(expected) if expected else -1)
        assert clip.gender in ("male", "female")


def test_a_small_plan_keeps_all_emotions(bench: Bench) -> None:
    """Clips are dealt in turn."""
    corpus = read_corpus(bench.data, "emodb", Plan(speakers=1, clips=5))
    assert len(corpus.clips) == 5
    assert len({clip.emotion for clip in corpus.clips}) == 5


def test_playing_is_what_a_listener_does(bench: Bench) -> None:
    """Every utterance is judged before it is learnt; the clock counts utterances and pauses."""
    findings, model = bench.findings("emodb")[:3], bench.models[0]
    played = play(model, [Stream("a", (2, 0)), Stream("b", (2,))], findings, [1.0, 2.0, 3.0])
    listener = model.new_speaker()
    first = listener.predict(findings[2])
    listener.adapt(findings[2])
    second = listener.predict(findings[0])
    assert played.clip.tolist() == [2, 0, 2]
    assert played.heard.tolist() == [0, 1, 0]
    assert played.clock.tolist() == [0.0, 3.5, 0.0]
    assert played.scores[0].tolist() == list(first.scores.values()) == played.scores[2].tolist()
    assert played.scores[1].tolist() == list(second.scores.values())
    assert played.cold.all()
    assert not played.warm.any()
