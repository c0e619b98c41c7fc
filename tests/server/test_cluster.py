"""Hubs of several servers that tell each other of their meetings, and what goes on elsewhere."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from streamser import events
from streamser.cluster.records import MeetingPast, ToldEvent, name_of_stream
from streamser.errors import ConfigError
from streamser.pipeline.session_config import SessionSnapshot
from streamser.server.app import EmotionServer
from streamser.server.cluster import Repeats
from streamser.server.dialects.commands import Interest
from streamser.server.meetings.shared import SharedHub
from streamser.taxonomy import Dimensions
from tests.server.meetings.test_hub import Ear, Talk
from tests.server.serving import server_settings

CENTURY_S = 1_700_000_000.0


def hub(first: float = 0.0, ahead: float = 0.0) -> SharedHub:
    """Make the hub of a server that began at a time, by a clock that may be ahead."""
    return SharedHub(1000, 600.0, 30.0, round((CENTURY_S + first) * 1000) - 1, CENTURY_S + ahead)


class Wire:
    """Keep what a hub tells the cluster."""

    def __init__(self, home: SharedHub) -> None:
        self.told: list[ToldEvent] = []
        home.on_told = self.note

    def note(self, told: ToldEvent, event: object) -> None:
        """Take an event."""
        self.told.append(told)

    def kept(self, after: int = 0) -> MeetingPast:
        """Return what Redis keeps."""
        return MeetingPast(told=tuple(t for t in self.told if t.stays and t.cursor > after))


def meeting_of(snapshot: events.Snapshot) -> tuple[Any, ...]:
    """Return what a snapshot says of its one meeting, without its place."""
    return snapshot.meetings, [msgspec.structs.replace(f) for f in snapshot.finals]


def test_a_listener_elsewhere_is_told_what_is_told_at_home() -> None:
    """Byte for byte, in order, once; and the state is the same."""
    home, other = hub(), hub(5.0)
    wire = Wire(home)
    here = Ear(home, Interest(meeting="m"))
    ann = Talk(home, "a", meeting="m", speaker="Ann")
    ann.utter(10.0, "i1", "angry")
    other.learn_past("m", wire.kept(), 12.0)
    there = Ear(other, Interest(meeting="m"))
    before = len(wire.told)
    ann.utter(20.0, "i2", "sad")
    for told in wire.told[before:]:
        other.relay(told, 20.0)
        other.relay(told, 20.0)
    assert there.heard == here.heard[-len(there.heard) :]
    assert "streamser.emotion.completed" in there.types
    assert "streamser.meeting.updated" in there.types
    late = Interest(meeting="m")
    assert meeting_of(Ear(other, late).snapshot) == meeting_of(Ear(home, late).snapshot)


def test_who_comes_back_at_another_server_goes_on_where_it_was() -> None:
    """Cursors mean the same everywhere, and nothing counts as lost."""
    home, other = hub(), hub(100.0)
    wire = Wire(home)
    here = Ear(home, Interest(meeting="m"))
    ann = Talk(home, "a", meeting="m", speaker="Ann")
    ann.utter(10.0, "i1")
    known = here.heard[-1]["cursor"]
    ann.utter(20.0, "i2")
    other.learn_past("m", wire.kept(), 120.0)
    back = Ear(other, Interest(meeting="m"), after=known)
    assert not back.snapshot.lost
    assert [e["item_id"] for e in back.missed if e["type"] == "streamser.emotion.completed"] == [
        "i2"
    ]


def test_who_comes_back_before_the_past_is_learnt_is_told_nothing_twice() -> None:
    """Redis was away, or slow: what they have missed comes late, and only that."""
    home, other = hub(), hub(100.0)
    wire = Wire(home)
    here = Ear(home, Interest(meeting="m"))
    ann = Talk(home, "a", meeting="m", speaker="Ann")
    ann.utter(10.0, "i1")
    known = here.heard[-1]["cursor"]
    ann.utter(20.0, "i2")
    back = Ear(other, Interest(meeting="m"), after=known)
    other.learn_past("m", wire.kept(), 120.0)
    assert [e["item_id"] for e in back.heard if e["type"] == "streamser.emotion.completed"] == [
        "i2"
    ]


def test_what_is_too_old_is_told_to_be_lost() -> None:
    """Redis has let the beginning go."""
    home, other = hub(), hub()
    wire = Wire(home)
    ann = Talk(home, "a", meeting="m", speaker="Ann")
    ann.utter(10.0, "i1")
    ann.utter(20.0, "i2")
    kept = wire.kept()
    trimmed = msgspec.structs.replace(
        kept, told=kept.told[-2:], lost_up_to=kept.told[-3].cursor, sessions=(kept.told[0].line,)
    )
    other.learn_past("m", trimmed, 30.0)
    assert Ear(other, Interest(meeting="m"), after=kept.told[0].cursor).snapshot.lost
    assert not Ear(other, Interest(meeting="m"), after=kept.told[-3].cursor).snapshot.lost
    # Who speaks is known all the same.
    assert Ear(other, Interest(meeting="m")).snapshot.sessions[0].session.speaker == "Ann"


def test_a_meeting_goes_on_at_another_server_with_its_clock_and_moods() -> None:
    """The sessions of the one that is gone are over, and say so."""
    home, other = hub(), hub(3.0)
    wire = Wire(home)
    ann = Talk(home, "a", meeting="m", speaker="Ann")
    ann.utter(10.0, "i1", "angry")
    other.learn_past("m", wire.kept(), 30.0)
    after = Wire(other)
    there = Ear(other, Interest(meeting="m"))
    assert other.take_over("m", 30.0)
    back = Talk(other, "b", meeting="m", speaker="Ann")
    back.utter(40.0, "i2", "angry")
    closed = next(e for e in there.heard if e["type"] == "streamser.session.closed")
    assert (closed["session_id"], closed["utterances"], closed["failed"]) == ("a", 1, 0)
    final = next(e for e in there.heard if e["type"] == "streamser.emotion.completed")
    assert final["at_ms"] == 40_000
    (state,) = Ear(other, Interest(meeting="m")).snapshot.meetings
    assert [(s.speaker, s.utterances) for s in state.speakers] == [("Ann", 2)]
    cursors = [told.cursor for told in (*wire.told, *after.told)]
    assert cursors == sorted(set(cursors))


def test_a_meeting_that_nobody_was_in_is_not_taken_over() -> None:
    """It is new, or its last server has ended it well."""
    home, other = hub(), hub(3.0)
    wire = Wire(home)
    assert not other.take_over("n", 20.0)
    ann = Talk(home, "a", meeting="m", speaker="Ann")
    ann.utter(10.0, "i1")
    ann.close(20.0)
    other.learn_past("m", wire.kept(), 30.0)
    assert not other.take_over("m", 30.0)


def test_a_server_of_several_tells_of_redis_and_of_its_places() -> None:
    """As figures that an alert can ask for."""
    flags = {
        "cluster.redis": "redis://127.0.0.1:1/0",
        "cluster.address": "ws://127.0.0.1:1",
        "server.max_sessions": 9,
    }
    server = EmotionServer(server_settings(flags), lambda line: None)
    told = server.metrics.render().decode()
    assert "streamser_cluster_redis_away 1.0" in told
    assert "streamser_places 9.0" in told


def test_who_listens_to_everything_listens_to_one_server() -> None:
    """Meetings of others are told by their names alone."""
    home, other = hub(), hub()
    wire = Wire(home)
    everything = Ear(other, Interest())
    Talk(home, "a", meeting="m").utter(10.0)
    other.learn_past("m", wire.kept(), 12.0)
    assert everything.heard == []
    assert other.live_meetings(12.0) == ()
    assert Ear(other, Interest()).snapshot.meetings == ()


def test_what_is_elsewhere_is_forgotten_once_nobody_listens() -> None:
    """What is here stays, also if it is empty."""
    home, other = hub(), hub()
    wire = Wire(home)
    Talk(home, "a", meeting="m").utter(10.0)
    other.learn_past("m", wire.kept(), 12.0)
    other.forget_elsewhere("m")
    assert (other.meetings, other.kept) == (0, 0)
    own = Talk(other, "b", meeting="n")
    own.close(20.0)
    other.forget_elsewhere("n")
    assert other.meetings == 1


def test_a_meeting_that_moves_on_is_listed_by_one_server() -> None:
    """It was here, everybody left, and it goes on elsewhere while somebody listens here."""
    home, other = hub(), hub(6.0)
    wire = Wire(other)
    Talk(home, "a", meeting="m").close(5.0)
    Talk(other, "b", meeting="m").utter(10.0)
    for told in wire.told:
        home.relay(told, 10.0)
    assert home.live_meetings(12.0) == ()
    assert Ear(home, Interest(meeting="m")).snapshot.sessions[0].session.id == "b"
    home.forget_elsewhere("m")
    assert home.meetings == 0


def test_who_speaks_here_stays_though_a_meeting_is_told_of_elsewhere() -> None:
    """For as long as two servers have it."""
    home, other = hub(), hub(5.0)
    wire = Wire(other)
    own = Wire(home)
    ann = Talk(home, "a", meeting="m")
    ann.utter(2.0)
    other.learn_past("m", own.kept(), 9.0)
    # It tells that Ann has left.
    other.take_over("m", 9.0)
    Talk(other, "b", meeting="m").utter(10.0)
    for told in wire.told:
        home.relay(told, 10.0)
    home.forget_elsewhere("m")
    ann.utter(20.0)
    assert [each.meeting for each in home.live_meetings(20.0)] == ["m"]


def test_a_meetings_clock_does_not_go_back_at_a_server_whose_own_is_behind() -> None:
    """By two seconds here; and what is told has later places, too."""
    home, other = hub(2.0, 2.0), hub(0.0)
    wire = Wire(home)
    Talk(home, "a", meeting="m", speaker="Ann").utter(10.0, "i1")
    other.learn_past("m", wire.kept(), 10.1)
    after = Wire(other)
    other.take_over("m", 10.1)
    Talk(other, "b", meeting="m", speaker="Ann").utter(10.2, "i2")
    assert after.told[0].at_ms >= wire.told[-1].at_ms
    assert after.told[0].cursor > wire.kept().told[-1].cursor


def test_voices_come_along() -> None:
    """A speaker who comes back elsewhere is known."""
    other = hub()
    home = hub()
    wire = Wire(home)
    Talk(home, "a", meeting="m", speaker="Ann").utter(10.0)
    voice = SessionSnapshot("compact", b"state")
    past = msgspec.structs.replace(wire.kept(), voices={"Ann": voice})
    other.learn_past("m", past, 20.0)
    assert other.known_voice("m", "Ann") == voice


def test_events_of_a_newer_server_are_passed_over() -> None:
    """They harm nobody."""
    other = hub()
    other.relay(ToldEvent(cursor=1, meeting="m", at_ms=0, line=b'{"type":"new"}', stays=True), 1.0)
    assert other.kept == 0


def final(start: int, end: int, item: str) -> events.TranscriptionFailed:
    """Make a final of an utterance."""
    return events.TranscriptionFailed(
        event_id="e",
        session_id="s",
        seq=1,
        item_id=item,
        audio_start_ms=start,
        audio_end_ms=end,
        error=events.ErrorBody(type="server_error", code="x", message="y"),
    )


def started(at: int, item: str) -> events.SpeechStarted:
    """Make the beginning of an utterance."""
    return events.SpeechStarted(
        event_id="e", session_id="s", seq=1, item_id=item, audio_start_ms=at
    )


def mood() -> events.MoodUpdated:
    """Make a session's mood after a final."""
    return events.MoodUpdated(
        event_id="e",
        session_id="s",
        seq=1,
        category="happy",
        scores={},
        dimensions=Dimensions(),
        shift=False,
        previous=None,
        speaker=None,
        speaker_provisional=False,
        audio_end_ms=0,
    )


def test_an_utterance_that_listeners_know_is_told_to_its_client_alone() -> None:
    """All its events; the next is everybody's again, and from then on nothing is looked at."""
    repeats = Repeats(until_ms=3000)
    assert repeats.covers(started(500, "i1"))
    assert repeats.covers(final(500, 2900, "i1"))
    assert not repeats.covers(started(3100, "i2"))
    assert not repeats.covers(final(3100, 4000, "i2"))
    assert not repeats.covers(final(100, 200, "i3"))


def test_a_known_utterance_is_still_read_while_the_next_has_begun() -> None:
    """Sound that is sent again comes fast, and readings after it; its mood is nobody's news."""
    repeats = Repeats(until_ms=3000)
    assert repeats.covers(started(500, "i1"))
    assert not repeats.covers(started(3100, "i2"))
    assert repeats.covers(final(500, 2900, "i1"))
    assert repeats.covers(mood())
    assert not repeats.covers(final(3100, 4000, "i2"))
    assert not repeats.covers(mood())


def test_an_utterance_cut_a_little_elsewhere_is_not_taken_for_a_known_one() -> None:
    """It begins where the known one ended."""
    assert not Repeats(until_ms=3000).covers(started(2900, "i1"))
    assert not Repeats(until_ms=0).covers(started(0, "i1"))


def test_a_streams_name_does_not_hold_its_secret() -> None:
    """And is the same at every server."""
    secret = "a-secret-of-some-length"
    assert secret not in name_of_stream(secret)
    assert name_of_stream(secret) == name_of_stream(secret)
    assert name_of_stream(secret) != name_of_stream(secret + "1")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"cluster.redis": "redis://127.0.0.1:1/0"}, "cluster.address"),
        ({"cluster.redis": "redis://127.0.0.1:1/0", "cluster.address": "http://x"}, "ws://"),
        ({"cluster.redis": "nonsense", "cluster.address": "ws://127.0.0.1:1"}, "redis://HOST"),
    ],
)
def test_a_server_says_what_it_lacks_to_be_one_of_several(flags: dict[str, str], says: str) -> None:
    """Before anything is loaded."""
    with pytest.raises(ConfigError, match=says):
        EmotionServer(server_settings(flags), lambda line: None)


def test_lines_of_the_cluster_are_events() -> None:
    """What goes to Redis is what a client is told."""
    home = hub()
    wire = Wire(home)
    Talk(home, "a", meeting="m").utter(10.0)
    kinds = [json.loads(told.line)["type"] for told in wire.told]
    assert kinds[0] == "session.created"
    assert {told.stays for told in wire.told if told.meeting} == {True, False}
