"""What a session remembers of an utterance while it is being analysed."""

from __future__ import annotations

import msgspec

from streamser.runtime.jobs import Outcome
from streamser.runtime.outbox import Slot
from streamser.speech.stable import Stable

__all__ = ["Utterance"]


class Utterance(msgspec.Struct, kw_only=True, eq=False):
    """Follow one utterance; positions are absolute samples.

    ``speech`` counts the samples of speech windows, ``readings`` the partials asked for,
    ``partials`` holds the jobs of those still on their way, in an ordered session with their
    place among its events; ``told`` is the settled text told so far. ``final_job`` and ``end``
    are set when the final is asked for, speculatively or not; ``outcome`` is its answer and
    ``slot`` its place among the session's events once the utterance is closed.
    """

    number: int
    item_id: str
    start: int
    end: int = 0
    speech: int = 0
    readings: int = 0
    partials: dict[int, Slot | None] = {}
    stable: Stable = msgspec.field(default_factory=Stable)
    told: str = ""
    final_job: int | None = None
    outcome: Outcome | None = None
    slot: Slot | None = None
