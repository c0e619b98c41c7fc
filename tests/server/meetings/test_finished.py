"""What is remembered of utterances that are over."""

from __future__ import annotations

from streamser.events import ErrorBody, TranscriptionFailed
from streamser.server.meetings.finished import FairLog, FinishedLog


def final(session: str, item: int) -> TranscriptionFailed:
    """Make the end of an utterance."""
    return TranscriptionFailed(
        event_id="e",
        session_id=session,
        seq=1,
        item_id=str(item),
        error=ErrorBody(type="server_error", code="c", message="m"),
        audio_start_ms=0,
        audio_end_ms=1,
    )


def remembered(log: FairLog) -> dict[str, list[str]]:
    """Return the items that are remembered of each session."""
    told: dict[str, list[str]] = {}
    for each in log.logs:
        for one in each.finals:
            told.setdefault(one.session_id, []).append(one.item_id)
    return told


def test_the_latest_are_remembered() -> None:
    """The newest can be had first, with its number."""
    log = FinishedLog(2)
    for item in range(3):
        log.take(final("a", item), None, None, 0, 10 + item)
    assert [number for number, _ in log.latest()] == [12, 11]
    assert [each.item_id for each in log.finals] == ["1", "2"]


def test_who_has_most_gives_way_to_the_others() -> None:
    """A session that talks much pushes out its own utterances, and nobody else's."""
    log = FairLog(6, each=5)
    for item in range(2):
        log.take(final("quiet", item), None, None, 0)
    for item in range(50):
        log.take(final("loud", item), None, None, 0)
    assert remembered(log) == {"quiet": ["0", "1"], "loud": ["46", "47", "48", "49"]}


def test_sessions_without_end_do_not_swell_it() -> None:
    """Of many with as much the first to come is forgotten first."""
    log = FairLog(4, each=4)
    for n in range(10):
        log.take(final(f"s{n}", 0), None, None, 0)
    assert remembered(log) == {f"s{n}": ["0"] for n in range(6, 10)}


def test_a_final_that_is_told_twice_is_remembered_once() -> None:
    """As where words and emotion of one utterance are told apart."""
    log = FairLog(2, each=2)
    for _ in range(5):
        log.take(final("a", 0), None, None, 0)
    log.take(final("b", 0), None, None, 0)
    assert remembered(log) == {"a": ["0"], "b": ["0"]}
