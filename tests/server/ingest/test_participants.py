"""Everybody's clock follows the bot's, whatever comes; and no two people have one name."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamser.server.ingest.messages import BotSound
from streamser.server.ingest.participants import LONGEST_GAP_S, ParticipantClock, Placement, Roster

RATE = 8000
GAP_S, AHEAD_S, PATIENCE_S = 0.3, 2.0, 1.0


def piece(
    start_s: float, seconds: float = 0.1, fill: int = 1, number: int | None = None
) -> BotSound:
    """Make a piece of sound; those of another ``fill`` sound different."""
    data = bytes([fill, 0]) * round(seconds * RATE)
    return BotSound("bot", "ann", None, start_s, RATE, data, number)


gaps = st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0.4, LONGEST_GAP_S - 1))
lengths = st.integers(1, 40).map(lambda tens: tens / 100)


@given(st.floats(0, 1e9), st.lists(st.tuples(gaps, lengths), min_size=1, max_size=30))
def test_the_sound_so_far_is_as_long_as_the_bot_has_heard(
    begin: float, said: list[tuple[float, float]]
) -> None:
    """Within 0.3 s: gaps are filled with silence, and nothing is left out."""
    clock, at = ParticipantClock(), begin
    for number, (gap, seconds) in enumerate(said):
        at += gap if number else 0.0
        before = clock.heard_s
        placed = clock.place(piece(at, seconds, number % 256))
        assert not placed.late
        assert not placed.jumped
        assert abs(before + placed.silence_s - (at - begin)) <= GAP_S + 1e-6
        assert abs(clock.heard_s - before - placed.silence_s - round(seconds * RATE) / RATE) < 1e-6
        at += seconds


@given(
    st.lists(
        st.tuples(st.floats(0, 1e9), lengths, st.integers(0, 3), st.none() | st.integers(-3, 99)),
        max_size=40,
    )
)
def test_no_clock_is_so_wrong_that_somebody_is_not_heard_any_more(
    said: list[tuple[float, float, int, int | None]],
) -> None:
    """A second in a row is left out at most, and no silence is longer than a gap may be."""
    clock, late_s, heard_s = ParticipantClock(), 0.0, 0.0
    for start_s, seconds, fill, number in said:
        sound = piece(start_s, seconds, fill, number)
        placed = clock.place(sound)
        assert 0 <= placed.silence_s <= LONGEST_GAP_S
        late_s = late_s + sound.seconds if placed.late else 0.0
        assert late_s <= PATIENCE_S + 1e-6
        heard_s += 0.0 if placed.late else placed.silence_s + sound.seconds
        assert abs(clock.heard_s - heard_s) < 1e-6


@given(st.lists(lengths, min_size=2, max_size=30), st.integers(1, 29), st.booleans())
def test_what_comes_twice_or_too_late_is_left_out(
    said: list[float], back: int, counted: bool
) -> None:
    """One piece again, whether the bot counts its pieces or not."""
    clock, at, sent = ParticipantClock(), 100.0, []
    for number, seconds in enumerate(said):
        sent.append(piece(at, seconds, number, number if counted else None))
        assert not clock.place(sent[-1]).late
        at += seconds
    heard_s = clock.heard_s
    again = sent[-min(back, len(sent))]
    assert clock.place(again) == Placement(late=True)
    assert clock.heard_s == heard_s
    assert clock.place(piece(at, 0.1, 77, len(said) if counted else None)) == Placement()


def test_several_pieces_of_one_millisecond_are_all_heard() -> None:
    """A bot that was held up sends what has waited at once; only the same sound is sent twice."""
    clock = ParticipantClock()
    placed = [clock.place(piece(100.0, 0.1, fill)) for fill in range(10)]
    assert placed == [Placement()] * 10
    assert clock.place(piece(100.0, 0.1, 9)).late


def test_a_bot_that_begins_to_count_anew_is_heard() -> None:
    """Which it may when it connects anew, and then its times say what is old."""
    clock = ParticipantClock()
    clock.place(piece(100.0, number=50))
    assert clock.place(piece(100.1, number=1)).late
    clock.resume()
    assert not clock.place(piece(100.1, number=1)).late
    assert not clock.place(piece(100.2, number=2)).late


def test_a_clock_that_was_set_back_is_followed_after_a_second() -> None:
    """As when a recording begins anew; from there on without a hole."""
    clock = ParticipantClock()
    clock.place(piece(500.0))
    placed = [clock.place(piece(n / 10, fill=n)) for n in range(15)]
    assert [each.late for each in placed] == [True] * 10 + [False] * 5
    assert placed[10].jumped
    assert placed[11:] == [Placement()] * 4


def test_more_sound_than_time_is_a_jump_and_so_is_a_gap_of_hours() -> None:
    """Then there is no silence: it would be of a time that nobody knows."""
    clock = ParticipantClock()
    clock.place(piece(100.0, AHEAD_S + 1))
    assert clock.place(piece(100.5, AHEAD_S + 1)).jumped
    assert clock.place(piece(9000.0)) == Placement(jumped=True)


def test_two_of_one_name_are_two_people() -> None:
    """Until the first has left; then who comes back finds it."""
    roster = Roster()
    assert roster.call("1", "iPhone") == "iPhone"
    assert roster.call("2", "iPhone") == "iPhone (2)"
    assert roster.call("2", "iPhone") == "iPhone (2)"
    assert roster.call("3", "iPhone") == "iPhone (3)"
    roster.leave("1")
    assert roster.call("4", "iPhone") == "iPhone"
    assert roster.call("5", "x" * 80) != roster.call("6", "x" * 80)


def test_who_has_no_name_is_called_by_their_number_until_one_comes() -> None:
    """A name that cannot be one is none; one that was known stays."""
    roster = Roster()
    assert roster.call("16778240", None) == "participant 16778240"
    assert roster.call("16778240", " \n ") == "participant 16778240"
    assert roster.call("16778240", "Ann") == "Ann"
    assert roster.call("16778240", None) == "Ann"
    assert roster.call("\x00", None) == "participant"
    assert roster.call("9" * 200, None) == "participant " + "9" * 48


def test_a_meeting_of_many_thousands_costs_no_more_memory() -> None:
    """The oldest are forgotten."""
    roster = Roster()
    for number in range(1500):
        roster.call(str(number), "Ann")
    assert len(roster) == 1000
