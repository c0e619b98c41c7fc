"""Several who speak in one utterance, without a pause: each with a reading of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import Samples
from streamser.emotion.model import Prediction, PredictorModel, Segment
from streamser.events import EmotionCompleted, Event, SpeakerPart
from streamser.pipeline.requests import EmotionRequest, Fault, Observed, Request
from streamser.pipeline.session import Session
from streamser.pipeline.speaker_state import AssignSpeaker, ForgetVoices, RenameSpeaker
from streamser.speech.transcriber import Transcript, Word, said_within
from tests.pipeline.doubles import (
    APART,
    CountingListener,
    LevelVad,
    answer,
    answer_all,
    events_of,
    make_config,
    make_session,
    requests_of,
    speech,
    voices_of,
)
from tests.pipeline.test_shared_microphone import LOUD, QUIET, in_turn, known, run, said_by

PAUSE = (1.0, 0.0)


def at_once(*turns: tuple[float, float]) -> Samples:
    """Make sound of turns without a pause between."""
    return speech(PAUSE, *turns, PAUSE)


def parts_of(events: list[Event]) -> list[tuple[SpeakerPart, ...]]:
    """Return the parts of each utterance."""
    return [event.parts for event in events if isinstance(event, EmotionCompleted)]


def opened(**how: object) -> Session:
    """Begin a session that hears voices alone."""
    session = make_session(apart=APART, partial_every_ms=0, words=False, **how)
    session.begin()
    return session


def hear(session: Session, sound: Samples) -> list[Event]:
    """Let a session hear sound, and answer its requests at once."""
    return answer_all(session, session.push(sound))


def waiting(session: Session, sound: Samples) -> tuple[list[Event], list[Request]]:
    """Let a session hear an utterance of several; return what it asks about its parts."""
    (request,) = requests_of(session.push(sound))
    output = session.resolve(request.id, answer(request))
    return events_of(output), requests_of(output)


def arousal(part: SpeakerPart) -> float:
    """Return how loud a part is, as the doubles read it."""
    assert part.emotion is not None
    assert part.emotion.dimensions.arousal is not None
    return part.emotion.dimensions.arousal


def test_each_who_speaks_in_an_utterance_has_a_reading_of_their_own_sound() -> None:
    """The reading of the whole is of all of it, and of whoever has most of the time."""
    told = run(make_session(apart=APART), at_once((3.0, 0.5), QUIET))
    ((loud, quiet),) = parts_of(told)
    assert (loud.speaker, quiet.speaker) == ("speaker 1", "speaker 2")
    assert loud.end_ms == quiet.start_ms
    assert arousal(loud) > 2 * arousal(quiet)
    (whole,) = (event.emotion for event in told if isinstance(event, EmotionCompleted))
    assert whole.speaker == "speaker 1"
    assert arousal(quiet) < (whole.dimensions.arousal or 0) < arousal(loud)


def test_whoever_speaks_alone_has_no_parts_and_is_asked_about_once() -> None:
    """It costs nothing where nobody is interrupted."""
    session = opened()
    told, asked = waiting(session, in_turn(LOUD))
    assert (asked, parts_of(told)) == ([], [()])


def test_parts_are_asked_about_once_it_is_known_whose_they_are() -> None:
    """The very sound of each, as of an utterance that is over; the final waits for them."""
    session = opened()
    told, asked = waiting(session, at_once(LOUD, QUIET))
    assert told == []
    first, second = asked
    assert isinstance(first, EmotionRequest)
    assert isinstance(second, EmotionRequest)
    assert first.clip.end == second.clip.start
    for request in (first, second):
        assert (request.droppable, request.embed, request.place) == (False, False, None)
        assert len(request.heard) == len(request.clip.samples)
    assert events_of(session.resolve(second.id, answer(second))) == []
    assert len(parts_of(events_of(session.resolve(first.id, answer(first))))) == 1


def test_each_part_is_judged_by_its_own_speakers_past_and_adds_to_it() -> None:
    """Not by what the other said in the same breath."""
    session = opened()
    hear(session, in_turn(LOUD, LOUD, QUIET))
    told = hear(session, at_once(LOUD, QUIET))
    assert known(told) == [2]
    told = hear(session, in_turn(LOUD, QUIET))
    assert known(told) == [3, 2]
    # What is usual at the microphone has taken in the whole, once.
    assert session.speakers.snapshot().speaker == b"6"


def test_parts_too_short_to_be_read_have_no_reading() -> None:
    """Nor does their speaker learn of the other's sound."""
    session = opened()
    hear(session, in_turn(LOUD, QUIET))
    ((before, short, after),) = parts_of(hear(session, at_once((3.0, 0.5), (2.5, 0.2), (3.0, 0.5))))
    assert None not in (before.emotion, after.emotion)
    assert (short.speaker, short.emotion) == ("speaker 2", None)
    assert short.end_ms - short.start_ms < 1_000
    assert known(hear(session, in_turn(QUIET))) == [1]


def test_a_part_that_cannot_be_read_goes_without() -> None:
    """The whole is told all the same."""
    session = opened()
    _, (first, second) = waiting(session, at_once(LOUD, QUIET))
    session.resolve(first.id, Fault("model_unavailable", "the models are gone"))
    ((loud, quiet),) = parts_of(events_of(session.resolve(second.id, answer(second))))
    assert loud.emotion is None
    assert quiet.emotion is not None


def test_utterances_after_it_wait_for_its_parts() -> None:
    """Events keep the order of utterances, and the end of a session comes after all of them."""
    session = opened()
    _, (first, second) = waiting(session, at_once(LOUD, QUIET))
    later = hear(session, in_turn(LOUD)) + events_of(session.flush())
    assert said_by(later) == []
    assert not session.closed
    session.resolve(second.id, answer(second))
    told = events_of(session.resolve(first.id, answer(first)))
    assert [len(parts) for parts in parts_of(told)] == [2, 0]
    assert session.closed


def test_a_name_given_while_parts_are_read_holds_for_them() -> None:
    """And what was said meanwhile of who speaks, too."""
    for order, labels in (
        (RenameSpeaker("speaker 1", "Ann"), ["Ann", "speaker 2"]),
        (AssignSpeaker("item_s_1", "Ann"), []),
        (ForgetVoices(), []),
    ):
        session = opened()
        _, asked = waiting(session, at_once(LOUD, QUIET))
        session.name_speakers(order)
        told = [each for one in asked for each in events_of(session.resolve(one.id, answer(one)))]
        (parts,) = parts_of(told)
        assert [part.speaker for part in parts] == labels
        assert said_by(told) == [((None, False) if order == ForgetVoices() else ("Ann", True))]


def test_a_correction_moves_what_was_learnt_of_a_part() -> None:
    """Whoever is given an utterance has all of its parts from then on."""
    session = opened()
    hear(session, in_turn(LOUD, QUIET))
    hear(session, at_once(LOUD, QUIET))
    session.name_speakers(AssignSpeaker("item_s_3", "speaker 1"))
    told = hear(session, in_turn(LOUD))
    assert known(told) == [3]


class Loudness:
    """A model of one method."""

    name = "loudness"
    modalities: tuple[str, ...] = ("audio",)

    def predict(self, segments: Sequence[Segment]) -> list[Prediction]:
        """Judge loudness as arousal."""
        return [
            CountingListener().predict(float(np.quantile(np.abs(each.samples), 0.9)))
            for each in segments
        ]


def test_a_model_of_one_method_judges_each_part_too() -> None:
    """It is asked about the sound of the part, as about any clip."""
    model = PredictorModel(Loudness())
    config = make_config(apart=APART, partial_every_ms=0, words=False)
    session = Session(config, LevelVad(), model.new_speaker)
    output = [*session.begin(), *session.push(at_once(LOUD, QUIET))]
    told = events_of(output)
    while requests := requests_of(output):
        output = []
        for request in requests:
            assert isinstance(request, EmotionRequest)
            (found,) = model.extract([Segment(request.heard, None)])
            voices = voices_of(request.clip) if request.embed else None
            output += session.resolve(request.id, Observed(found, voices))
        told += events_of(output)
    ((loud, quiet),) = parts_of(told)
    assert arousal(loud) > 2 * arousal(quiet) > 0


def test_a_part_is_read_with_the_words_that_were_said_in_it() -> None:
    """Those whose middle lies in it; of words without times nobody knows where they belong."""
    text = "you never listen I do"
    spoken = zip(text.split(), range(0, 50_000, 10_000), strict=True)
    words = tuple(Word(word, at, at + 8_000) for word, at in spoken)
    transcript = Transcript(text, words, confidence=0.9)
    assert said_within(transcript, 0, 30_000) == "you never listen"
    assert said_within(transcript, 30_000, 90_000) == "I do"
    assert said_within(transcript, 60_000, 90_000) is None
    assert said_within(replace(transcript, words=()), 0, 90_000) is None
    assert said_within(replace(transcript, text="something else"), 0, 90_000) is None


def test_words_reach_the_parts_of_a_session_that_is_transcribed() -> None:
    """Each part's request has its own words, with the recogniser's certainty."""
    session = make_session(apart=APART, partial_every_ms=0)
    session.begin()
    output = session.push(at_once(LOUD, QUIET))
    text = ""
    asked: list[EmotionRequest] = []
    while requests := requests_of(output):
        output = []
        for request in requests:
            found = answer(request)
            if isinstance(found, Transcript):
                text, start = found.text, request.clip.start
                places = enumerate(text.split())
                words = (
                    Word(word, start + 8_000 * n, start + 8_000 * (n + 1)) for n, word in places
                )
                found = replace(found, words=tuple(words), confidence=0.8)
            if isinstance(request, EmotionRequest) and request.part:
                asked.append(request)
            output += session.resolve(request.id, found)
    assert [request.certainty for request in asked] == [0.8, 0.8]
    assert " ".join(request.text or "" for request in asked) == text
    assert all(request.text for request in asked)
