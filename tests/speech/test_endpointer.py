"""Endpointing: what an utterance is, window by window."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from streamser.audio.clip import to_samples
from streamser.errors import ConfigError
from streamser.speech.endpointing import (
    Closed,
    Endpointer,
    EndpointerSettings,
    EndpointEvent,
    Extended,
    Opened,
    PauseDetected,
)
from tests.speech.offline import DEFAULTS, SILENCE, SPEECH, N, flat, run, utterances


def test_one_utterance_from_opening_to_pause() -> None:
    """Speech of ten windows after one second gives each event where it is due."""
    pushes = run(DEFAULTS, [SILENCE] * 32 + [SPEECH] * 10 + [SILENCE] * 20)
    onset, end = 32 * N, 42 * N
    start = onset - to_samples(200)
    told = {k: push for k, push in enumerate(pushes) if push}
    assert told == {
        34: [Opened(start), Extended(35 * N)],
        **{k: [Extended((k + 1) * N)] for k in range(35, 42)},
        49: [PauseDetected(start, end + to_samples(160))],
        57: [Closed(start, end + to_samples(160), "pause")],
    }


def test_speech_that_comes_back_takes_the_hesitation_back() -> None:
    """Half a hangover, then speech: ``SpeechResumed`` before ``Extended``; it is one utterance."""
    events = flat(run(DEFAULTS, [SPEECH] * 5 + [SILENCE] * 10 + [SPEECH] * 5 + [SILENCE] * 16))
    kinds = [type(event).__name__ for event in events]
    assert kinds == [
        *["Opened", "Extended", "Extended", "Extended", "PauseDetected"],
        *["SpeechResumed", *["Extended"] * 5, "PauseDetected", "Closed"],
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
    settings = EndpointerSettings.from_ms(silence_ms=300, pre_roll_ms=400, tail_ms=150)
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
        segmenter = Endpointer(DEFAULTS, N)
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
    assert events[-2:] == [PauseDetected(0, end), Closed(0, end, "max_length")]


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
        [PauseDetected(0, end)],
        [Closed(0, cut, "max_length"), Opened(cut), Extended(spoken * N), PauseDetected(cut, end)],
        [Closed(cut, end, "pause")],
    ]


def test_half_the_hangover_is_reached_not_passed() -> None:
    """With a hangover of eight windows the fourth silent one hesitates and the eighth closes."""
    settings = EndpointerSettings(silence=8 * N, tail=4 * N)
    pushes = run(settings, [SPEECH] * 5 + [SILENCE] * 10)
    told = {k: push for k, push in enumerate(pushes) if push and k >= 5}
    assert told == {8: [PauseDetected(0, 9 * N)], 12: [Closed(0, 9 * N, "pause")]}


def test_a_hangover_of_one_window_hesitates_and_closes_in_one_push() -> None:
    """Degenerate settings keep the order: ``PauseDetected`` then ``Closed``."""
    settings = EndpointerSettings(silence=N, tail=N // 2)
    pushes = run(settings, [SPEECH] * 5 + [SILENCE] * 3)
    end = 5 * N + N // 2
    assert pushes[5] == [PauseDetected(0, end), Closed(0, end, "pause")]


def test_an_hour_of_unbroken_speech_is_cut_without_loss() -> None:
    """Utterances tile the hour, each at most 20 s long, from a bounded memory."""
    rng = np.random.default_rng(4)
    count = 3600 * 16_000 // N
    segmenter = Endpointer(DEFAULTS, N)
    events: list[EndpointEvent] = []
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


def test_settings_in_samples_and_in_ms_have_the_same_defaults() -> None:
    """Two ways to the same defaults."""
    assert EndpointerSettings() == EndpointerSettings.from_ms()
    assert DEFAULTS.silence == 8_000


def test_what_depends_on_other_settings_follows_them() -> None:
    """Release, tail and search fit themselves to threshold, silence and limit."""
    settings = EndpointerSettings.from_ms(threshold=0.1, silence_ms=200, max_length_ms=4_000)
    assert settings.release == 0.01
    assert settings.tail == to_samples(100)
    assert settings.cut_search == to_samples(2_000)
    assert EndpointerSettings.from_ms(threshold=0.7).release == pytest.approx(0.55)


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
        EndpointerSettings.from_ms(**wrong)
    assert "\n" not in str(caught.value)


def test_a_limit_of_a_few_windows_is_refused() -> None:
    """``max_length`` must hold eight windows of the detector at hand."""
    settings = EndpointerSettings.from_ms(
        min_speech_ms=10, pre_roll_ms=0, max_length_ms=200, silence_ms=100
    )
    Endpointer(settings, 160)
    with pytest.raises(ConfigError, match="256 ms"):
        Endpointer(settings, N)
