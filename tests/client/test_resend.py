"""The pure heart of the client: what is sent, sent again, told and not told twice."""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from streamser.client.resend import FinalsLost, PlacedEvent, ResendBuffer, UnknownSession
from streamser.client.wire import SoundFormat, shift_times
from streamser.events import (
    EmotionCompleted,
    ErrorBody,
    ErrorRaised,
    Event,
    Marker,
    Overload,
    SessionCreated,
    SessionEvent,
    SessionResumed,
    SpeakerChange,
    SpeakersChanged,
    TranscriptionCompleted,
)
from tests.client.pretend import FRAMES_A_MS, RATE, PretendSession, numbered

SOUND = SoundFormat(RATE, "s16le")


class World(RuleBasedStateMachine):
    """A client and a server that stops, dies and comes back, with messages on their way."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = ResendBuffer(SOUND)
        self.sessions = 0
        self.heard_ms = 0
        self.marks = 0
        self.commits: list[int] = []
        self.told: list[PlacedEvent] = []
        self.up: deque[str | bytes] = deque()
        self.down: deque[Event] = deque()
        self.link = False
        self.restart()

    def restart(self) -> None:
        self.sessions += 1
        self.server = PretendSession(f"s{self.sessions}")
        self.said = 0
        self.fresh = True

    @rule(ms=st.integers(1, 130))
    def speak(self, ms: int) -> None:
        self.buffer.push_audio(numbered(self.heard_ms, self.heard_ms + ms))
        self.heard_ms += ms

    @rule()
    def commit(self) -> None:
        self.buffer.request("input_audio_buffer.commit")
        self.commits.append(self.heard_ms)

    @rule()
    def mark(self) -> None:
        self.marks += 1
        self.buffer.request("streamser.marker", {"id": f"mark {self.marks}"})

    @precondition(lambda self: not self.link)
    @rule()
    def connect(self) -> None:
        self.link = True
        if self.fresh:
            self.fresh = False
            # A server that does not know the stream tells its new session from the beginning.
            self.down.extend(self.server.events)
        else:
            self.down.extend(self.server.welcome(self.buffer.seen))
        self.said = len(self.server.events)

    @precondition(lambda self: self.link)
    @rule(most=st.integers(1, 6))
    def carry_up(self, most: int) -> None:
        for _ in range(most):
            if (message := self.buffer.next_message()) is not None:
                self.up.append(message)

    @precondition(lambda self: self.link)
    @rule(most=st.integers(1, 6))
    def receive(self, most: int) -> None:
        for _ in range(min(most, len(self.up))):
            self.server.receive(self.up.popleft())
        self.send_down()

    @rule(most=st.integers(1, 3))
    def think(self, most: int) -> None:
        self.server.think(most)
        self.send_down()

    @precondition(lambda self: self.link)
    @rule(most=st.integers(1, 12))
    def carry_down(self, most: int) -> None:
        for _ in range(min(most, len(self.down))):
            try:
                self.told += self.buffer.on_event(self.down.popleft())  # type: ignore[arg-type]
            except UnknownSession:
                self.buffer.forget_session()
                self.break_off()
                return

    @precondition(lambda self: self.link)
    @rule()
    def break_off(self) -> None:
        """Lose the connection with all that is on its way."""
        self.link = False
        self.up.clear()
        self.down.clear()
        self.buffer.disconnected()

    @rule()
    def die(self) -> None:
        """Kill the server with all it knows."""
        if self.link:
            self.break_off()
        self.restart()

    @precondition(lambda self: self.link and self.buffer.synced)
    @rule()
    def leave(self) -> None:
        """Let the server finish what it has heard, say so, and start anew."""
        self.server.finish()
        self.send_down()
        self.carry_down(len(self.down))
        self.die()

    def send_down(self) -> None:
        if self.link:
            self.down.extend(self.server.events[self.said :])
            self.said = len(self.server.events)

    def teardown(self) -> None:
        self.buffer.request("streamser.finish")
        for _ in range(1000):
            if self.buffer.done:
                break
            if not self.link:
                self.connect()
            self.carry_down(100)
            if self.link:
                self.carry_up(100)
                self.receive(100)
                self.think(100)
        assert self.buffer.done
        self.check()

    def check(self) -> None:
        names = [(told.event.session_id, told.event.seq) for told in self.told]
        assert len(set(names)) == len(names)
        events = [shift_times(told.event, told.offset_ms) for told in self.told]
        words = [event for event in events if isinstance(event, TranscriptionCompleted)]
        emotions = [event for event in events if isinstance(event, EmotionCompleted)]
        assert [event.item_id for event in words] == [event.item_id for event in emotions]
        spans = [(event.audio_start_ms, event.audio_end_ms) for event in words]
        assert [event.transcript for event in words] == [f"{a} {b - 1}" for a, b in spans]
        ends = [0, *(end for _, end in spans)]
        assert [start for start, _ in spans] == ends[:-1]
        assert ends[-1] == self.heard_ms
        assert set(self.commits) <= set(ends)
        marks = [event.id for event in events if isinstance(event, Marker)]
        assert marks == [f"mark {number + 1}" for number in range(self.marks)]
        assert self.buffer.lost == 0


TestWorld = World.TestCase
TestWorld.__doc__ = """Whatever breaks, each stretch of sound gets one final, and only one."""


class Wire:
    """A keeper and a session that hear each other at once."""

    def __init__(self, keep_s: float = 60.0, max_utterance_ms: int = 100) -> None:
        self.buffer = ResendBuffer(SOUND, keep_s)
        self.max_utterance_ms = max_utterance_ms
        self.told: list[SessionEvent] = []
        self.restart("first")

    def restart(self, name: str) -> None:
        self.buffer.disconnected()
        self.server = PretendSession(name, max_utterance_ms=self.max_utterance_ms)
        self.said = 0

    def speak(self, start_ms: int, end_ms: int) -> None:
        self.buffer.push_audio(numbered(start_ms, end_ms))

    def go(self) -> None:
        """Carry everything there is to carry, both ways."""
        while True:
            self.tell(*self.server.events[self.said :])
            self.said = len(self.server.events)
            if (message := self.buffer.next_message()) is None:
                return
            self.server.receive(message)

    def tell(self, *events: Event) -> None:
        for event in events:
            self.told += [told.event for told in self.buffer.on_event(event)]  # type: ignore[arg-type]


def test_nothing_is_sent_before_the_server_has_said_where_to_begin() -> None:
    """Else sound could come to a session that is not ours."""
    wire = Wire()
    wire.speak(0, 10)
    assert wire.buffer.next_message() is None
    wire.go()
    assert wire.server.now_ms == 10


def test_a_stream_that_is_resumed_goes_on_from_the_frame_that_was_received() -> None:
    """What came is not sent again, and what was missed comes once."""
    wire = Wire()
    wire.speak(0, 150)
    wire.go()
    wire.buffer.disconnected()
    wire.speak(150, 180)
    wire.server.think()
    wire.tell(*wire.server.welcome(wire.buffer.seen))
    message = wire.buffer.next_message()
    assert message == numbered(150, 180)
    finals = [event for event in wire.told if isinstance(event, EmotionCompleted)]
    assert len(finals) == 1


def test_a_refusal_is_told_and_moves_nothing() -> None:
    """It has no number: nothing counts as missing, and what was told stays told."""
    wire = Wire()
    wire.speak(0, 150)
    wire.go()
    seen, missing = wire.buffer.seen, wire.buffer.missing
    body = ErrorBody(type="invalid_request_error", code="invalid_json", message="no")
    session = wire.server.session_id
    refusal = ErrorRaised(event_id="event_refused_1", session_id=session, seq=0, error=body)
    wire.tell(refusal, refusal)
    assert wire.told[-2:] == [refusal, refusal]
    assert (wire.buffer.seen, wire.buffer.missing) == (seen, missing)


def test_a_restarted_server_gets_all_sound_after_the_last_final() -> None:
    """The new session's clock begins there, which is what `offset_ms` says."""
    wire = Wire()
    wire.speak(0, 250)
    wire.go()
    wire.server.think()
    wire.go()
    wire.restart("second")
    wire.go()
    assert wire.buffer.offset_ms == 100
    assert wire.server.now_ms == 150


def test_the_finals_of_an_utterance_are_told_together_or_again() -> None:
    """A server that dies between words and emotion would else leave half an utterance."""
    wire = Wire()
    wire.speak(0, 100)
    wire.go()
    wire.server.think()
    wire.tell(wire.server.events[-2])
    assert not any(isinstance(event, TranscriptionCompleted) for event in wire.told)
    wire.restart("second")
    wire.go()
    wire.server.think()
    wire.go()
    kinds = [type(event) for event in wire.told]
    assert kinds.count(TranscriptionCompleted) == kinds.count(EmotionCompleted) == 1


def test_words_whose_emotion_never_comes_are_told_with_the_next_event() -> None:
    """Holding back must not mean losing."""
    wire = Wire()
    wire.speak(0, 100)
    wire.go()
    wire.server.think()
    wire.tell(wire.server.events[-2])
    (held,) = wire.buffer.release()
    assert isinstance(held.event, TranscriptionCompleted)


def test_settings_are_told_again_to_a_restarted_server_before_any_sound() -> None:
    """In one message: later ones were laid over earlier ones, and refused ones left out."""
    wire = Wire()
    turns = {"type": "server_vad", "threshold": 0.7}
    wire.buffer.request(
        "session.update", {"session": {"audio": {"input": {"turn_detection": turns}}}}
    )
    wire.buffer.request("session.update", {"session": {"streamser": {"speaker": "Ann"}}})
    wire.speak(0, 50)
    wire.go()
    wire.restart("second")
    wire.go()
    assert wire.server.settings == [
        {"audio": {"input": {"turn_detection": turns}}, "streamser": {"speaker": "Ann"}}
    ]
    assert wire.server.now_ms == 50


def test_an_empty_commit_is_answered_once() -> None:
    """Its refusal ends it: a restarted server is not asked again."""
    wire = Wire()
    wire.buffer.request("input_audio_buffer.commit")
    wire.go()
    wire.restart("second")
    wire.go()
    errors = [event for event in wire.told if event.seq and type(event).__name__ == "ErrorRaised"]
    assert len(errors) == 1


def test_a_resumption_of_a_session_that_we_never_met_is_astray() -> None:
    """Its beginning was lost on the way: without it nobody knows what the events speak of."""
    wire = Wire()
    wire.go()
    other = PretendSession("other")
    wire.buffer.disconnected()
    with pytest.raises(UnknownSession):
        wire.tell(*other.welcome(1))
    wire.buffer.forget_session()
    wire.tell(*other.welcome(wire.buffer.seen))
    assert isinstance(wire.told[-3], SessionCreated)
    assert wire.told[-3].session_id == "other"


def test_without_a_connection_the_oldest_sound_is_lost_and_counted() -> None:
    """Memory is bounded; the clock of the stream stays true."""
    wire = Wire(keep_s=1.0)
    wire.go()
    wire.buffer.disconnected()
    wire.speak(0, 1500)
    assert wire.buffer.lost == 500 * FRAMES_A_MS
    wire.restart("second")
    wire.go()
    assert wire.buffer.lost == 500 * FRAMES_A_MS
    assert wire.buffer.offset_ms == 500
    assert wire.server.now_ms == 1000


def test_a_resumed_session_gets_silence_in_the_place_of_lost_sound() -> None:
    """Its clock goes on as if nothing had been lost."""
    wire = Wire(keep_s=1.0)
    wire.speak(0, 100)
    wire.go()
    wire.buffer.disconnected()
    wire.speak(100, 1300)
    wire.tell(*wire.server.welcome(wire.buffer.seen))
    wire.said = len(wire.server.events)
    wire.go()
    assert wire.server.now_ms == 1300
    assert wire.buffer.lost == 200 * FRAMES_A_MS
    wire.server.think(2)
    wire.go()
    words = [event for event in wire.told if isinstance(event, TranscriptionCompleted)]
    assert [event.transcript for event in words] == ["0 99", "0 0"]


def test_long_silence_is_settled_by_a_marker_of_our_own() -> None:
    """Else a stream in which nobody speaks would have to be sent again as a whole."""
    wire = Wire(keep_s=8.0, max_utterance_ms=1000)
    for second in range(4):
        wire.speak(second * 1000, second * 1000 + 1000)
        wire.go()
    markers = [event for event in wire.server.events if isinstance(event, Marker)]
    assert markers == []
    wire.server._waiting = [waiting for waiting in wire.server._waiting if callable(waiting)]
    wire.server.think(1)
    wire.go()
    wire.restart("second")
    wire.go()
    # The marker stands at 2 s; speech that has just begun there may not show for a second.
    assert wire.buffer.offset_ms == 1000


def test_the_longest_utterance_fits_twice_in_what_is_kept() -> None:
    """Whoever waits for room would else wait for ever."""
    wire = Wire(keep_s=1.0, max_utterance_ms=2000)
    wire.go()
    wire.speak(0, 3500)
    assert not wire.buffer.full
    wire.speak(3500, 3900)
    assert wire.buffer.full


@pytest.mark.parametrize(("received", "again"), [(-(10**18), 60), (10**18, 0), (8 * 40, 20)])
def test_no_place_that_a_server_names_makes_the_client_send_for_ever(
    received: int, again: int
) -> None:
    """From before the beginning it sends everything, from behind the end nothing."""
    wire = Wire()
    wire.speak(0, 60)
    wire.go()
    wire.buffer.disconnected()
    seq = wire.buffer.seen + 1
    wire.tell(SessionResumed(event_id="e", session_id="first", seq=seq, received_frames=received))
    assert (wire.buffer.next_message() or b"") == numbered(60 - again, 60)
    assert wire.buffer.next_message() is None


def test_a_server_cannot_make_the_client_keep_everything() -> None:
    """Ten minutes are the longest utterance there is."""
    wire = Wire(max_utterance_ms=10**15)
    wire.go()
    wire.buffer.disconnected()
    wire.buffer.push_audio(bytes(2 * RATE * 1300))
    assert wire.buffer.lost == RATE * 100


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(1, 5))
def test_memory_is_bounded_whatever_comes(pieces: list[int], every: int) -> None:
    """Never more than is kept, and one piece, whether anybody listens or not."""
    buffer = ResendBuffer(SOUND, keep_s=1.0)
    at = 0
    for number, piece in enumerate(pieces):
        buffer.push_audio(numbered(0, piece))
        at += piece
        if number % every == 0:
            buffer.disconnected()
        assert buffer.lost == max(0, at - 1000) * FRAMES_A_MS


def test_places_in_the_sound_are_moved_together() -> None:
    """An utterance after a restart stands where it was said."""
    session = PretendSession("s")
    session.receive(numbered(0, 250))
    session.finish()
    moved = [shift_times(event, 1000) for event in session.events]  # type: ignore[arg-type]
    words = [event for event in moved if isinstance(event, TranscriptionCompleted)]
    assert [(event.audio_start_ms, event.emotion.window.end_ms) for event in words] == [
        (1000, 1100),
        (1100, 1200),
        (1200, 1250),
    ]
    assert all(a.audio_end_ms == b.audio_start_ms for a, b in pairwise(words))


def test_finals_that_a_server_cannot_tell_again_are_heard_anew() -> None:
    """Though it has later ones: the sound of what is missing is not taken for settled."""
    wire = Wire()
    wire.speak(0, 250)
    wire.go()
    wire.buffer.disconnected()
    wire.server.think(4)
    later = wire.server.events[-1]
    with pytest.raises(FinalsLost):
        wire.tell(
            later,
            SessionResumed(
                event_id="e",
                session_id="first",
                seq=later.seq + 1,
                received_frames=wire.server.received_frames,
                lost_events=1,
                lost_finals=1,
            ),
        )
    assert wire.buffer.restarts == 0
    wire.buffer.restart_stream()
    wire.restart("second")
    wire.go()
    assert wire.buffer.restarts == 1
    assert wire.server.now_ms == 250
    assert wire.buffer.lost == 0


def test_a_final_that_came_late_is_said_to_be_late() -> None:
    """What says so has the number of the final, and stands for no gap."""
    wire = Wire()
    wire.speak(0, 100)
    wire.go()
    wire.server.think()
    wire.go()
    late: dict[str, Any] = {"dropped": 1, "total": 1, "since_ms": 0, "reason": "late"}
    seen = wire.buffer.seen
    wire.tell(Overload(event_id="e", session_id="first", seq=seen, kind="finals", **late))
    assert isinstance(wire.told[-1], Overload)
    assert (wire.buffer.seen, wire.buffer.missing) == (seen, 0)


def test_a_gap_in_the_numbers_is_noticed() -> None:
    """But for one that an overload stands for."""
    wire = Wire()
    wire.go()
    seen = wire.buffer.seen
    slow: dict[str, Any] = {
        "dropped": 3,
        "total": 3,
        "since_ms": 0,
        "kind": "deltas",
        "reason": "slow",
    }
    wire.tell(Overload(event_id="e", session_id="first", seq=seen + 3, **slow))
    assert wire.buffer.missing == 0
    wire.tell(Marker(event_id="e", session_id="first", seq=seen + 6, id="m", audio_ms=0))
    assert wire.buffer.missing == 2


# What is said of speakers


def told_of_speakers(seq: int, **fields: Any) -> SpeakersChanged:
    """Make the event of who spoke after all."""
    return SpeakersChanged(event_id=f"e{seq}", session_id="s1", seq=seq, **fields)


def said(buffer: ResendBuffer) -> list[str]:
    """Return the types of all messages that are to be sent now, sound left out."""
    types = []
    while (message := buffer.next_message()) is not None:
        if isinstance(message, str):
            types.append(msgspec.json.decode(message)["type"])
    return types


def begun() -> ResendBuffer:
    """Return the buffer of a session that has introduced itself."""
    buffer = ResendBuffer(SOUND)
    for event in PretendSession("s1").events:
        buffer.on_event(cast("SessionEvent", event))
    return buffer


def test_what_was_said_of_speakers_is_said_again_until_it_is_answered() -> None:
    """A correction of the session's own is no answer; one that came while we were away is."""
    buffer = begun()
    seq = buffer.seen
    buffer.request("streamser.speaker.rename", {"speaker": "speaker 1", "name": "Ann"})
    buffer.request("streamser.speaker.forget")
    kinds = ["streamser.speaker.rename", "streamser.speaker.forget"]
    assert said(buffer) == kinds
    own = (SpeakerChange(item_id="i", speaker="speaker 2"),)
    buffer.on_event(told_of_speakers(seq + 1, changes=own))
    buffer.disconnected()
    resumed = SessionResumed(event_id="r", session_id="s1", seq=seq + 2, received_frames=0)
    buffer.on_event(resumed)
    assert said(buffer) == kinds
    buffer.disconnected()
    buffer.on_event(told_of_speakers(seq + 3, renamed={"speaker 1": "Ann"}))
    buffer.on_event(msgspec.structs.replace(resumed, seq=seq + 4))
    assert said(buffer) == kinds[1:]
    buffer.on_event(told_of_speakers(seq + 5))
    buffer.disconnected()
    buffer.on_event(msgspec.structs.replace(resumed, seq=seq + 6))
    assert said(buffer) == []


def test_what_was_said_of_speakers_is_not_said_to_a_session_that_knows_others() -> None:
    """Its labels begin anew, and its utterances have other names."""
    buffer = begun()
    buffer.request("streamser.speaker.assign", {"item_id": "item_s1_1", "name": "Ann"})
    buffer.disconnected()
    buffer.forget_session()
    for event in PretendSession("s2").events:
        buffer.on_event(cast("SessionEvent", event))
    assert said(buffer) == []
