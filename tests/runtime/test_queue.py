from __future__ import annotations

import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import Clip
from streamser.runtime.jobs import EmotionJob, Fault, Outcome, Skipped, WordsJob
from streamser.runtime.queue import JobQueue, Ticket
from streamser.settings import WorkerSettings


def ticket(
    job_id: int, session: str = "a", *, droppable: bool = False, refusable: bool = True
) -> Ticket:
    """Make a waiting job."""
    clip = Clip(session, 1, 0, np.zeros(16, np.float32), final=not droppable)
    return Ticket(EmotionJob(job_id, clip, 16, droppable, refusable), lambda job, outcome: None)


def ids(tickets: list[Ticket]) -> list[int]:
    """Name tickets by their job."""
    return [each.job.id for each in tickets]


def over(left: list[tuple[Ticket, Outcome]]) -> list[tuple[int, Outcome]]:
    """Name what is over by its job."""
    return [(each.job.id, outcome) for each, outcome in left]


def test_finals_go_before_partials_and_the_oldest_goes_first() -> None:
    """The order of asking decides only within a kind, and no batch holds both."""
    queue = JobQueue(WorkerSettings())
    for each in (ticket(1, "a", droppable=True), ticket(2, "b"), ticket(3, "c")):
        assert queue.offer(each) == []
    assert ids(queue.take(9)) == [2, 3]
    assert ids(queue.take(9)) == [1]
    assert len(queue) == 0


def test_a_newer_partial_takes_the_place_of_one_that_waits() -> None:
    """Only within its own session."""
    queue = JobQueue(WorkerSettings())
    queue.offer(ticket(1, "a", droppable=True))
    queue.offer(ticket(2, "b", droppable=True))
    assert over(queue.offer(ticket(3, "a", droppable=True))) == [(1, Skipped("coalesced"))]
    assert ids(queue.take(9)) == [3, 2]


def test_a_newer_partial_takes_the_place_of_its_own_kind_alone() -> None:
    """Words do not push out a reading of the voice, nor a partial what a final has asked for."""
    queue = JobQueue(WorkerSettings())
    clip = Clip("a", 1, 0, np.zeros(16, np.float32), final=False)
    jobs = (
        EmotionJob(1, clip, 16, droppable=True),
        WordsJob(2, clip, droppable=True),
        EmotionJob(3, replace(clip, final=True), 16, droppable=True),
    )
    for each in jobs:
        assert queue.offer(Ticket(each, lambda job, outcome: None)) == []
    assert ids(queue.take(9)) == [1, 2, 3]


def test_partials_can_be_made_to_wait_and_finals_cannot() -> None:
    """While the models rest from partials, a final still finds them free."""
    queue = JobQueue(WorkerSettings())
    queue.offer(ticket(1, "a", droppable=True))
    assert queue.take(9, droppable=False) == []
    queue.offer(ticket(2, "a"))
    assert ids(queue.take(9, droppable=False)) == [2]
    assert ids(queue.take(9)) == [1]


def test_beyond_the_bound_the_oldest_partial_is_left_out() -> None:
    """What is heard now is worth more than what was."""
    queue = JobQueue(WorkerSettings(max_partials=2))
    for n in range(2):
        assert queue.offer(ticket(n, f"s{n}", droppable=True)) == []
    assert over(queue.offer(ticket(2, "s2", droppable=True))) == [(0, Skipped("full"))]
    assert ids(queue.take(9)) == [1, 2]


def test_a_final_beyond_the_bound_is_refused_with_a_fault() -> None:
    """Never silently."""
    queue = JobQueue(WorkerSettings(max_finals=1))
    queue.offer(ticket(1))
    ((job_id, outcome),) = over(queue.offer(ticket(2)))
    assert job_id == 2
    assert isinstance(outcome, Fault)
    assert outcome.code == "overloaded"


def test_a_job_whose_source_waits_is_never_refused() -> None:
    """Reading files does not fail for want of room."""
    queue = JobQueue(WorkerSettings(max_finals=1))
    for n in range(50):
        assert queue.offer(ticket(n, refusable=False)) == []
    assert len(queue) == 50


def test_a_withdrawn_job_is_not_run() -> None:
    """One job by its number, or all of a session's."""
    queue = JobQueue(WorkerSettings())
    for each in (ticket(1, "a"), ticket(2, "a"), ticket(1, "b"), ticket(3, "a", droppable=True)):
        queue.offer(each)
    queue.withdraw("a", 1)
    assert len(queue) == 3
    queue.withdraw("a")
    assert [(t.session_id, t.job.id) for t in queue.take(9)] == [("b", 1)]
