"""One utterance while its events come; what becomes of it is an ``UtteranceRecord``."""

from __future__ import annotations

from typing import Any

import msgspec

from streamser.events import EmotionBody
from streamser.export.records import Lags, Partial, Reading, UtteranceRecord

__all__ = ["Item"]


class Item(msgspec.Struct, eq=False):
    """Keep what is known of one utterance so far."""

    item_id: str
    start_ms: int
    end_ms: int
    handed_over: bool = False
    final: bool = False
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    lags: dict[str, float | None] = msgspec.field(default_factory=dict)
    readings: list[Reading] = msgspec.field(default_factory=list)
    provisional: Reading | None = None
    partials: list[Partial] = msgspec.field(default_factory=list)
    shift_ms: int | None = None

    def reach(self, end_ms: int) -> None:
        """Learn that it goes on at least so far."""
        self.end_ms = max(self.end_ms, end_ms)

    def judge(self, emotion: EmotionBody) -> None:
        """Learn what was felt, and by whom if that is said."""
        self.fields["emotion"] = emotion
        if emotion.speaker is not None:
            self.fields["speaker"] = emotion.speaker
            self.fields["speaker_provisional"] = emotion.speaker_provisional

    def record(self, session_id: str) -> UtteranceRecord:
        """Return what is known by now."""
        return UtteranceRecord(
            session_id=session_id,
            item_id=self.item_id,
            start_ms=self.start_ms,
            end_ms=max(self.start_ms, self.end_ms),
            final=self.final,
            lags=Lags(**self.lags),
            readings=tuple(self.readings),
            provisional=self.provisional,
            partials=tuple(self.partials),
            shift_ms=self.shift_ms,
            **self.fields,
        )
