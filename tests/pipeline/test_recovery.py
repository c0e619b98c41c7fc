"""What becomes of the requests of a worker thread that was lost."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from streamser.audio.clip import Clip
from streamser.pipeline.requests import EmotionRequest
from streamser.pipeline.scheduler import Backoff, Loss, PendingRequests, QueuedRequest, sort_out
from streamser.settings import WorkerSettings
from tests.pipeline.doubles import speech


def entry(number: int, *, droppable: bool = False, suspect: bool = False) -> QueuedRequest:
    """Make a entry of a tenth of a second."""
    clip = Clip("a", number, 0, speech((0.1, 0.3)), final=not droppable)
    request = EmotionRequest(number, clip, 1600, droppable)
    return QueuedRequest(request, lambda request, outcome: None, suspect=suspect)


def ids(entries: list[QueuedRequest]) -> list[int]:
    """List the numbers of entries."""
    return [each.request.id for each in entries]


@pytest.mark.parametrize("loss", ["died", "stuck"])
def test_the_requests_of_a_lost_batch_are_tried_again_once(loss: Loss) -> None:
    """Marked, so that the next loss is their last."""
    again, over = sort_out([entry(1), entry(2)], loss, "why")
    assert ids(again) == [1, 2]
    assert all(each.suspect for each in again)
    assert not over
    again, over = sort_out(again, loss, "why")
    assert not again
    code = {"died": "worker_died", "stuck": "deadline"}[loss]
    assert [(each.request.id, fault.code) for each, fault in over] == [(1, code), (2, code)]


def test_one_that_was_alone_when_the_models_hung_is_not_tried_again() -> None:
    """It would hang them again for as long; one that was alone when they died may be lucky."""
    again, over = sort_out([entry(1)], "stuck", "why")
    assert (ids(again), [each.request.id for each, _ in over]) == ([], [1])
    again, over = sort_out([entry(1)], "died", "why")
    assert (ids(again), over) == ([1], [])


def test_a_reading_is_not_tried_again() -> None:
    """The next one takes its place."""
    again, over = sort_out([entry(1, droppable=True)], "died", "why")
    assert (again, [fault.code for _, fault in over]) == ([], ["worker_died"])


def test_suspects_are_first_and_alone() -> None:
    """So that one which brings the device down again takes no other with it."""
    queue = PendingRequests(WorkerSettings())
    for number in (3, 4):
        queue.push(entry(number))
    queue.put_back([replace(entry(number), suspect=True) for number in (1, 2)])
    assert [ids(queue.pop(8)) for _ in range(4)] == [[1], [2], [3, 4], []]


def test_two_losses_in_a_row_cost_no_wait() -> None:
    """A batch, and what in it was to blame; beyond, it is not one request's fault."""
    backoff = Backoff()
    assert [backoff.lost() for _ in range(10)] == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.lost() == 0


def test_models_that_cannot_be_loaded_are_tried_ever_more_seldom() -> None:
    """At least once a minute, so that one which has come back is found."""
    backoff = Backoff()
    assert backoff.lost() == 0
    assert [backoff.not_loaded() for _ in range(7)] == [2, 4, 8, 16, 32, 60, 60]
