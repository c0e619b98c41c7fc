"""What waits for a slow connection, and what it is told of the rest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamser.events import (
    EmotionDelta,
    EmotionProvisional,
    Overload,
    TranscriptionDelta,
    TranscriptPartial,
)
from streamser.server.outgoing import Backlog, EncodedEvent, can_be_left_out
from tools.protocol_doc.examples import examples


def word(overload: Overload, stamp: bytes) -> tuple[bytes, ...]:
    """Word an overload so that the tests can read it."""
    return (f"lost {overload.dropped} up to {overload.session_id}{overload.seq}".encode(),)


def encoded_event(seq: int, session: str = "a", *, droppable: bool = False) -> EncodedEvent:
    """Make a letter that says its name."""
    return EncodedEvent(session, seq, 10 * seq, droppable, (f"{session}{seq}".encode(),))


def everything(backlog: Backlog) -> list[str]:
    """Take all that waits."""
    taken = []
    while len(backlog):
        taken += [body.decode() for body in backlog.dequeue()]
    return taken


def test_letters_leave_in_order() -> None:
    """As long as there is room nothing is left out."""
    backlog = Backlog(10, word)
    assert all(backlog.enqueue(encoded_event(n, droppable=n % 2 == 0)) for n in range(1, 5))
    assert everything(backlog) == ["a1", "a2", "a3", "a4"]


def test_from_half_on_deltas_are_left_out_and_told() -> None:
    """One overload stands in their place, before the next event of the same session."""
    backlog = Backlog(4, word)
    for n in (1, 2):
        backlog.enqueue(encoded_event(n))
    for n in (3, 4):
        assert backlog.enqueue(encoded_event(n, droppable=True))
    backlog.enqueue(encoded_event(1, "b"))
    backlog.enqueue(encoded_event(5))
    assert backlog.dropped == 2
    assert everything(backlog) == ["a1", "a2", "b1", "lost 2 up to a4", "a5"]


def test_a_loss_without_a_successor_is_told_in_the_end() -> None:
    """Who has read everything learns of it without waiting for the session to go on."""
    backlog = Backlog(2, word)
    backlog.enqueue(encoded_event(1))
    backlog.enqueue(encoded_event(2, droppable=True))
    assert everything(backlog) == ["a1", "lost 1 up to a2"]


def test_finals_push_waiting_deltas_out() -> None:
    """What waits already and can be left out makes room."""
    backlog = Backlog(4, word)
    backlog.enqueue(encoded_event(1, droppable=True))
    backlog.enqueue(encoded_event(2, droppable=True))
    for n in (3, 4):
        backlog.enqueue(encoded_event(n))
    assert backlog.enqueue(encoded_event(5))
    assert everything(backlog) == ["lost 2 up to a2", "a3", "a4", "a5"]


def test_a_connection_that_cannot_even_take_finals_must_go() -> None:
    """Finals are never left out: the connection is."""
    backlog = Backlog(3, word)
    assert all(backlog.enqueue(encoded_event(n)) for n in (1, 2, 3))
    assert not backlog.enqueue(encoded_event(4))
    assert backlog.is_over_full
    backlog.dequeue(), backlog.dequeue()
    assert not backlog.is_over_full


def test_there_is_an_end_also_for_one_that_takes_a_little() -> None:
    """Four times the room is too much, in letters or in bytes."""
    backlog = Backlog(3, word)
    for n in range(11):
        backlog.enqueue(encoded_event(n + 1))
    assert not backlog.is_overrun
    backlog.enqueue(encoded_event(12))
    assert backlog.is_overrun


def test_what_is_sent_again_has_room_until_it_is_read() -> None:
    """Then the connection counts as slow at the same number as before."""
    backlog = Backlog(4, word)
    backlog.replay([encoded_event(n, droppable=True) for n in range(1, 101)])
    assert backlog.enqueue(encoded_event(101))
    assert not backlog.is_over_full
    assert backlog.dropped == 0
    everything(backlog)
    for n in range(102, 105):
        backlog.enqueue(encoded_event(n, droppable=True))
    assert backlog.dropped == 1


def test_many_bytes_count_as_many_letters() -> None:
    """A few huge events fill the memory as well as many small ones."""
    backlog = Backlog(100, word)
    huge = EncodedEvent("a", 1, 0, False, (bytes(500_000),))
    assert backlog.enqueue(huge)
    assert not backlog.enqueue(encoded_event(2))


def test_what_was_lost_of_a_session_is_forgotten_with_its_end() -> None:
    """A listener may be there for days, and thousands of sessions pass by."""
    told: list[int] = []

    def note(overload: Overload, stamp: bytes) -> tuple[bytes, ...]:
        told.append(overload.total)
        return (b"lost",)

    backlog = Backlog(2, note)
    for number in range(100):
        session = f"s{number}"
        backlog.enqueue(encoded_event(1, session))
        for seq in (2, 3):
            backlog.enqueue(encoded_event(seq, session, droppable=True))
        everything(backlog)
        backlog.enqueue(encoded_event(4, session))
        backlog.enqueue(encoded_event(5, session, droppable=True))
        everything(backlog)
        backlog.enqueue(EncodedEvent(session, 6, 60, False, (b"the end",), ends=True))
        everything(backlog)
    assert told == [2, 3] * 100
    assert not backlog._totals


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from("ab"), st.booleans()), max_size=80),
    st.integers(2, 12),
)
def test_nothing_is_lost_without_a_word_and_memory_is_bounded(
    moves: list[tuple[bool, str, bool]], most: int
) -> None:
    """Whoever adds up what came and what was told lost knows every event of every session."""
    backlog, seqs, taken = Backlog(most, word), {"a": 0, "b": 0}, []
    for is_put, session, droppable in moves:
        if is_put:
            seqs[session] += 1
            if not backlog.enqueue(encoded_event(seqs[session], session, droppable=droppable)):
                # Its connection would be closed if it took nothing now.
                taken += everything(backlog)
        elif len(backlog):
            taken += [body.decode() for body in backlog.dequeue()]
        # Each session's overload may stand beside those that count.
        assert len(backlog) <= most + 2 * len(seqs)
    taken += everything(backlog)
    for session, last in seqs.items():
        known = 0
        for told in taken:
            if told.startswith("lost") and told.split()[-1].startswith(session):
                known += int(told.split()[1])
                assert int(told.split()[-1][1:]) == known
            elif told.startswith(session):
                known += 1
                assert int(told[1:]) == known
        assert known == last


def test_only_what_is_soon_out_of_date_can_be_left_out() -> None:
    """Partials can; beginnings and finals cannot."""
    kinds = {type(event) for event in examples() if can_be_left_out(event)}
    assert kinds == {TranscriptPartial, TranscriptionDelta, EmotionDelta, EmotionProvisional}
