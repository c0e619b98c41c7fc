"""What a session remembers of an utterance while it is being analysed."""

from __future__ import annotations

import msgspec

from streamser.emotion.model import Finding
from streamser.runtime.jobs import Fault, Observed
from streamser.runtime.outbox import Slot
from streamser.speech.speakers import Voice
from streamser.speech.stable import Stable
from streamser.speech.transcriber import Transcript

__all__ = ["Analysed", "Partial", "Utterance"]


class Analysed(msgspec.Struct, frozen=True, eq=False):
    """Hold all that was found in an utterance; ``transcript`` is ``None`` where none was asked."""

    transcript: Transcript | None
    finding: Finding
    voice: Voice | None = None


class Partial(msgspec.Struct, eq=False):
    """Follow a partial on its way: up to where, its place, and the words that have come of it.

    ``slot`` is its place among the events of an ordered session; a live one has none.
    """

    end: int
    slot: Slot | None = None
    transcript: Transcript | None = None


class Utterance(msgspec.Struct, kw_only=True, eq=False):
    """Follow one utterance; positions are absolute samples.

    ``speech`` counts the samples of speech windows, ``readings`` the partials asked for,
    ``partials`` those still on their way, by job. ``words`` are those of the latest trusted
    partial, ``told`` the settled text told so far. ``end`` is set when the final is asked for,
    speculatively or not, with the jobs for its words, for its voice alone, and for both
    together; ``transcript``, ``alone`` and ``outcome`` are what has come of them. ``slot`` is
    its place among the session's events once the utterance is closed, and ``patience_ends``
    where on the session's clock its voice alone is told of, if words are still missing.
    ``unreadable``: in the sound asked about last no voice can be heard.
    """

    number: int
    item_id: str
    start: int
    end: int = 0
    speech: int = 0
    readings: int = 0
    partials: dict[int, Partial] = {}
    stable: Stable = msgspec.field(default_factory=Stable)
    words: Transcript | None = None
    told: str = ""
    words_job: int | None = None
    voice_job: int | None = None
    final_job: int | None = None
    transcript: Transcript | None = None
    alone: Observed | None = None
    outcome: Analysed | Fault | None = None
    slot: Slot | None = None
    patience_ends: int = 0
    unreadable: bool = False

    @property
    def is_asked(self) -> bool:
        """Return whether the final has been asked for."""
        return not (self.words_job is None and self.final_job is None)
