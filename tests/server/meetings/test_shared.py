"""Hubs that learn of a meeting's past, or of what was told beside them, when it is late."""

from __future__ import annotations

from typing import Any

from streamser.cluster.records import MeetingPast, ToldEvent
from streamser.server.dialects.commands import Interest
from streamser.server.meetings.hub import Subscription
from streamser.server.meetings.shared import SharedHub
from tests.server.meetings.test_hub import Ear, Talk
from tests.server.test_cluster import Wire, hub

FINAL = "streamser.emotion.completed"


def after_an_outage() -> tuple[Wire, SharedHub, Wire, Talk]:
    """Let a meeting go on at another server that cannot know of its past, and then learn it.

    Ann has spoken until the server died; Bob has spoken twice since.
    """
    home, other = hub(), hub(3.0)
    before, since = Wire(home), Wire(other)
    Talk(home, "a", meeting="m", speaker="Ann").utter(60.0, "i1", "angry")
    bob = Talk(other, "b", meeting="m", speaker="Bob", began=75.0)
    for now, item in ((80.0, "j1"), (90.0, "j2")):
        bob.utter(now, item, "sad")
    return before, other, since, bob


def finals(told: list[dict[str, Any]]) -> list[str]:
    """Return the utterances of finals."""
    return [event["item_id"] for event in told if event["type"] == FINAL]


def test_a_past_that_is_learnt_late_is_there_for_who_comes_later() -> None:
    """Both are: in the order of their cursors, on one clock that never goes back."""
    before, other, _, _ = after_an_outage()
    other.learn_between("m", before.kept(), 95.0)
    late = Ear(other, Interest(meeting="m"), after=0)
    assert finals(late.missed) == ["i1", "j1", "j2"]
    cursors = [event["cursor"] for event in late.missed]
    assert cursors == sorted(set(cursors))
    clock = [event["at_ms"] for event in late.missed]
    assert clock == sorted(clock)
    assert [each.item_id for each in late.snapshot.finals] == ["i1", "j1", "j2"]
    (state,) = late.snapshot.meetings
    assert {(s.speaker, s.utterances) for s in state.speakers} == {("Ann", 1), ("Bob", 2)}


def test_a_past_that_is_learnt_late_gives_the_moods_that_were_had_without_an_outage() -> None:
    """As if one server had told it all."""
    before, other, since, _ = after_an_outage()
    other.learn_between("m", before.kept(), 95.0)
    calm = hub()
    calm.learn_past("m", before.kept(), 95.0)
    lines = [
        ToldEvent(cursor=k.cursor, meeting="m", at_ms=k.at_ms, line=k.encoded.line, stays=True)
        for k, _ in other.kept_of("m", before.kept().told[-1].cursor)
    ]
    assert len(lines) == len(since.kept().told)
    calm.learn_past("m", MeetingPast(told=tuple(lines)), 95.0)
    of_m = Interest(meeting="m")
    assert Ear(other, of_m).snapshot.meetings == Ear(calm, of_m).snapshot.meetings


def test_the_sessions_of_a_dead_server_are_over_once_it_is_known_that_there_were_some() -> None:
    """They are told to be so once; who has spoken here meanwhile stays."""
    before, other, _, bob = after_an_outage()
    other.learn_between("m", before.kept(), 95.0)
    ear = Ear(other, Interest(meeting="m"))
    assert other.take_over("m", 95.0)
    assert [(e["type"], e["session_id"]) for e in ear.heard] == [("streamser.session.closed", "a")]
    assert not other.take_over("m", 96.0)
    bob.utter(100.0, "j3")
    assert [each.meeting for each in other.live_meetings(100.0)] == ["m"]
    (session,) = Ear(other, Interest(meeting="m")).snapshot.sessions
    assert session.session.id == "b"


def test_who_was_told_something_newer_is_told_nothing_older_but_to_come_anew() -> None:
    """And who has heard nothing yet is told it in order."""
    home, other = hub(), hub(3.0)
    before, _ = Wire(home), Wire(other)
    Talk(home, "a", meeting="m", speaker="Ann").utter(60.0, "i1")
    heard: list[int] = []
    renewed: list[str] = []
    other.subscribe(
        Subscription(
            Interest(meeting="m"), lambda e: heard.append(e.seq), renew=lambda: renewed.append("x")
        ),
        None,
        70.0,
    )
    Talk(other, "b", meeting="m", speaker="Bob", began=75.0).utter(80.0, "j1")
    told = len(heard)
    other.learn_between("m", before.kept(), 95.0)
    assert len(heard) == told
    assert renewed == ["x"]


def test_what_is_known_of_a_past_is_not_learnt_twice() -> None:
    """It was here before, and comes back with what others have told since."""
    home, other = hub(), hub(100.0)
    own, theirs = Wire(home), Wire(other)
    Talk(home, "a", meeting="m", speaker="Ann").utter(10.0, "i1")
    other.learn_past("m", own.kept(), 100.0)
    other.take_over("m", 100.0)
    Talk(other, "b", meeting="m", speaker="Bob", began=105.0).utter(110.0, "j1")
    # It stood still meanwhile, and tells of what it has heard before it knows.
    ann = Talk(home, "c", meeting="m", speaker="Ann", began=115.0)
    ann.utter(120.0, "i2")
    ear = Ear(home, Interest(meeting="m"))
    every = MeetingPast(told=(*own.kept().told, *theirs.kept().told))
    home.learn_between("m", every, 121.0)
    assert finals(Ear(home, Interest(meeting="m"), after=0).missed) == ["i1", "j1", "i2"]
    home.learn_between("m", every, 122.0)
    assert finals(Ear(home, Interest(meeting="m"), after=0).missed) == ["i1", "j1", "i2"]
    assert finals(ear.heard) == []


def test_what_nobody_was_told_is_taken_out_again() -> None:
    """It was held until it would be written, and another server has heard that sound by then."""
    home = hub()
    wire = Wire(home)
    ann = Talk(home, "a", meeting="m", speaker="Ann")
    ann.utter(10.0, "i1")
    ann.utter(20.0, "i2")
    said = [told for told in wire.told if FINAL.encode() in told.line]
    untold = {told.cursor for told in said if b'"i2"' in told.line}
    home.learn_between("m", MeetingPast(), 21.0, untold)
    late = Ear(home, Interest(meeting="m"), after=0)
    assert finals(late.missed) == ["i1"]
    assert [each.item_id for each in late.snapshot.finals] == ["i1"]


def test_a_session_is_told_to_be_over_once() -> None:
    """By who takes its meeting over; its own server, which has stood still, says it late."""
    home, third = hub(), hub()
    wire = Wire(home)
    Talk(home, "a", meeting="m").utter(10.0)
    third.learn_past("m", wire.kept(), 11.0)
    ear = Ear(third, Interest(meeting="m"))
    ((session, closing),) = third.closings("m", 20.0)
    assert (session, ear.heard) == ("a", [])
    third.relay(closing, 20.0)
    third.relay(ToldEvent(**{**_fields(closing), "cursor": closing.cursor + 9}), 30.0)
    assert [event["type"] for event in ear.heard] == ["streamser.session.closed"]
    assert Ear(third, Interest(meeting="m")).snapshot.sessions == ()
    assert third.closings("m", 31.0) == []
    assert not third.take_over("m", 32.0)


def _fields(told: ToldEvent) -> dict[str, Any]:
    return {name: getattr(told, name) for name in told.__struct_fields__}


def test_voices_told_apart_at_two_servers_are_not_taken_for_one() -> None:
    """What the new session calls ``speaker 1`` is nobody whom the old one has called so."""
    home, other = hub(), hub(3.0)
    wire = Wire(home)
    Talk(home, "a", meeting="m").utter(60.0, "i1", "angry", speaker="speaker 1")
    other.learn_past("m", wire.kept(), 70.0)
    other.take_over("m", 70.0)
    Talk(other, "b", meeting="m", began=71.0).utter(80.0, "j1", "sad", speaker="speaker 1")
    blind = hub(3.0)
    Talk(blind, "b", meeting="m", began=71.0).utter(80.0, "j1", "sad", speaker="speaker 1")
    blind.learn_between("m", wire.kept(), 90.0)
    for each in (other, blind):
        snapshot = Ear(each, Interest(meeting="m")).snapshot
        (state,) = snapshot.meetings
        moods = {s.speaker: s.mood.category for s in state.speakers if s.mood is not None}
        assert moods == {"speaker 1": "angry", "speaker 1 (stream 2)": "sad"}
        finals = [(final.session_id, final.speaker) for final in snapshot.finals]
        assert finals == [("a", "speaker 1"), ("b", "speaker 1")]
