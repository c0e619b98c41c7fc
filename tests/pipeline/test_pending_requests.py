from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import Clip
from streamser.pipeline.requests import EmotionRequest, Fault, Outcome, Skipped, WordsRequest
from streamser.pipeline.scheduler import PendingRequests, QueuedRequest, QueueLoad
from streamser.settings import WorkerSettings


def entry(
    request_id: int,
    session: str = "a",
    *,
    droppable: bool = False,
    refusable: bool = True,
    background: bool = False,
    since: float = 0.0,
) -> QueuedRequest:
    """Make a waiting request."""
    clip = Clip(session, 1, 0, np.zeros(16, np.float32), final=not droppable)
    request = EmotionRequest(request_id, clip, 16, droppable, refusable, background=background)
    return QueuedRequest(request, lambda request, outcome: None, since)


def ids(entries: list[QueuedRequest]) -> list[int]:
    """Name entries by their request."""
    return [each.request.id for each in entries]


def over(left: list[tuple[QueuedRequest, Outcome]]) -> list[tuple[int, Outcome]]:
    """Name what is over by its request."""
    return [(each.request.id, outcome) for each, outcome in left]


def test_finals_go_before_partials_and_the_oldest_goes_first() -> None:
    """The order of asking decides only within a kind, and no batch holds both."""
    queue = PendingRequests(WorkerSettings())
    for each in (entry(1, "a", droppable=True), entry(2, "b"), entry(3, "c")):
        assert queue.push(each) == []
    assert ids(queue.pop(9)) == [2, 3]
    assert ids(queue.pop(9)) == [1]
    assert len(queue) == 0


def test_a_newer_partial_takes_the_place_of_one_that_waits() -> None:
    """Only within its own session."""
    queue = PendingRequests(WorkerSettings())
    queue.push(entry(1, "a", droppable=True))
    queue.push(entry(2, "b", droppable=True))
    assert over(queue.push(entry(3, "a", droppable=True))) == [(1, Skipped("coalesced"))]
    assert ids(queue.pop(9)) == [3, 2]


def test_a_newer_partial_takes_the_place_of_its_own_kind_alone() -> None:
    """Words do not push out a reading of the voice, nor a partial what a final has asked for."""
    queue = PendingRequests(WorkerSettings())
    clip = Clip("a", 1, 0, np.zeros(16, np.float32), final=False)
    requests = (
        EmotionRequest(1, clip, 16, droppable=True),
        WordsRequest(2, clip, droppable=True),
        EmotionRequest(3, replace(clip, final=True), 16, droppable=True),
    )
    for each in requests:
        assert queue.push(QueuedRequest(each, lambda request, outcome: None)) == []
    assert ids(queue.pop(9)) == [1, 2, 3]


def test_partials_can_be_made_to_wait_and_finals_cannot() -> None:
    """While the models rest from partials, a final still finds them free."""
    queue = PendingRequests(WorkerSettings())
    queue.push(entry(1, "a", droppable=True))
    assert queue.pop(9, droppable=False) == []
    queue.push(entry(2, "a"))
    assert ids(queue.pop(9, droppable=False)) == [2]
    assert ids(queue.pop(9)) == [1]


def test_what_nobody_waits_for_goes_last_and_alone() -> None:
    """Whoever speaks meanwhile waits for one of them at most; while partials rest it has its turn.

    How long it waits is no sign that finals are late.
    """
    queue = PendingRequests(WorkerSettings())
    for n in (1, 2, 3):
        queue.push(entry(n, f"file {n}", background=True, since=float(n)))
    queue.push(entry(4, "a", droppable=True, since=5.0))
    queue.push(entry(5, "a", since=6.0))
    assert queue.load(9.0) == QueueLoad(finals=4, partials=1, oldest_s=8.0, oldest_final_s=3.0)
    assert ids(queue.pop(9)) == [5]
    assert ids(queue.pop(9, droppable=False)) == [1]
    assert ids(queue.pop(9)) == [4]
    queue.withdraw("file 2")
    assert (queue.has_firm, ids(queue.pop(9)), len(queue)) == (False, [3], 0)


def test_beyond_the_bound_the_oldest_partial_is_left_out() -> None:
    """What is heard now is worth more than what was."""
    queue = PendingRequests(WorkerSettings(max_partials=2))
    for n in range(2):
        assert queue.push(entry(n, f"s{n}", droppable=True)) == []
    assert over(queue.push(entry(2, "s2", droppable=True))) == [(0, Skipped("full"))]
    assert ids(queue.pop(9)) == [1, 2]


def test_a_final_beyond_the_bound_is_refused_with_a_fault() -> None:
    """Never silently."""
    queue = PendingRequests(WorkerSettings(max_finals=1))
    queue.push(entry(1))
    ((request_id, outcome),) = over(queue.push(entry(2)))
    assert request_id == 2
    assert isinstance(outcome, Fault)
    assert outcome.code == "overloaded"


def test_a_request_whose_source_waits_is_never_refused() -> None:
    """Reading files does not fail for want of room."""
    queue = PendingRequests(WorkerSettings(max_finals=1))
    for n in range(50):
        assert queue.push(entry(n, refusable=False)) == []
    assert len(queue) == 50


def test_a_withdrawn_request_is_not_run() -> None:
    """One request by its number, or all of a session's."""
    queue = PendingRequests(WorkerSettings())
    for each in (entry(1, "a"), entry(2, "a"), entry(1, "b"), entry(3, "a", droppable=True)):
        queue.push(each)
    queue.withdraw("a", 1)
    assert len(queue) == 3
    queue.withdraw("a")
    assert [(t.session_id, t.request.id) for t in queue.pop(9)] == [("b", 1)]


def test_a_final_says_how_long_somebody_has_waited_for_it() -> None:
    """A model may spare them more of it. Nobody waits for partials, nor with files."""

    def waited(queued: QueuedRequest) -> float:
        request = queued.as_waited(10.0)
        assert isinstance(request, EmotionRequest)
        return request.waited_s

    assert waited(entry(1, since=7.5)) == 2.5
    assert waited(entry(1, since=7.5, droppable=True)) == 0.0
    assert waited(entry(1, since=7.5, background=True)) == 0.0
    assert waited(entry(1, since=7.5, refusable=False)) == 0.0
