"""Endpointing: what an utterance is, window by window."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from streamser.audio.clip import to_samples
from streamser.errors import ConfigError
from streamser.speech.segmenter import (
    Closed,
    Extended,
    Hesitated,
    Opened,
    Resumed,
    Segmenter,
    SegmenterSettings,
    SegmentEvent,
)

N = 512
SPEECH, SILENCE = 0.9, 0.1
DEFAULTS = SegmenterSettings()


def run(
    settings: SegmenterSettings,
    probabilities: Iterable[float],
    window: int = N,
    levels: Iterable[float] | None = None,
) -> list[list[SegmentEvent]]:
    """Return the events of each push, and those of the flush at the end."""
    segmenter = Segmenter(settings, window)
    if levels is None:
        pushes = [segmenter.push(p) for p in probabilities]
    else:
        pushes = [segmenter.push(p, d) for p, d in zip(probabilities, levels, strict=True)]
    return [*pushes, segmenter.flush()]


def flat(pushes: Iterable[list[SegmentEvent]]) -> list[SegmentEvent]:
    """Return the events of all pushes in order."""
    return [event for push in pushes for event in push]


def utterances(events: Iterable[SegmentEvent]) -> list[tuple[int, int, str]]:
    """Return start, end and reason of each closed utterance."""
    return [(e.start, e.end, e.reason) for e in events if isinstance(e, Closed)]


def is_speech(settings: SegmenterSettings, probabilities: Sequence[float]) -> list[bool]:
    """Return the verdict on each window, by hysteresis."""
    verdicts: list[bool] = []
    for p in probabilities:
        above, between = p >= settings.threshold, settings.release <= p < settings.threshold
        verdicts.append(above or (between and bool(verdicts) and verdicts[-1]))
    return verdicts


# --- An independent, naive segmentation with the whole recording at hand --------------------


def find_onset(
    speech: Sequence[bool], first: int, needed: int, welcome: float
) -> tuple[int, int] | None:
    """Return the windows of the next onset and of the opening, or None."""
    for onset in range(first, len(speech)):
        if not speech[onset] or any(speech[max(first, onset - 2) : onset]):
            continue  # only beginnings of clusters: no speech in the two windows before
        last = onset
        for now in range(onset, len(speech)):
            if speech[now]:
                last = now
                if sum(speech[onset : now + 1]) >= needed or onset < welcome:
                    return onset, now
            elif now - last > 2:
                break
    return None


def offline(
    s: SegmenterSettings, probabilities: Sequence[float], levels: Sequence[float], n: int
) -> list[tuple[int, int, str]]:
    """Segment a whole recording by looking for landmarks instead of keeping a state."""
    speech = is_speech(s, probabilities)
    count = len(speech)
    pause, kept = math.ceil(s.silence / n), max(1, s.cut_search // n)
    pauses = [k for k in range(pause - 1, count) if not any(speech[k - pause + 1 : k + 1])]

    def last_speech_end(now: int) -> int:
        return (max(k for k in range(now + 1) if speech[k]) + 1) * n

    found: list[tuple[int, int, str]] = []
    first, welcome = 0, 0.0
    while opening := find_onset(speech, first, math.ceil(s.min_speech / n), welcome):
        onset, opened = opening
        start = max(onset * n - s.pre_roll, found[-1][1] if found else 0)
        while True:
            full = next(
                k for k in range(count + s.max_length) if (k + 2) * n - start > s.max_length
            )
            quiet = next((k for k in pauses if k >= opened), count)
            now = min(full, quiet, count - 1)
            end = min(last_speech_end(now) + s.tail, (now + 1) * n)
            first = now + 1
            if now == quiet:
                found.append((start, end, "pause"))
                break
            if now != full:
                found.append((start, end, "flush"))
                break
            searched = range(now - kept + 1, now + 1)
            weakest = sorted(searched, key=lambda k: (probabilities[k], levels[k], -k))[0]
            cut = weakest * n + n // 2
            if last_speech_end(now) <= cut:
                found.append((start, end, "max_length"))
                welcome = (last_speech_end(now) + s.silence) / n
                break
            found.append((start, cut, "max_length"))
            start, opened = cut, now + 1
            if opened >= count:
                found.append((start, min(last_speech_end(now) + s.tail, count * n), "flush"))
                break
        if first >= count:
            break
    return found


# --- Strategies ------------------------------------------------------------------------------


def lengths(n: int, low: int, high: int) -> st.SearchStrategy[int]:
    """Return lengths from ``low`` to ``high`` windows, not only whole ones."""
    return st.integers(low * n, high * n)


@st.composite
def valid_settings(draw: st.DrawFn) -> tuple[SegmenterSettings, int]:
    """Draw a window length and settings that fit it: short, so that every rule is met often."""
    n = draw(st.sampled_from([512, 480, 160]))
    min_speech, pre_roll = draw(lengths(n, 0, 4)) + 1, draw(lengths(n, 0, 8))
    silence = draw(lengths(n, 0, 16).map(lambda x: x + 1) | st.integers(1, 16).map(lambda k: k * n))
    shortest = max(8 * n, 2 * (pre_roll + 3 * min_speech))
    max_length = shortest + draw(lengths(n, 0, 40))
    return (
        SegmenterSettings(
            min_speech=min_speech,
            silence=silence,
            pre_roll=pre_roll,
            tail=draw(st.integers(0, silence // 2)),
            max_length=max_length,
            cut_search=draw(st.integers(1, max_length // 2)),
        ),
        n,
    )


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Draw probabilities (random, bursty or on the thresholds) with levels; ties are common."""
    kind = draw(st.sampled_from(["random", "bursty", "edges"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "random":
        size = draw(st.integers(0, 300))
        bias = draw(st.sampled_from([0.3, 1.0, 3.0]))
        probabilities = (rng.random(size) ** bias).tolist()
    else:
        values = (
            st.sampled_from([0.0, 0.1, 0.9, 1.0])
            if kind == "bursty"
            else st.sampled_from([0.0, 0.34999, 0.35, 0.42, 0.49999, 0.5, 1.0])
        )
        bursts = st.tuples(values, st.integers(1, 40 if kind == "bursty" else 5))
        probabilities = [
            p for p, length in draw(st.lists(bursts, max_size=30)) for _ in range(length)
        ]
    levels = rng.integers(-60, -20, len(probabilities)).astype(float).tolist()
    return probabilities, levels


Case = tuple[tuple[SegmenterSettings, int], tuple[list[float], list[float]]]
cases = st.tuples(valid_settings(), streams())


# --- Properties ------------------------------------------------------------------------------


@effort(max_examples=500, deadline=None)
@given(cases)
def test_it_equals_the_naive_offline_segmentation(case: Case) -> None:
    """A stream is cut exactly as one would cut the whole recording with hindsight."""
    (settings, n), (probabilities, levels) = case
    events = flat(run(settings, probabilities, n, levels))
    assert utterances(events) == offline(settings, probabilities, levels, n)


@effort(max_examples=300, deadline=None)
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


@effort(max_examples=300, deadline=None)
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


@effort(max_examples=300, deadline=None)
@given(cases)
def test_events_follow_their_grammar(case: Case) -> None:
    """Each event comes only where it may, and says what was promised before.

    In particular: ``Hesitated`` comes once per silence, with all its sound heard, and unless
    ``Resumed`` follows, ``Closed`` carries the same start and end. Only a cut for length may
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
                case Hesitated():
                    assert event.start == start
                    assert promise is None
                    assert now - spoken_until >= settings.silence // 2
                    assert event.end == spoken_until + settings.tail <= now
                    promise = (event.start, event.end)
                case Resumed():
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


@effort(max_examples=100, deadline=None)
@given(cases, st.integers(0, 300))
def test_flush_closes_exactly_what_is_open(case: Case, at: int) -> None:
    """A flush gives one ``Closed`` where an utterance is open, nothing otherwise; then nothing."""
    (settings, n), (probabilities, _) = case
    segmenter = Segmenter(settings, n)
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


@effort(max_examples=100, deadline=None)
@given(cases, streams())
def test_reset_equals_new(case: Case, before: tuple[list[float], list[float]]) -> None:
    """After reset nothing of the past is left, positions included."""
    (settings, n), (probabilities, levels) = case
    used = Segmenter(settings, n)
    for p, d in zip(*before, strict=True):
        used.push(p, d)
    used.reset()
    again = [used.push(p, d) for p, d in zip(probabilities, levels, strict=True)]
    assert [*again, used.flush()] == run(settings, probabilities, n, levels)


@effort(max_examples=100, deadline=None)
@given(cases, st.integers(0, 300))
def test_utterances_stay_apart_across_a_flush(case: Case, at: int) -> None:
    """A commit in the middle of a stream keeps positions, order and the limit of length."""
    (settings, n), (probabilities, _) = case
    segmenter = Segmenter(settings, n)
    events = flat(segmenter.push(p) for p in probabilities[:at]) + segmenter.flush()
    committed = len(probabilities[:at]) * n
    assert all(end <= committed for _, end, _ in utterances(events))
    later = flat(segmenter.push(p) for p in probabilities[at:]) + segmenter.flush()
    found = utterances(events + later)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    assert all(end - start <= settings.max_length for start, end, _ in found)


# --- Examples --------------------------------------------------------------------------------


def test_one_utterance_from_opening_to_pause() -> None:
    """Speech of ten windows after one second gives each event where it is due."""
    pushes = run(DEFAULTS, [SILENCE] * 32 + [SPEECH] * 10 + [SILENCE] * 20)
    onset, end = 32 * N, 42 * N
    start = onset - to_samples(200)
    told = {k: push for k, push in enumerate(pushes) if push}
    assert told == {
        34: [Opened(start), Extended(35 * N)],
        **{k: [Extended((k + 1) * N)] for k in range(35, 42)},
        49: [Hesitated(start, end + to_samples(160))],
        57: [Closed(start, end + to_samples(160), "pause")],
    }


def test_speech_that_comes_back_takes_the_hesitation_back() -> None:
    """Half a hangover, then speech: ``Resumed`` leaves before ``Extended``; it is one utterance."""
    events = flat(run(DEFAULTS, [SPEECH] * 5 + [SILENCE] * 10 + [SPEECH] * 5 + [SILENCE] * 16))
    kinds = [type(event).__name__ for event in events]
    assert kinds == [
        *["Opened", "Extended", "Extended", "Extended", "Hesitated"],
        *["Resumed", *["Extended"] * 5, "Hesitated", "Closed"],
    ]
    assert utterances(events) == [(0, 20 * N + to_samples(160), "pause")]


def test_clicks_do_not_open() -> None:
    """Two windows of speech (64 ms) now and then never become an utterance."""
    assert flat(run(DEFAULTS, ([SPEECH] * 2 + [SILENCE] * 3) * 50)) == []


@pytest.mark.parametrize(("gap", "opens"), [(1, True), (2, True), (3, False)])
def test_an_onset_may_have_gaps_of_two_windows(gap: int, opens: bool) -> None:
    """A stop consonant inside the first word does not reset the count; a real pause does."""
    events = flat(run(DEFAULTS, [SPEECH] * 2 + [SILENCE] * gap + [SPEECH] + [SILENCE] * 5))
    assert bool(events) is opens


def test_between_the_thresholds_the_last_verdict_stands() -> None:
    """0.4 neither opens an utterance nor ends one."""
    assert flat(run(DEFAULTS, [0.4] * 100)) == []
    events = flat(run(DEFAULTS, [0.6] + [0.4] * 99))
    assert utterances(events) == [(0, 100 * N, "flush")]


def test_pre_roll_never_reaches_into_the_previous_utterance() -> None:
    """Where pre-roll and tail would overlap, the earlier utterance keeps the sound."""
    settings = SegmenterSettings.from_ms(silence_ms=300, pre_roll_ms=400, tail_ms=150)
    events = flat(run(settings, [SPEECH] * 5 + [SILENCE] * 10 + [SPEECH] * 5))
    (_, first_end, _), (second_start, _, _) = utterances(events)
    assert first_end == 5 * N + to_samples(150) == second_start


def test_flush_ends_within_the_sound() -> None:
    """The tail of a flushed utterance stops where the sound stops."""
    events = flat(run(DEFAULTS, [SPEECH] * 10 + [SILENCE]))
    assert utterances(events) == [(0, 11 * N, "flush")]


def test_a_short_onset_is_dropped_at_flush() -> None:
    """Two windows of speech at the end are not an utterance."""
    assert flat(run(DEFAULTS, [SILENCE] * 10 + [SPEECH] * 2)) == []


def test_a_flush_forgets_the_verdict_the_onset_and_the_welcome() -> None:
    """After a commit only clear speech of full length opens, whatever came before."""
    spoken = DEFAULTS.max_length // N - 5
    for before in (
        [SPEECH] * 10,  # the last verdict was speech
        [SPEECH] * 2,  # an onset was pending
        [SPEECH] * spoken + [SILENCE] * 8,  # a limit was reached in silence
    ):
        segmenter = Segmenter(DEFAULTS, N)
        for p in before:
            segmenter.push(p)
        segmenter.flush()
        assert flat(segmenter.push(p) for p in [0.4] * 5) == []
        assert flat(segmenter.push(p) for p in [SPEECH] * 2) == []
        assert [type(event) for event in segmenter.push(SPEECH)] == [Opened, Extended]


def test_too_long_speech_is_cut_in_its_weakest_window() -> None:
    """The cut is in the middle of the dip, and the rest goes on without a gap."""
    speech = [SPEECH] * 700
    speech[560] = 0.6
    events = flat(run(DEFAULTS, speech))
    cut = 560 * N + N // 2
    assert utterances(events) == [(0, cut, "max_length"), (cut, 700 * N, "flush")]
    at = events.index(Closed(0, cut, "max_length"))
    full = DEFAULTS.max_length // N * N
    assert events[at - 1 : at + 3] == [
        Extended(full),
        Closed(0, cut, "max_length"),
        Opened(cut),
        Extended(full),
    ]


def test_the_weakest_window_is_sought_in_the_last_seconds_only() -> None:
    """A deeper dip before ``cut_search`` is left alone."""
    speech = [SPEECH] * 700
    speech[400], speech[600] = 0.5, 0.7
    assert utterances(flat(run(DEFAULTS, speech)))[0] == (0, 600 * N + N // 2, "max_length")


def test_equal_probabilities_are_decided_by_level_then_by_lateness() -> None:
    """Of equally probable windows the quietest is cut, of equally quiet ones the latest."""
    levels = [-20.0] * 700
    last = DEFAULTS.max_length // N - 1
    by_lateness = utterances(flat(run(DEFAULTS, [1.0] * 700, levels=levels)))[0]
    assert by_lateness == (0, last * N + N // 2, "max_length")
    levels[580] = levels[590] = -30.0
    by_level = utterances(flat(run(DEFAULTS, [1.0] * 700, levels=levels)))[0]
    assert by_level == (0, 590 * N + N // 2, "max_length")


def test_a_limit_reached_in_silence_ends_like_a_pause() -> None:
    """With no speech after the cut there is nothing to hand over, and the promise is kept."""
    spoken = DEFAULTS.max_length // N - 10
    events = flat(run(DEFAULTS, [SPEECH] * spoken + [SILENCE] * 40))
    end = spoken * N + DEFAULTS.tail
    assert events[-2:] == [Hesitated(0, end), Closed(0, end, "max_length")]


def test_a_word_right_after_a_limit_reached_in_silence_is_kept() -> None:
    """Speech within the hangover reopens at once, however short: uncut it would have counted."""
    spoken = DEFAULTS.max_length // N - 5
    events = flat(run(DEFAULTS, [SPEECH] * spoken + [SILENCE] * 8 + [SPEECH] + [SILENCE] * 20))
    first, second = utterances(events)
    assert first == (0, spoken * N + DEFAULTS.tail, "max_length")
    assert second == (first[1], (spoken + 9) * N + DEFAULTS.tail, "pause")


def test_a_cut_in_the_middle_of_a_hesitation_hesitates_anew() -> None:
    """When an earlier, deeper dip is cut, the rest promises its own end at once."""
    spoken = DEFAULTS.max_length // N - 10
    speech = [SPEECH] * spoken + [SILENCE] * 40
    speech[spoken - 20] = 0.0
    told = [push for push in run(DEFAULTS, speech) if push]
    cut, end = (spoken - 20) * N + N // 2, spoken * N + DEFAULTS.tail
    assert told[-3:] == [
        [Hesitated(0, end)],
        [Closed(0, cut, "max_length"), Opened(cut), Extended(spoken * N), Hesitated(cut, end)],
        [Closed(cut, end, "pause")],
    ]


def test_half_the_hangover_is_reached_not_passed() -> None:
    """With a hangover of eight windows the fourth silent one hesitates and the eighth closes."""
    settings = SegmenterSettings(silence=8 * N, tail=4 * N)
    pushes = run(settings, [SPEECH] * 5 + [SILENCE] * 10)
    told = {k: push for k, push in enumerate(pushes) if push and k >= 5}
    assert told == {8: [Hesitated(0, 9 * N)], 12: [Closed(0, 9 * N, "pause")]}


def test_a_hangover_of_one_window_hesitates_and_closes_in_one_push() -> None:
    """Degenerate settings keep the order: ``Hesitated`` then ``Closed``."""
    settings = SegmenterSettings(silence=N, tail=N // 2)
    pushes = run(settings, [SPEECH] * 5 + [SILENCE] * 3)
    end = 5 * N + N // 2
    assert pushes[5] == [Hesitated(0, end), Closed(0, end, "pause")]


def test_an_hour_of_unbroken_speech_is_cut_without_loss() -> None:
    """Utterances tile the hour, each at most 20 s long, from a bounded memory."""
    rng = np.random.default_rng(4)
    count = 3600 * 16_000 // N
    segmenter = Segmenter(DEFAULTS, N)
    events: list[SegmentEvent] = []
    for p in (0.5 + 0.5 * rng.random(count)).tolist():
        events += segmenter.push(p)
    assert len(segmenter._recent) == DEFAULTS.cut_search // N
    found = utterances(events + segmenter.flush())
    assert found[0][0] == 0
    assert found[-1][1] == count * N
    assert all(before[1] == after[0] for before, after in pairwise(found))
    lengths = [end - start for start, end, _ in found[:-1]]
    assert max(lengths) <= DEFAULTS.max_length
    assert min(lengths) >= DEFAULTS.max_length - DEFAULTS.cut_search - 2 * N


# --- Settings --------------------------------------------------------------------------------


def test_the_plain_settings_are_the_balanced_ones() -> None:
    """Three ways to the same defaults."""
    assert (
        SegmenterSettings() == SegmenterSettings.from_ms() == SegmenterSettings.preset("balanced")
    )
    assert DEFAULTS.silence == 8_000


@pytest.mark.parametrize(
    ("name", "silence_ms"), [("responsive", 300), ("balanced", 500), ("patient", 800)]
)
def test_presets_differ_in_the_hangover(name: str, silence_ms: int) -> None:
    """Each preset is valid and changes only the silence (and the tail that must fit in it)."""
    settings = SegmenterSettings.preset(name)
    assert settings.silence == to_samples(silence_ms)
    assert settings.tail == to_samples(min(160, silence_ms / 2))
    assert (
        msgspec.structs.replace(settings, silence=DEFAULTS.silence, tail=DEFAULTS.tail) == DEFAULTS
    )


@pytest.mark.parametrize(
    ("typed", "meant"), [("responsiv", "responsive"), ("Balanced", "balanced"), ("x", "balanced")]
)
def test_an_unknown_preset_names_the_nearest(typed: str, meant: str) -> None:
    """A slip of the keyboard is answered with the right word."""
    with pytest.raises(ConfigError, match="did you mean") as caught:
        SegmenterSettings.preset(typed)
    if typed != "x":
        assert f"did you mean '{meant}'" in str(caught.value)
    assert "responsive, balanced, patient" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_depends_on_other_settings_follows_them() -> None:
    """Release, tail and search fit themselves to threshold, silence and limit."""
    settings = SegmenterSettings.from_ms(threshold=0.1, silence_ms=200, max_length_ms=4_000)
    assert settings.release == 0.01
    assert settings.tail == to_samples(100)
    assert settings.cut_search == to_samples(2_000)
    assert SegmenterSettings.from_ms(threshold=0.7).release == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.2}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"threshold": 0.4, "release": 0.5}, "release"),
        ({"release": 0.0}, "release"),
        ({"min_speech_ms": 0}, "min_speech"),
        ({"silence_ms": 0}, "silence"),
        ({"silence_ms": -5}, "silence"),
        ({"silence_ms": math.inf}, "silence"),
        ({"pre_roll_ms": -1}, "pre_roll"),
        ({"tail_ms": -1}, "tail"),
        ({"tail_ms": 251}, "tail"),
        ({"max_length_ms": 0}, "max_length"),
        ({"max_length_ms": 900}, "max_length"),
        ({"max_length_ms": 5_000, "cut_search_ms": 2_600}, "cut_search"),
        ({"cut_search_ms": 0}, "cut_search"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, float], said: str) -> None:
    """One line that names the setting."""
    with pytest.raises(ConfigError, match=said) as caught:
        SegmenterSettings.from_ms(**wrong)
    assert "\n" not in str(caught.value)


def test_a_limit_of_a_few_windows_is_refused() -> None:
    """``max_length`` must hold eight windows of the detector at hand."""
    settings = SegmenterSettings.from_ms(
        min_speech_ms=10, pre_roll_ms=0, max_length_ms=200, silence_ms=100
    )
    Segmenter(settings, 160)
    with pytest.raises(ConfigError, match="256 ms"):
        Segmenter(settings, N)
