"""What is due when, at any speed; no time passes here."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamser.export.replay import Playback, Playlist, TimedEvent, read_playlist
from tests.export.script import Script, saved


def score_of(*times: int) -> Playlist:
    """Return a score of events at these times."""
    event = Script().events[0]
    cues = tuple(TimedEvent(event, at_ms, at_ms) for at_ms in times)
    return Playlist(cues=cues, sessions=("s",), meeting=None, notes=())


def test_an_event_comes_when_its_time_has_come() -> None:
    """Not before, and once; the place moves on between events, and stays at the end."""
    playback = Playback(score_of(0, 1000, 4000), speed=2.0)
    assert len(playback.advance(0.0)) == 1
    assert playback.wait_s(0.0) == 0.5
    assert playback.advance(0.4) == ()
    assert playback.at_ms == pytest.approx(800)
    assert [cue.at_ms for cue in playback.advance(0.5)] == [1000]
    assert playback.wait_s(1.0) == 1.0
    assert [cue.at_ms for cue in playback.advance(100.0)] == [4000]
    assert playback.is_over
    assert playback.at_ms == 4000


def test_who_comes_late_gets_everything_at_once() -> None:
    """Or in pieces, of which none is lost."""
    playback = Playback(score_of(*range(10)))
    pieces = []
    while not playback.is_over:
        pieces.append([cue.at_ms for cue in playback.advance(60.0, most=4)])
    assert pieces == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize("speed", [1e-300, 1e-3, 0.3, 7.0, 1e9, 1e300])
def test_no_speed_is_too_much(speed: float) -> None:
    """Every event comes at the very time that was told to be waited for."""
    playback = Playback(score_of(0, 1, 33, 2**40), speed)
    now, told = 0.0, 0
    for _ in range(4):
        told += len(playback.advance(now))
        if playback.is_over:
            break
        wait_s = playback.wait_s(now)
        assert 0.0 <= wait_s <= 3600.0
        now = playback._dues_s[told]
    assert told == 4


@given(
    st.lists(st.integers(0, 100_000), min_size=1, max_size=30).map(sorted),
    st.floats(0.01, 1e6),
    st.lists(st.floats(0, 1000), max_size=30).map(sorted),
)
def test_however_time_passes_all_is_played_in_order(
    times: list[int], speed: float, moments: list[float]
) -> None:
    """And the place never goes back."""
    playback = Playback(score_of(*times), speed)
    played, before = [], 0.0
    for moment in [*moments, 1e9]:
        played += [cue.at_ms for cue in playback.advance(moment)]
        assert playback.at_ms >= before
        before = playback.at_ms
    assert played == times


def test_a_cut_pause_never_overtakes_what_follows(tmp_path: Path) -> None:
    """The place jumps over what is left out, when the next event comes."""
    script = Script()
    script.say(60_000, 61_000)
    path = saved(tmp_path / "talk.jsonl", script.close())
    playback = Playback(read_playlist([path], longest_pause_ms=1000))
    playback.advance(0.9)
    assert playback.at_ms == pytest.approx(900)
    (cue,) = playback.advance(1.0)
    assert playback.at_ms == cue.at_ms == 60_020
