"""What only listeners of a server hear: of meetings, and of what they have missed."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from streamser.events.values import PROTOCOL, Finished, MeetingState, SessionState

__all__ = ["ListenerEvent", "MeetingUpdated", "MoodShifted", "Placed", "Snapshot", "Stamp"]


EventId: TypeAlias = Annotated[str, Meta(description="Unique.")]


class Placed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every event of a meeting carries."""

    event_id: EventId

    @property
    def type(self) -> str:
        """Return the name of its kind, as the protocol has it."""
        return str(self.__struct_config__.tag)


class Snapshot(Placed, frozen=True, kw_only=True, tag="streamser.snapshot"):
    """The first event for a listener: everything it would know had it been there before."""

    protocol: str = PROTOCOL
    cursor: Annotated[
        int, Meta(description="Everything up to this `cursor` is in it; live events follow.")
    ]
    replay_from: Annotated[
        int | None,
        Meta(description="Events from this one on are sent again first, for `?after=`."),
    ]
    lost: Annotated[
        bool,
        Meta(
            description="True: `?after=` is too old; some events cannot be sent again."
            " Never for `after=0`, which asks for all there is."
        ),
    ]
    playback: Annotated[
        float | None,
        Meta(
            description="A recording is played back, so many times as fast as it was, and `at_ms`"
            " is the recording's; null: everything is live."
        ),
    ] = None
    sessions: Annotated[tuple[SessionState, ...], Meta(description="Those that go on.")]
    meetings: Annotated[
        tuple[MeetingState, ...],
        Meta(description="A snapshot has 2 MiB at most; of what is over the oldest is left out."),
    ]
    finals: Annotated[
        tuple[Finished, ...], Meta(description="The last finished utterances, the oldest first.")
    ]


class MeetingUpdated(
    MeetingState, frozen=True, kw_only=True, tag_field="type", tag="streamser.meeting.updated"
):
    """The mood and the speakers of a meeting after a final, or a provisional reading.

    Moods count a provisional reading as if it were the final, until that takes its place.
    """

    event_id: EventId

    @property
    def type(self) -> str:
        """Return the name of its kind, as the protocol has it."""
        return str(self.__struct_config__.tag)


class MoodShifted(Placed, frozen=True, kw_only=True, tag="streamser.mood.shifted"):
    """The leading category of a speaker, or of a whole meeting, has changed."""

    meeting: str
    at_ms: int
    speaker: Annotated[str | None, Meta(description="null: the mood of the whole meeting.")]
    category: str
    previous: str


class Stamp(msgspec.Struct, frozen=True, kw_only=True):
    """What a server adds to every event that it sends to listeners."""

    cursor: Annotated[
        int, Meta(description="Counts all events of the server, for `?after=`; never goes back.")
    ]
    meeting: Annotated[str | None, Meta(description="The meeting the event belongs to.")] = None
    at_ms: Annotated[
        int,
        Meta(description="When it was sent, ms since the meeting, or the session, began."),
    ] = 0


ListenerEvent: TypeAlias = Snapshot | MeetingUpdated | MoodShifted
