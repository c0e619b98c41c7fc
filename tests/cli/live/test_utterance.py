"""One utterance as people see it, and the sum of a session."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
import pytest

from streamser.cli.live.follow import Summary, Tally, summary_lines
from streamser.cli.live.sinks import advice_of
from streamser.events import Event, Overload, SessionClosed
from streamser.export.utterances import Utterance, likeliest, read_utterance
from streamser.taxonomy import CATEGORIES
from tests.cli.samples import closed, created, emotion, failed, felt, said


def summarise(utterances: Iterable[Utterance], last: SessionClosed) -> Summary:
    """Sum utterances up."""
    tally = Tally()
    for spoken in utterances:
        tally.add(spoken)
    return tally.summary(last)


def test_with_words_the_event_with_the_words_finishes_the_utterance() -> None:
    """Of the two finals of a transcribed utterance only one counts."""
    spoken = read_utterance(said("good morning"), transcribed=True)
    assert spoken is not None
    assert (spoken.transcript, spoken.start_ms, spoken.end_ms) == ("good morning", 1000, 3000)
    assert spoken.lag_ms == 80.0
    assert read_utterance(felt(), transcribed=True) is None


def test_without_words_the_emotion_finishes_the_utterance() -> None:
    """The place in the audio is then that of the judged sound, and there is no transcript."""
    spoken = read_utterance(felt(), transcribed=False)
    assert spoken is not None
    assert (spoken.transcript, spoken.start_ms, spoken.end_ms) == (None, 1000, 3000)


def test_a_failed_utterance_says_why_and_has_no_emotion() -> None:
    """A fault takes the place of the judgement."""
    spoken = read_utterance(failed("no room"), transcribed=True)
    assert spoken is not None
    assert spoken.emotion is None
    assert spoken.fault == "no room"


@pytest.mark.parametrize("event", [created(), closed()])
def test_other_events_finish_no_utterance(event: Event) -> None:
    """The frame of a session is not part of what was said."""
    assert read_utterance(event, transcribed=True) is None
    assert read_utterance(event, transcribed=False) is None


def test_the_likeliest_category_is_known_where_the_judgement_is_unsure() -> None:
    """Unsure is an answer; what it leans to is still told."""
    assert likeliest(emotion("unsure")) == "neutral"


def test_where_all_categories_are_alike_none_is_the_likeliest() -> None:
    """A model of dimensions alone leans to nothing."""
    flat = msgspec.structs.replace(emotion("unsure"), scores=dict.fromkeys(CATEGORIES, 0.25))
    assert likeliest(flat) == "unsure"


def test_a_summary_counts_shares_means_and_lags() -> None:
    """Ninety-five of a hundred answers came within the 95 % lag; nulls are left out of means."""
    judged = [
        said("a", emotion("happy", valence=0.4, arousal=0.2), lag_ms=float(lag))
        for lag in range(75)
    ] + [
        said("b", emotion("unsure", valence=None, arousal=-0.2), lag_ms=float(lag))
        for lag in range(75, 100)
    ]
    utterances = [read_utterance(event, transcribed=True) for event in judged]
    summary = summarise([spoken for spoken in utterances if spoken], closed(100))
    assert summary.shares == {"happy": 0.75, "unsure": 0.25}
    assert summary.valence == pytest.approx(0.4)
    assert summary.arousal == pytest.approx(0.1)
    assert summary.lag_median_ms == 49.5
    assert summary.lag_p95_ms == 95.0


def test_a_summary_is_written_in_plain_lines() -> None:
    """Losses appear where there were any, and only there."""
    spoken = read_utterance(said("a"), transcribed=True)
    assert spoken is not None
    assert summary_lines(summarise([spoken], closed(1))) == [
        "1:05.0 heard, 0:12.3 of speech, 1 utterance",
        "happy 100%; mean valence +0.50; mean arousal -0.50",
        "answered after 80 ms (median), 80 ms (95 %)",
    ]
    losses = closed(2, failed=1, partials_dropped=2, audio_dropped_ms=40)
    assert summary_lines(summarise([], losses)) == [
        "1:05.0 heard, 0:12.3 of speech, 2 utterances",
        "1 utterance not analysed; 2 readings in mid-utterance left out, to keep up;"
        " 40 ms of sound lost",
    ]


def test_a_session_without_speech_has_a_summary_of_one_line() -> None:
    """Nothing is averaged over nothing."""
    assert len(summary_lines(summarise([], closed(0)))) == 1


def test_a_summary_of_days_takes_no_more_memory_than_one_of_minutes() -> None:
    """Nothing is kept of an utterance, and lags are counted to three digits."""
    spoken = read_utterance(said("a"), transcribed=True)
    assert spoken is not None
    tally = Tally()
    for number in range(20_000):
        tally.add(msgspec.structs.replace(spoken, lag_ms=100 + number / 20))
    assert len(tally._lags) <= 1000
    summary = tally.summary(closed(20_000))
    assert summary.lag_median_ms == pytest.approx(600, rel=0.005)
    assert summary.lag_p95_ms == pytest.approx(1050, rel=0.005)
    assert summary.valence == 0.5


@pytest.mark.parametrize(("number", "told"), [(1, "1 reading "), (3, "3 readings ")])
@pytest.mark.parametrize("kind", ["partials", "finals"])
def test_losses_are_told_in_the_right_number(
    kind: Literal["partials", "finals"], number: int, told: str
) -> None:
    """For people, who stumble over a wrong one."""
    loss = Overload(
        event_id="e",
        session_id="s",
        seq=1,
        kind=kind,
        dropped=number,
        total=number,
        since_ms=0,
        reason="late",
    )
    assert told in (advice_of(loss) or "")
