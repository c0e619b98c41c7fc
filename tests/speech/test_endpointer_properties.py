"""Endpointing: what holds for any sequence of windows."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from streamser.speech.endpointing import (
    Closed,
    Endpointer,
    Extended,
    Opened,
    PauseDetected,
    SpeechResumed,
)
from tests.speech.offline import Case, cases, flat, is_speech, offline, run, streams, utterances


@effort(max_examples=500)
@given(cases)
def test_it_equals_the_naive_offline_segmentation(case: Case) -> None:
    """A stream is cut exactly as one would cut the whole recording with hindsight."""
    (settings, n), (probabilities, levels) = case
    events = flat(run(settings, probabilities, n, levels))
    assert utterances(events) == offline(settings, probabilities, levels, n)


@effort(max_examples=300)
@given(cases)
def test_utterances_are_ordered_apart_and_never_too_long(case: Case) -> None:
    """Utterances have sound in them, do not overlap, and keep to ``max_length``."""
    (settings, n), (probabilities, levels) = case
    found = utterances(flat(run(settings, probabilities, n, levels)))
    for start, end, _ in found:
        assert 0 <= start < end <= len(probabilities) * n
        assert end - start <= settings.max_length
    for before, after in pairwise(found):
        assert before[1] <= after[0]


@effort(max_examples=300)
@given(cases)
def test_no_speech_is_lost(case: Case) -> None:
    """Every cluster of speech that is long enough lies within utterances, gaps included.

    A cluster may have gaps of two windows, or less where the hangover is shorter than that;
    nothing is lost where an utterance is cut for its length.
    """
    (settings, n), (probabilities, levels) = case
    covered = np.zeros(len(probabilities) * n, bool)
    for start, end, _ in utterances(flat(run(settings, probabilities, n, levels))):
        covered[start:end] = True
    bridged = min(2, math.ceil(settings.silence / n) - 1)
    speech = [k for k, verdict in enumerate(is_speech(settings, probabilities)) if verdict]
    clusters: list[list[int]] = []
    for k in speech:
        if clusters and k - clusters[-1][-1] - 1 <= bridged:
            clusters[-1].append(k)
        else:
            clusters.append([k])
    for cluster in clusters:
        if len(cluster) * n >= settings.min_speech:
            for k in cluster:
                assert covered[k * n : (k + 1) * n].all(), f"window {k} of {cluster}"


@effort(max_examples=300)
@given(cases)
def test_events_follow_their_grammar(case: Case) -> None:
    """Each event comes only where it may, and says what was promised before.

    In particular: ``PauseDetected`` comes once per silence, with all its sound heard, and unless
    ``SpeechResumed`` follows, ``Closed`` carries the same start and end. Only a cut for length may
    end earlier; then the rest opens at the cut in the same push.
    """
    (settings, n), (probabilities, levels) = case
    speech = is_speech(settings, probabilities)
    pushes = run(settings, probabilities, n, levels)
    start: int | None = None
    closed_at = spoken_until = 0
    promise: tuple[int, int] | None = None
    cut: int | None = None
    for k, push in enumerate(pushes):
        now = min(k + 1, len(speech)) * n
        for event in push:
            if cut is not None:
                assert event == Opened(cut)
                cut = None
            match event:
                case Opened(start=start):
                    assert closed_at <= start < now
                    promise = None
                case Extended(end=end):
                    assert start is not None
                    assert promise is None
                    assert spoken_until < end or closed_at == start
                    assert end <= now
                    assert speech[end // n - 1]
                    spoken_until = end
                case PauseDetected():
                    assert event.start == start
                    assert promise is None
                    assert now - spoken_until >= settings.silence // 2
                    assert event.end == spoken_until + settings.tail <= now
                    promise = (event.start, event.end)
                case SpeechResumed():
                    assert promise is not None
                    assert speech[k]
                    promise = None
                case Closed(reason=reason):
                    assert event.start == start
                    ends_as_promised = promise == (event.start, event.end)
                    if promise is not None and not ends_as_promised:
                        assert reason == "max_length"
                        assert event.end < promise[1]
                        cut = event.end
                    assert (reason == "flush") == (k == len(speech))
                    start, promise, closed_at = None, None, event.end
        assert cut is None
        if start is not None and k < len(speech):
            assert spoken_until == now if speech[k] else spoken_until < now
            quiet = now - spoken_until
            assert (promise is not None) == (quiet > 0 and quiet >= settings.silence // 2)
    assert start is None, "flush leaves nothing open"


@effort(max_examples=100)
@given(cases, st.integers(0, 300))
def test_flush_closes_exactly_what_is_open(case: Case, at: int) -> None:
    """A flush gives one ``Closed`` where an utterance is open, nothing otherwise; then nothing."""
    (settings, n), (probabilities, _) = case
    segmenter = Endpointer(settings, n)
    open_start: int | None = None
    for p in probabilities[:at]:
        for event in segmenter.push(p):
            if isinstance(event, Opened):
                open_start = event.start
            elif isinstance(event, Closed):
                open_start = None
    flushed = segmenter.flush()
    if open_start is None:
        assert flushed == []
    else:
        assert [(e.start, e.reason) for e in flushed if isinstance(e, Closed)] == [
            (open_start, "flush")
        ]
        assert len(flushed) == 1
    assert segmenter.flush() == []


@effort(max_examples=100)
@given(cases, streams())
def test_reset_equals_new(case: Case, before: tuple[list[float], list[float]]) -> None:
    """After reset nothing of the past is left, positions included."""
    (settings, n), (probabilities, levels) = case
    used = Endpointer(settings, n)
    for p, d in zip(*before, strict=True):
        used.push(p, d)
    used.reset()
    again = [used.push(p, d) for p, d in zip(probabilities, levels, strict=True)]
    assert [*again, used.flush()] == run(settings, probabilities, n, levels)


@effort(max_examples=100)
@given(cases, st.integers(0, 300))
def test_utterances_stay_apart_across_a_flush(case: Case, at: int) -> None:
    """A commit in the middle of a stream keeps positions, order and the limit of length."""
    (settings, n), (probabilities, _) = case
    segmenter = Endpointer(settings, n)
    events = flat(segmenter.push(p) for p in probabilities[:at]) + segmenter.flush()
    committed = len(probabilities[:at]) * n
    assert all(end <= committed for _, end, _ in utterances(events))
    later = flat(segmenter.push(p) for p in probabilities[at:]) + segmenter.flush()
    found = utterances(events + later)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    assert all(end - start <= settings.max_length for start, end, _ in found)
