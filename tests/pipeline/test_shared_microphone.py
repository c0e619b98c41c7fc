"""Speakers who share one microphone: told apart by their voices, and labelled as guesses."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from streamser import Analyzer, load_settings
from streamser.audio.clip import Samples
from streamser.errors import ConfigError, ModelError
from streamser.events import (
    EmotionBody,
    EmotionCompleted,
    EmotionDelta,
    Event,
    MoodUpdated,
    SessionClosed,
    SpeakerChange,
    SpeakersChanged,
    TranscriptionCompleted,
    encode_event,
)
from streamser.pipeline.requests import EmotionRequest, Observed, Request
from streamser.pipeline.session import Session
from streamser.server.meetings.meeting import MeetingMood
from streamser.settings import Settings
from tests.pipeline.doubles import (
    APART,
    answer,
    answer_all,
    events_of,
    make_session,
    requests_of,
    speech,
)
from tests.server.recalled import recall, replay

DEMO = Path(__file__).parents[2] / "streamser" / "assets" / "demo.flac"

LOUD, QUIET, SHORT = (2.0, 0.5), (2.0, 0.2), (0.4, 0.5)
PAUSE = (1.0, 0.0)


def in_turn(*turns: tuple[float, float]) -> Samples:
    """Make sound of turns with pauses between."""
    return speech(PAUSE, *(part for turn in turns for part in (turn, PAUSE)))


def resolve(session: Session, request: Request, *, deaf: bool = False) -> list[Event]:
    """Answer a request; a ``deaf`` answer says nothing of the voice."""
    found = answer(request)
    return events_of(session.resolve(request.id, replace(found, voices=()) if deaf else found))


def run(session: Session, sound: Samples) -> list[Event]:
    """Let a session hear everything, and answer its requests at once."""
    told = events_of(session.begin())
    for offset in range(0, len(sound), 800):
        told += answer_all(session, session.push(sound[offset : offset + 800]))
    return told + events_of(session.flush())


def finals(events: list[Event]) -> list[EmotionBody]:
    """Return the judgements of whole utterances."""
    return [event.emotion for event in events if isinstance(event, EmotionCompleted)]


def said_by(events: list[Event]) -> list[tuple[str | None, bool]]:
    """Return who is told to have spoken, and whether that is a guess, by utterance."""
    return [(body.speaker, body.speaker_provisional) for body in finals(events)]


def known(events: list[Event]) -> list[float]:
    """Return how many utterances each final was judged against."""
    return [body.evidence["learnt"] for body in finals(events)]


# A session


def test_voices_that_alternate_get_labels_that_alternate() -> None:
    """In every event that names who spoke, and always as a guess."""
    told = run(make_session(apart=APART), in_turn(LOUD, QUIET, LOUD, QUIET))
    first, second = ("speaker 1", True), ("speaker 2", True)
    assert said_by(told) == [first, second, first, second]
    moods = [event for event in told if isinstance(event, MoodUpdated)]
    assert [(mood.speaker, mood.speaker_provisional) for mood in moods] == said_by(told)
    words = [event.emotion for event in told if isinstance(event, TranscriptionCompleted)]
    assert words == finals(told)


def test_each_voice_is_judged_against_its_own_past() -> None:
    """Another person is another voice: what is usual for the first says nothing of the second."""
    sound = in_turn(LOUD, QUIET, LOUD, LOUD, QUIET)
    assert known(run(make_session(apart=APART), sound)) == [0, 0, 1, 2, 1]
    assert known(run(make_session(), sound)) == [0, 1, 2, 3, 4]


def test_what_still_goes_on_is_of_nobody_and_judged_against_all() -> None:
    """Whose utterance it is, is known at its end only."""
    told = run(make_session(apart=APART), in_turn(LOUD, QUIET, LOUD))
    deltas = [event.emotion for event in told if isinstance(event, EmotionDelta)]
    assert {(body.speaker, body.speaker_provisional) for body in deltas} == {(None, False)}
    assert {body.evidence["learnt"] for body in deltas} == {0, 1, 2}


def test_an_utterance_too_short_to_say_is_of_nobody_until_more_is_heard() -> None:
    """Then it is told whose it was, and what is usual for them takes it in."""
    told = run(make_session(apart=APART), in_turn(SHORT, QUIET, SHORT, LOUD))
    assert said_by(told) == [
        (None, False),
        ("speaker 1", True),
        ("speaker 2", True),
        ("speaker 2", True),
    ]
    assert known(told) == [0, 0, 1, 2]
    (changed,) = (event for event in told if isinstance(event, SpeakersChanged))
    assert changed.changes == (SpeakerChange(item_id="item_s_1", speaker="speaker 2"),)
    places = [event.type for event in told if getattr(event, "item_id", "") == "item_s_3"]
    assert told[told.index(changed) - 1].type == places[-1] == "streamser.emotion.completed"


def test_a_voice_that_could_not_be_described_is_of_nobody() -> None:
    """Its emotion is told all the same, and the next ones are told apart as ever."""
    session = make_session(apart=APART, partial_every_ms=0, words=False)
    session.begin()
    one, two, three = requests_of(session.push(in_turn(LOUD, LOUD, LOUD)))
    told = resolve(session, one) + resolve(session, two, deaf=True) + resolve(session, three)
    assert said_by(told) == [("speaker 1", True), (None, False), ("speaker 1", True)]


def test_where_two_speak_at_once_it_is_nobody_in_particular() -> None:
    """From three tenths of the utterance on; its emotion is told, and the share as evidence."""
    session = make_session(apart=APART, partial_every_ms=0, words=False)
    session.begin()
    told = []
    for share in (0.0, 0.29, 0.3, 0.0):
        (request,) = requests_of(session.push(in_turn(LOUD)))
        found = answer(request)
        assert isinstance(found, Observed)
        told += events_of(session.resolve(request.id, replace(found, overlap=share)))
    assert said_by(told) == [
        ("speaker 1", True),
        ("speaker 1", True),
        (None, True),
        ("speaker 1", True),
    ]
    assert [body.evidence.get("overlap") for body in finals(told)] == [None, 0.29, 0.3, None]
    assert known(told) == [0, 1, 2, 2]


def test_labels_are_given_in_the_order_of_utterances() -> None:
    """Not in that in which the worker thread was done with them."""
    session = make_session(apart=APART, partial_every_ms=0, words=False)
    session.begin()
    one, two = requests_of(session.push(in_turn(QUIET, LOUD)))
    assert resolve(session, two) == []
    assert said_by(resolve(session, one)) == [("speaker 1", True), ("speaker 2", True)]


def test_only_finals_of_sessions_without_a_name_ask_for_voices() -> None:
    """A client's word is better than any guess."""
    for apart, name, asks in (
        (APART, None, True),
        (APART, "Anna", False),
        (None, None, False),
    ):
        session = make_session(apart=apart, speaker=name)
        session.begin()
        output = session.push(in_turn(LOUD, QUIET))
        requests = [request for request in output if isinstance(request, EmotionRequest)]
        assert {request.embed for request in requests if request.clip.final} == {asks}
        assert {request.embed for request in requests if not request.clip.final} == {False}


def test_a_client_that_names_its_speaker_ends_the_guessing() -> None:
    """At once: also of an utterance whose voice has been described by then."""
    session = make_session(apart=APART, partial_every_ms=0, words=False)
    session.begin()
    one, two = requests_of(session.push(in_turn(LOUD, QUIET)))
    told = resolve(session, one)
    session.speakers.reset()
    session.configure(replace(session._config, speaker="Anna"))
    told += resolve(session, two)
    (three,) = requests_of(session.push(in_turn(LOUD)))
    told += resolve(session, three)
    assert said_by(told) == [("speaker 1", True), ("Anna", False), ("Anna", False)]
    assert known(told) == [0, 0, 1]


def test_voices_stay_known_when_a_name_is_taken_back() -> None:
    """One label must not come to mean two people."""
    session = make_session(apart=APART, partial_every_ms=0, words=False)
    session.begin()
    told = []
    for name, turn in ((None, LOUD), ("Anna", LOUD), (None, QUIET), (None, LOUD)):
        session.speakers.reset()
        session.configure(replace(session._config, speaker=name))
        (request,) = requests_of(session.push(in_turn(turn)))
        told += resolve(session, request)
    assert said_by(told) == [
        ("speaker 1", True),
        ("Anna", False),
        ("speaker 2", True),
        ("speaker 1", True),
    ]
    assert known(told) == [0, 0, 0, 1]


def test_a_snapshot_of_a_shared_microphone_holds_what_was_heard_at_it() -> None:
    """As of any other; labels are not carried on, for they mean nothing elsewhere."""
    first, second = make_session(apart=APART), make_session(apart=APART)
    run(first, in_turn(LOUD, QUIET))
    second.speakers.restore(first.speakers.snapshot())
    told = run(second, in_turn(SHORT, QUIET, LOUD))
    assert said_by(told) == [(None, False), ("speaker 1", True), ("speaker 2", True)]
    assert known(told) == [2, 0, 1]


# The whole program, on the bundled conversation between three


def shared(**flags: object) -> Settings:
    """Return settings that tell voices apart by their spectra."""
    asked = {
        "speakers.told_apart": "auto",
        "speakers.embedder": "tests.speech.embedders:SpectralEmbedder",
    }
    given = {f"speakers.{name}": value for name, value in flags.items()}
    return load_settings("voice-only", flags=asked | given, environ={})


def plain(events: list[Event]) -> list[dict[str, Any]]:
    """Strip what differs between two runs by its nature: the session's name."""
    lines = [encode_event(event).decode() for event in events]
    return [msgspec.json.decode(line.replace(events[0].session_id, "S")) for line in lines]


def turns(events: list[Event]) -> dict[str, list[str | None]]:
    """Return the labels that each person of the conversation has in the end, by the script."""
    script = msgspec.json.decode(DEMO.with_suffix(".json").read_bytes())["utterances"]
    labels: dict[str, tuple[EmotionBody, str | None]] = {}
    for event in events:
        if isinstance(event, EmotionCompleted):
            labels[event.item_id] = (event.emotion, event.emotion.speaker)
        elif isinstance(event, SpeakersChanged):
            assert not event.renamed
            for change in event.changes:
                labels[change.item_id] = (labels[change.item_id][0], change.speaker)
    found: dict[str, list[str | None]] = defaultdict(list)
    for body, label in labels.values():
        middle = (body.window.start_ms + body.window.end_ms) / 2
        (line,) = (one for one in script if one["start_ms"] <= middle <= one["end_ms"])
        found[line["speaker"]].append(label)
    return found


@pytest.fixture(scope="module")
def conversation() -> list[Event]:
    """Return the events of the bundled conversation, heard through one microphone."""
    with Analyzer(shared()) as analyzer:
        return list(analyzer.stream(DEMO))


def test_three_who_share_a_microphone_are_told_apart(conversation: list[Event]) -> None:
    """Each has one label in the end, numbered as they come, and every one is called a guess."""
    labels = {name: set(said) for name, said in turns(conversation).items()}
    assert labels == {"Carl": {"speaker 1"}, "Ben": {"speaker 2"}, "Anna": {"speaker 3"}}
    assert all(body.speaker_provisional for body in finals(conversation))


def test_the_same_sound_gets_the_same_labels(conversation: list[Event]) -> None:
    """Also beside another stream on the same device."""
    with Analyzer(shared()) as analyzer:
        one, two = analyzer.stream(DEMO), analyzer.stream(DEMO)
        pairs = list(zip(one, two, strict=True))
    for events in zip(*pairs, strict=True):
        assert plain(list(events)) == plain(conversation)


def test_no_more_are_told_apart_than_there_is_room_for() -> None:
    """Whoever is most alike is taken for one."""
    with Analyzer(shared(most=2)) as analyzer:
        labels = {body.speaker for body in finals(list(analyzer.stream(DEMO)))}
    assert labels == {"speaker 1", "speaker 2"}


def test_a_named_stream_is_heard_as_if_there_were_no_embedder() -> None:
    """Nothing is guessed, and nothing judged in another light."""
    with Analyzer(shared()) as guessing, Analyzer(load_settings("voice-only")) as usual:
        streams = [list(each.stream(DEMO, speaker="Anna")) for each in (guessing, usual)]
    assert plain(streams[0]) == plain(streams[1])


def test_a_meeting_at_one_microphone_knows_who_has_spoken(conversation: list[Event]) -> None:
    """Each guess has its time and its mood; the session itself has none left."""
    meeting = MeetingMood("standup")
    replay(meeting, recall(encode_event(event) for event in conversation))
    closed = conversation[-1]
    assert isinstance(closed, SessionClosed)
    speakers = meeting.state(closed.audio_ms).speakers
    said = turns(conversation)
    assert {one.speaker: one.utterances for one in speakers} == {
        "speaker 1": len(said["Carl"]),
        "speaker 2": len(said["Ben"]),
        "speaker 3": len(said["Anna"]),
    }
    assert all(one.provisional and one.mood is not None for one in speakers)
    assert sum(one.speech_ms for one in speakers) == pytest.approx(closed.speech_ms, abs=30)


@pytest.mark.parametrize(
    ("factory", "error"),
    [("fail", ModelError), ("make_nothing", ConfigError), ("gone", ConfigError)],
)
def test_an_embedder_that_cannot_be_had_ends_a_stream_before_its_first_event(
    factory: str, error: type[Exception]
) -> None:
    """Rather than one person is made of three in silence."""
    settings = shared(embedder=f"tests.speech.embedders:{factory}")
    with Analyzer(settings) as analyzer, pytest.raises(error, match=r"speakers\.embedder"):
        next(analyzer.stream(DEMO))
