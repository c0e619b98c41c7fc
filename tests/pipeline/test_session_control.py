"""What a client may do to a session while it goes on: commit, clear, set up anew."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from streamser.audio.clip import Samples, to_samples
from streamser.events import (
    Cleared,
    Committed,
    EmotionCompleted,
    Event,
    Marker,
    SessionResumed,
    SessionUpdated,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionDelta,
)
from streamser.pipeline.emitter import RefusedError
from streamser.pipeline.requests import Cancel, EmotionRequest
from streamser.pipeline.session import Output, Session
from streamser.pipeline.session_config import SessionConfig
from streamser.speech.endpointing import EndpointerSettings
from tests.pipeline.doubles import answer, events_of, make_session, requests_of, speech

E = TypeVar("E", bound=Event)


class Client:
    """Drive a session and answer its requests at once; keep all that was told."""

    def __init__(self, session: Session | None = None) -> None:
        self.session = make_session() if session is None else session
        self.told: list[Event] = []
        self.carry(self.session.begin())

    def carry(self, output: list[Output]) -> list[Event]:
        """Answer the requests of an output; return the events of it and of the answers."""
        told = events_of(output)
        self.told += told
        for request in requests_of(output):
            told += self.carry(self.session.resolve(request.id, answer(request)))
        return told

    def say(self, *pattern: tuple[float, float]) -> None:
        """Push sound in small pieces."""
        sound = speech(*pattern)
        for offset in range(0, len(sound), 400):
            self.carry(self.session.push(sound[offset : offset + 400]))

    def change(self, **fields: object) -> list[Event]:
        """Set the session up anew, but for these fields as it is."""
        profile: SessionConfig = replace(self.session._config, **fields)
        return self.carry(self.session.configure(profile))

    def of(self, kind: type[E]) -> list[E]:
        """Return all events of a kind so far."""
        return [event for event in self.told if isinstance(event, kind)]


def test_a_commit_ends_the_utterance_that_is_open() -> None:
    """Its finals follow at once; no pause is waited for."""
    client = Client()
    client.say((0.5, 0), (1.0, 0.3))
    told = client.carry(client.session.commit())
    assert [type(event) for event in told[:2]] == [SpeechStopped, Committed]
    assert isinstance(told[0], SpeechStopped)
    assert told[0].reason == "commit"
    assert len(client.of(EmotionCompleted)) == 1


def test_an_utterance_ends_where_no_sound_comes_any_more() -> None:
    """Who sends nothing in pauses gets a final, and the next utterance is one of its own."""
    client = Client()
    client.say((0.5, 0), (1.0, 0.3))
    assert client.session.waits_for_time
    client.carry(client.session.mark("m"))
    client.carry(client.session.lapse(to_samples(1999)))
    assert not client.of(SpeechStopped)
    told = client.carry(client.session.lapse(to_samples(1)))
    assert isinstance(told[0], SpeechStopped)
    assert told[0].reason == "no_sound"
    assert len(client.of(EmotionCompleted)) == 1
    assert len(client.of(Marker)) == 1
    assert not client.session.waits_for_time
    client.say((1.0, 0.3), (1.0, 0))
    assert len(client.of(EmotionCompleted)) == 2
    assert client.of(SpeechStopped)[-1].reason == "pause"


def test_sound_that_comes_again_in_time_belongs_to_the_same_utterance() -> None:
    """Lines stall; each stall is a new one. Nor does it count where sound waits to be heard."""
    client = Client()
    for _ in range(3):
        client.say((0.6, 0.3))
        client.carry(client.session.lapse(to_samples(1500)))
        client.carry(client.session.lapse(to_samples(5000), all_heard=False))
    client.say((1.0, 0))
    (stopped,) = client.of(SpeechStopped)
    assert stopped.reason == "pause"


@pytest.mark.parametrize("fields", [{"ordered": True}, {"manual": True}, {"no_sound": 0}])
def test_where_time_says_nothing_an_utterance_waits_for_its_sound(fields: dict[str, Any]) -> None:
    """In order no timing may matter, by hand the client decides, and it can be switched off."""
    client = Client()
    client.change(**fields)
    client.say((0.5, 0), (1.0, 0.3))
    assert not client.session.waits_for_time
    client.carry(client.session.lapse(to_samples(60_000)))
    assert not client.of(SpeechStopped)


def test_a_word_that_has_just_begun_holds_up_no_marker_where_no_sound_comes() -> None:
    """It was too short to be one."""
    client = Client()
    client.say((0.5, 0), (0.07, 0.3))
    client.carry(client.session.mark("m"))
    assert not client.of(Marker)
    client.carry(client.session.lapse(to_samples(2000)))
    assert len(client.of(Marker)) == 1


def test_with_nothing_open_a_commit_is_an_error_unless_told_to_be_lenient() -> None:
    """The client's message is named; the session goes on."""
    client = Client()
    client.say((0.5, 0))
    with pytest.raises(RefusedError) as refused:
        client.session.commit("m1")
    body = refused.value.body
    assert (body.code, body.event_id) == ("input_audio_buffer_commit_empty", "m1")
    assert client.carry(client.session.commit(lenient=True)) == []
    client.say((1.0, 0.3), (1.0, 0))
    assert len(client.of(EmotionCompleted)) == 1


def test_a_cleared_utterance_leaves_nothing_but_its_beginning() -> None:
    """No final, no place in the chain; a request for it is taken back."""
    client = Client()
    client.say((0.5, 0), (1.0, 0.3))
    late = client.session.push(speech((0.4, 0)))
    assert requests_of(late), "the speculative final has begun"
    output = client.session.clear()
    assert [item for item in output if isinstance(item, Cancel)]
    assert isinstance(client.carry(output)[-1], Cleared)
    client.say((1.0, 0.3), (1.0, 0))
    assert len(client.of(SpeechStarted)) == 2
    (committed,) = client.of(Committed)
    assert committed.previous_item_id is None
    assert committed.item_id == client.of(SpeechStarted)[1].item_id
    assert client.of(SpeechStarted)[0].item_id != committed.item_id


def test_markers_behind_a_cleared_utterance_are_echoed() -> None:
    """All about the sound before them has been told: there is nothing."""
    client = Client()
    client.say((0.5, 0), (1.0, 0.3))
    client.carry(client.session.mark("here"))
    assert client.of(Marker) == []
    client.carry(client.session.clear())
    assert [marker.id for marker in client.of(Marker)] == ["here"]


def test_markers_that_wait_are_bounded() -> None:
    """Who stops in the middle of a word cannot fill the memory with them."""
    client = Client()
    client.say((0.5, 0), (1.0, 0.3))
    for n in range(1000):
        client.carry(client.session.mark(f"m{n}"))
    with pytest.raises(RefusedError) as refused:
        client.session.mark("one more")
    assert refused.value.body.code == "too_many_markers"
    client.carry(client.session.flush())
    assert len(client.of(Marker)) == 1000


def test_by_hand_every_sound_between_commits_is_one_utterance() -> None:
    """Exactly so long, silence and all."""
    client = Client()
    client.change(manual=True)
    client.say((0.3, 0), (0.4, 0.3))
    client.carry(client.session.commit())
    client.say((0.5, 0.3))
    client.carry(client.session.commit())
    windows = [event.emotion.window for event in client.of(EmotionCompleted)]
    assert [(w.start_ms, w.end_ms) for w in windows] == [(0, 700), (700, 1200)]
    chain = [event.previous_item_id for event in client.of(Committed)]
    assert chain == [None, client.of(Committed)[0].item_id]


def test_another_hangover_holds_from_the_next_pause() -> None:
    """The utterance that is open ends as it was begun; the answer says what is in force."""
    client = Client()
    client.say((0.5, 0), (1.0, 0.3))
    (updated,) = client.change(endpointing=EndpointerSettings.from_ms(silence_ms=100))
    assert isinstance(updated, SessionUpdated)
    assert updated.session.silence_ms == 100
    client.say((0.3, 0))
    assert client.of(SpeechStopped) == []
    client.say((0.4, 0), (1.0, 0.3), (0.3, 0))
    assert len(client.of(SpeechStopped)) == 2


def test_a_longer_utterance_fits_after_a_change() -> None:
    """What must be remembered grows with what may be asked for."""
    client = Client(make_session(max_length_ms=1000))
    client.change(endpointing=EndpointerSettings.from_ms(max_length_ms=6000))
    client.say((0.5, 0), (5.0, 0.3), (1.0, 0))
    (final,) = client.of(EmotionCompleted)
    assert final.emotion.window.end_ms - final.emotion.window.start_ms > 5000


def test_the_speaker_can_change() -> None:
    """Later events name the new one."""
    client = Client()
    client.change(speaker="Ann")
    client.say((0.5, 0), (1.0, 0.3), (1.0, 0))
    assert client.of(EmotionCompleted)[0].emotion.speaker == "Ann"


def test_without_words_no_request_asks_for_any() -> None:
    """And no transcript is told."""
    session = make_session()
    profile = session._config
    session.begin()
    session.configure(replace(profile, models=replace(profile.models, asr=None)))
    output = session.push(speech((0.5, 0), (1.0, 0.3), (1.0, 0)))
    assert requests_of(output)
    assert all(isinstance(request, EmotionRequest) for request in requests_of(output))


def test_the_order_of_events_can_only_be_chosen_before_sound() -> None:
    """Afterwards there are numbers that cannot be taken back."""
    client = Client()
    client.change(ordered=True)
    client.say((0.1, 0))
    with pytest.raises(ValueError, match="order"):
        client.change(ordered=False)


def test_faults_and_returns_are_numbered_with_the_rest() -> None:
    """So that the sequence has no gaps."""
    client = Client()
    client.carry(client.session.report("idle_timeout", "nothing came"))
    client.carry(client.session.welcome_back(received_frames=123))
    client.carry(client.session.flush())
    assert [event.seq for event in client.told] == list(range(1, len(client.told) + 1))
    assert client.of(SessionResumed)[0].received_frames == 123


def test_deltas_add_up_to_the_transcript() -> None:
    """Where the final agrees with what was settled before."""
    client = Client()
    client.say((0.5, 0), (3.0, 0.3), (1.0, 0))
    (final,) = client.of(TranscriptionCompleted)
    deltas = client.of(TranscriptionDelta)
    assert len(deltas) > 1
    assert "".join(event.delta for event in deltas) == final.transcript


actions = st.lists(
    st.sampled_from(["speech", "silence", "commit", "clear", "manual", "vad", "mark", "short"]),
    max_size=14,
)


@given(actions)
@settings(max_examples=60)
def test_whatever_a_client_does_every_committed_item_gets_one_final(steps: list[str]) -> None:
    """Numbers without gaps, a chain without holes, one final each, positions that never go back."""
    client = Client()
    sound: dict[str, Samples] = {
        "speech": speech((0.6, 0.3)),
        "silence": np.zeros(9000, np.float32),
        "short": speech((0.01, 0.3)),
    }
    for step in steps:
        if step in sound:
            client.carry(client.session.push(sound[step]))
        elif step == "commit":
            with suppress(RefusedError):
                client.carry(client.session.commit())
        elif step == "clear":
            client.carry(client.session.clear())
        elif step == "mark":
            client.carry(client.session.mark("m"))
        else:
            client.change(manual=step == "manual")
    client.carry(client.session.flush())
    assert client.session.closed
    assert [event.seq for event in client.told] == list(range(1, len(client.told) + 1))
    committed = client.of(Committed)
    assert [event.previous_item_id for event in committed] == [
        None,
        *(event.item_id for event in committed),
    ][: len(committed)]
    finals = [event.item_id for event in client.of(EmotionCompleted)]
    assert finals == [event.item_id for event in committed]
    assert len(client.of(Marker)) == steps.count("mark")
    spans = [event.emotion.window for event in client.of(EmotionCompleted)]
    assert all(a.end_ms <= b.start_ms + 1 for a, b in pairwise(spans))
