"""Where all events come together, and what a late listener is told."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from streamser.events import (
    Cleared,
    EmotionBody,
    EmotionCompleted,
    EmotionProvisional,
    Event,
    Marker,
    ModelNames,
    SessionClosed,
    SessionCreated,
    SessionInfo,
    SessionUpdated,
    SpeakerChange,
    SpeakersChanged,
    SpeechStarted,
    SpeechStopped,
    Window,
)
from streamser.pipeline.session_config import SessionSnapshot
from streamser.server.dialects.commands import Interest
from streamser.server.meetings.hub import Hub, Subscription
from streamser.server.meetings.rooms import LiveMeeting
from streamser.server.outgoing import EncodedEvent
from streamser.taxonomy import Dimensions

FIRST = 1000


class Talk:
    """Publish the events of one session, numbered."""

    def __init__(
        self,
        hub: Hub,
        session_id: str,
        meeting: str | None = None,
        speaker: str | None = None,
        began: float = 0.0,
    ) -> None:
        self.hub, self.session_id, self.seq = hub, session_id, 0
        self.info = SessionInfo(
            id=session_id,
            models=ModelNames(vad="v", asr=None, emotion="e"),
            silence_ms=500,
            max_utterance_ms=20_000,
            meeting=meeting,
            speaker=speaker,
        )
        self.tell(SessionCreated, began, session=self.info)

    def tell(self, kind: type[Event], now: float, **fields: Any) -> None:
        """Publish an event at a time in seconds."""
        self.seq += 1
        event = kind(event_id="e", session_id=self.session_id, seq=self.seq, **fields)
        self.hub.publish(event, now)

    def utter(
        self,
        now: float,
        item: str = "i",
        category: str = "happy",
        kind: type[Event] = EmotionCompleted,
        speaker: str | None = None,
    ) -> None:
        """Publish an utterance of one second that ends at ``now``, and its reading."""
        scores = dict.fromkeys(("neutral", "happy", "sad", "angry"), 0.1) | {category: 0.7}
        emotion = EmotionBody(
            category=category,
            confidence=0.7,
            scores=scores,
            dimensions=Dimensions(),
            uncertainty=0.5,
            modalities=("audio",),
            speaker=speaker,
            speaker_provisional=speaker is not None,
            window=Window(start_ms=0, end_ms=1000),
            model="e",
        )
        self.tell(SpeechStarted, now - 1.0, item_id=item, audio_start_ms=0)
        self.tell(SpeechStopped, now, item_id=item, audio_end_ms=1000, reason="pause")
        self.tell(kind, now, item_id=item, emotion=emotion)

    def close(self, now: float) -> None:
        """Publish the session's last event."""
        self.tell(
            SessionClosed, now, audio_ms=0, speech_ms=0, utterances=0, failed=0,
            partials_dropped=0, audio_dropped_ms=0,
        )  # fmt: skip


class Ear:
    """Collect what is delivered, decoded."""

    def __init__(self, hub: Hub, interest: Interest, after: int | None = None) -> None:
        self.heard: list[dict[str, Any]] = []
        self.snapshot, missed = hub.subscribe(Subscription(interest, self.hear), after, 60.0)
        self.missed = [json.loads(encoded.bodies[0]) for encoded in missed]

    def hear(self, encoded: EncodedEvent) -> None:
        """Decode a letter."""
        self.heard.append(json.loads(encoded.bodies[0]))

    @property
    def types(self) -> list[str]:
        """Return the types of what was heard live."""
        return [event["type"] for event in self.heard]


def make_hub(keep: int = 1000, meeting_keep_s: float = 600.0) -> Hub:
    """Make a hub."""
    return Hub(keep, meeting_keep_s, 30.0, FIRST)


def test_every_event_is_stamped_with_its_place() -> None:
    """A cursor that counts, the meeting, and the meeting's clock."""
    hub = make_hub()
    ear = Ear(hub, Interest())
    talk = Talk(hub, "a", meeting="m")
    talk.tell(SpeechStarted, 2.5, item_id="i", audio_start_ms=0)
    assert [event["cursor"] for event in ear.heard] == [FIRST + 1, FIRST + 2]
    assert ear.heard[1]["meeting"] == "m"
    assert ear.heard[1]["at_ms"] == 2500
    assert ear.heard[1]["item_id"] == "i"


def test_a_listener_hears_only_what_it_asked_for() -> None:
    """A meeting, a session, everything; some types, by name or beginning."""
    hub = make_hub()
    ears = {
        name: Ear(hub, interest)
        for name, interest in {
            "meeting": Interest(meeting="m"),
            "session": Interest(session="b"),
            "finals": Interest(types=("streamser.emotion.completed",)),
            "ours": Interest(types=("streamser.m*",)),
        }.items()
    }
    Talk(hub, "a", meeting="m").utter(1.0)
    Talk(hub, "b").utter(2.0)
    sessions = {name: [e.get("session_id") for e in ear.heard] for name, ear in ears.items()}
    assert set(sessions["meeting"]) == {"a", None}
    assert "streamser.meeting.updated" in ears["meeting"].types
    assert set(sessions["session"]) == {"b"}
    assert ears["finals"].types == ["streamser.emotion.completed"] * 2
    assert set(ears["ours"].types) == {"streamser.meeting.updated"}


def test_a_late_listener_is_told_the_state_first() -> None:
    """Sessions that go on, the meeting with its moods, and the last finals."""
    hub = make_hub()
    gone, here = Talk(hub, "a", meeting="m", speaker="Ann"), Talk(hub, "b", meeting="m")
    gone.utter(1.0)
    gone.close(2.0)
    here.utter(3.0)
    other = Talk(hub, "c", meeting="n")
    other.utter(4.0)
    snapshot = Ear(hub, Interest(meeting="m")).snapshot
    assert [state.session.id for state in snapshot.sessions] == ["b"]
    assert [meeting.meeting for meeting in snapshot.meetings] == ["m"]
    assert [who.speaker for who in snapshot.meetings[0].speakers] == ["Ann", "b"]
    assert [(final.session_id, final.speaker) for final in snapshot.finals] == [
        ("a", "Ann"), ("b", None),
    ]  # fmt: skip
    assert snapshot.replay_from is None
    assert not snapshot.lost


def test_who_comes_while_words_are_awaited_is_told_the_mood_but_of_no_final() -> None:
    """A reading of the voice alone moves the meeting's mood, and finishes no utterance."""
    hub = make_hub()
    there = Ear(hub, Interest(meeting="m"))
    Talk(hub, "a", meeting="m", speaker="Anna").utter(4.0, kind=EmotionProvisional)
    assert there.types[-2:] == ["streamser.emotion.provisional", "streamser.meeting.updated"]
    late = Ear(hub, Interest(meeting="m")).snapshot
    assert late.finals == ()
    (meeting,) = late.meetings
    assert meeting.mood is not None
    assert meeting.mood.category == "happy"
    assert meeting.speakers[0].utterances == 0


def test_who_comes_back_is_told_what_was_missed() -> None:
    """By cursor; and then everything live, nothing twice."""
    hub = make_hub()
    talk = Talk(hub, "a", meeting="m")
    ear = Ear(hub, Interest(meeting="m"))
    talk.utter(1.0)
    last = ear.heard[2]["cursor"]
    back = Ear(hub, Interest(meeting="m"), after=last)
    assert back.missed == ear.heard[3:]
    assert back.snapshot.replay_from == last + 1
    talk.utter(3.0, "j")
    assert back.heard == ear.heard[3 + len(back.missed) :]


def test_with_a_session_one_counts_by_its_own_numbers() -> None:
    """As the session's sender does."""
    hub = make_hub()
    one, other = Talk(hub, "a"), Talk(hub, "b")
    one.utter(1.0)
    other.utter(1.0)
    back = Ear(hub, Interest(session="a"), after=2)
    assert [event["seq"] for event in back.missed] == [3, 4]


def test_it_says_so_where_something_cannot_be_told_again() -> None:
    """The buffer is bounded, and another server's numbers are not ours."""
    hub = make_hub(keep=5)
    talk = Talk(hub, "a")
    for n in range(5):
        talk.utter(1.0 + n, f"i{n}")
    assert Ear(hub, Interest(), after=FIRST + 2).snapshot.lost
    assert Ear(hub, Interest(session="a"), after=1).snapshot.lost
    assert Ear(hub, Interest(), after=FIRST - 500).snapshot.lost
    assert not Ear(hub, Interest(), after=0).snapshot.lost
    assert not Ear(hub, Interest(session="a"), after=0).snapshot.lost
    assert Ear(hub, Interest(), after=FIRST + 10_000).snapshot.lost
    recent = Ear(hub, Interest(), after=FIRST + 14)
    assert not recent.snapshot.lost
    assert len(recent.missed) == 2


def test_a_meeting_is_forgotten_some_time_after_all_have_left() -> None:
    """Whoever comes back before finds it as it was."""
    hub = make_hub(meeting_keep_s=10.0)
    talk = Talk(hub, "a", meeting="m")
    hub.tidy(1000.0)
    assert hub.meetings == 1
    talk.close(1000.0)
    hub.tidy(1009.0)
    assert hub.meetings == 1
    hub.tidy(1010.0)
    assert hub.meetings == 0


def test_the_meetings_that_are_held_are_those_in_which_somebody_is() -> None:
    """With how many streams are in each, and for how long it has gone on."""
    hub = make_hub()
    talk = Talk(hub, "a", meeting="m", speaker="Ann")
    Talk(hub, "b", meeting="m", speaker="Ben")
    Talk(hub, "c")
    assert hub.live_meetings(90.0) == (LiveMeeting("m", 2, 90_000),)
    talk.close(91.0)
    Talk(hub, "d", meeting="n").close(92.0)
    assert hub.live_meetings(92.0) == (LiveMeeting("m", 1, 92_000),)


def test_what_was_learnt_of_a_speaker_stays_with_the_meeting() -> None:
    """For the same name in the same meeting, and nobody else."""
    hub = make_hub()
    Talk(hub, "a", meeting="m", speaker="Ann")
    voice = SessionSnapshot("e", b"learnt")
    hub.keep_voice("a", voice)
    assert hub.known_voice("m", "Ann") == voice
    for meeting, speaker in (("m", "Ben"), ("n", "Ann"), (None, "Ann"), ("m", None)):
        assert hub.known_voice(meeting, speaker) is None


def test_a_session_is_known_while_its_events_are() -> None:
    """Also when it is over."""
    hub = make_hub(keep=4)
    talk = Talk(hub, "a")
    talk.close(1.0)
    assert hub.knows_session("a")
    Talk(hub, "b").utter(2.0)
    assert not hub.knows_session("a")


def test_who_has_left_is_told_nothing() -> None:
    """A subscription ends at once."""
    hub = make_hub()
    heard: list[EncodedEvent] = []
    subscription = Subscription(Interest(), heard.append)
    hub.subscribe(subscription, None, 0.0)
    hub.unsubscribe(subscription)
    Talk(hub, "a")
    assert heard == []


def test_a_name_that_needs_escapes_stays_one_json_object() -> None:
    """Stamps are added to bytes that are encoded already."""
    hub = make_hub()
    ear = Ear(hub, Interest())
    Talk(hub, "a", meeting='say "hi" \\ ü')
    assert ear.heard[0]["meeting"] == 'say "hi" \\ ü'
    assert msgspec.json.encode(ear.heard[0])


def test_one_meeting_cannot_push_out_what_was_said_in_another() -> None:
    """Each remembers its own finals, and a bounded number of them."""
    hub = make_hub()
    Talk(hub, "a", meeting="quiet").utter(1.0)
    loud = Talk(hub, "b", meeting="loud")
    for n in range(2_100):
        loud.utter(2.0 + n, f"i{n}")
    assert len(Ear(hub, Interest(meeting="quiet")).snapshot.finals) == 1
    assert len(Ear(hub, Interest(meeting="loud")).snapshot.finals) == 200


def test_of_the_meetings_that_all_have_left_the_latest_are_remembered() -> None:
    """Those that go on stay, whatever comes and goes."""
    hub = make_hub()
    Talk(hub, "here", meeting="live")
    for n in range(300):
        Talk(hub, f"s{n}", meeting=f"m{n}").close(float(n))
    meetings = [state.meeting for state in Ear(hub, Interest()).snapshot.meetings]
    assert meetings == ["live", *(f"m{n}" for n in range(44, 300))]


def test_a_meeting_lists_those_who_are_there_and_counts_the_rest() -> None:
    """Passing speakers do not swell what is told."""
    hub = make_hub()
    Talk(hub, "host", meeting="m", speaker="Ann")
    for n in range(50):
        guest = Talk(hub, f"s{n}", meeting="m", speaker=f"g{n}")
        guest.utter(1.0 + n)
        guest.close(1.0 + n)
    (state,) = Ear(hub, Interest(meeting="m")).snapshot.meetings
    assert [who.speaker for who in state.speakers] == ["Ann", *(f"g{n}" for n in range(19, 50))]
    assert state.more_speakers == 19


def test_what_a_client_asks_for_pushes_out_nothing_that_was_said() -> None:
    """Markers, clears and updates, as often as it likes: they have a part of their own."""
    hub = make_hub(keep=800)
    talk, pest = Talk(hub, "s", "m", "Ann"), Talk(hub, "p", "m", "Eve")
    talk.utter(2.0)
    told = hub.kept
    for number in range(5000):
        pest.tell(Marker, 3.0, id=str(number), audio_ms=0)
        pest.tell(Cleared, 3.0)
        pest.tell(SessionUpdated, 3.0, session=pest.info)
    assert hub.kept == told + 100
    snapshot, missed = hub.subscribe(Subscription(Interest(meeting="m"), ignore), FIRST, 4.0)
    assert not snapshot.lost
    assert len(missed) == told + 100
    cursors = [json.loads(encoded.bodies[0])["cursor"] for encoded in missed]
    assert cursors == sorted(cursors)
    kinds = [json.loads(encoded.bodies[0])["type"] for encoded in missed]
    assert kinds.count("streamser.emotion.completed") == 1
    _, latest = hub.subscribe(Subscription(Interest(), ignore), cursors[-1] - 10, 4.0)
    assert [json.loads(encoded.bodies[0])["cursor"] for encoded in latest] == cursors[-10:]
    _, of_it = hub.subscribe(Subscription(Interest(session="p"), ignore), 0, 4.0)
    assert [encoded.seq for encoded in of_it] == [
        1,
        *range(pest.seq - 99, pest.seq + 1),
    ]


def ignore(encoded: EncodedEvent) -> None:
    """Take an event."""


def test_a_late_listener_is_told_who_spoke_after_all() -> None:
    """In the finals and in the meeting's speakers; who was there is told of the change."""
    hub = make_hub()
    ear = Ear(hub, Interest(meeting="m"))
    talk = Talk(hub, "s", "m")
    for second, label in enumerate(("speaker 1", "speaker 1", "speaker 2"), 1):
        talk.utter(float(second), f"i{second}", speaker=label)
    moved = SpeakerChange(item_id="i2", speaker="speaker 2")
    talk.tell(SpeakersChanged, 4.0, changes=(moved,), renamed={"speaker 1": "Ann"})
    snapshot = Ear(hub, Interest(meeting="m")).snapshot
    assert [final.speaker for final in snapshot.finals] == ["Ann", "speaker 2", "speaker 2"]
    emotions = [final.emotion.speaker for final in snapshot.finals if final.emotion is not None]
    assert emotions == ["Ann", "speaker 2", "speaker 2"]
    heard = [(who.speaker, who.utterances) for who in snapshot.meetings[0].speakers]
    assert heard == [("s", 0), ("Ann", 1), ("speaker 2", 2)]
    assert ear.types[-2:] == [
        "streamser.speakers.changed",
        "streamser.meeting.updated",
    ]


def test_who_spoke_after_all_is_known_of_sessions_without_a_meeting_too() -> None:
    """Of that session alone: one label of two microphones is not one person."""
    hub = make_hub()
    one, other = Talk(hub, "a"), Talk(hub, "b")
    one.utter(1.0, speaker="speaker 1")
    other.utter(1.0, speaker="speaker 1")
    one.tell(SpeakersChanged, 2.0, renamed={"speaker 1": "Ann"})
    snapshot = Ear(hub, Interest()).snapshot
    assert {each.session_id: each.speaker for each in snapshot.finals} == {
        "a": "Ann",
        "b": "speaker 1",
    }
