"""What becomes of the jobs of a device thread that was lost."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamser.audio.clip import Clip
from streamser.runtime.jobs import EmotionJob
from streamser.runtime.queue import JobQueue, Ticket
from streamser.runtime.recovery import Loss, Patience, sort_out
from streamser.settings import WorkerSettings
from tests.runtime.doubles import speech


def ticket(number: int, *, droppable: bool = False, suspect: bool = False) -> Ticket:
    """Make a ticket of a tenth of a second."""
    clip = Clip("a", number, 0, speech((0.1, 0.3)), final=not droppable)
    job = EmotionJob(number, clip, 1600, droppable)
    return Ticket(job, lambda job, outcome: None, suspect=suspect)


def ids(tickets: list[Ticket]) -> list[int]:
    """List the numbers of tickets."""
    return [each.job.id for each in tickets]


@pytest.mark.parametrize("loss", ["died", "stuck"])
def test_the_jobs_of_a_lost_batch_are_tried_again_once(loss: Loss) -> None:
    """Marked, so that the next loss is their last."""
    again, over = sort_out([ticket(1), ticket(2)], loss, "why")
    assert ids(again) == [1, 2]
    assert all(each.suspect for each in again)
    assert not over
    again, over = sort_out(again, loss, "why")
    assert not again
    code = {"died": "worker_died", "stuck": "deadline"}[loss]
    assert [(each.job.id, fault.code) for each, fault in over] == [(1, code), (2, code)]


def test_one_that_was_alone_when_the_models_hung_is_not_tried_again() -> None:
    """It would hang them again for as long; one that was alone when they died may be lucky."""
    again, over = sort_out([ticket(1)], "stuck", "why")
    assert (ids(again), [each.job.id for each, _ in over]) == ([], [1])
    again, over = sort_out([ticket(1)], "died", "why")
    assert (ids(again), over) == ([1], [])


def test_a_reading_is_not_tried_again() -> None:
    """The next one takes its place."""
    again, over = sort_out([ticket(1, droppable=True)], "died", "why")
    assert (again, [fault.code for _, fault in over]) == ([], ["worker_died"])


def test_suspects_are_first_and_alone() -> None:
    """So that one which brings the device down again takes no other with it."""
    queue = JobQueue(WorkerSettings())
    for number in (3, 4):
        queue.offer(ticket(number))
    queue.put_back([replace(ticket(number), suspect=True) for number in (1, 2)])
    assert [ids(queue.take(8)) for _ in range(4)] == [[1], [2], [3, 4], []]


def test_two_losses_in_a_row_cost_no_wait() -> None:
    """A batch, and what in it was to blame; beyond, it is not one job's fault."""
    patience = Patience()
    assert [patience.lost() for _ in range(10)] == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    patience.reset()
    assert patience.lost() == 0


def test_models_that_cannot_be_loaded_are_tried_ever_more_seldom() -> None:
    """At least once a minute, so that one which has come back is found."""
    patience = Patience()
    assert patience.lost() == 0
    assert [patience.not_loaded() for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]
