"""The voice never waits for the words: what is told while a recogniser is still at work."""

from __future__ import annotations

from msgspec.structs import replace

from streamser.events import (
    EmotionCompleted,
    EmotionDelta,
    EmotionProvisional,
    Event,
    SessionClosed,
    SpeechStarted,
    SpeechStopped,
    TranscriptionCompleted,
    TranscriptionFailed,
    TranscriptPartial,
)
from streamser.pipeline.requests import (
    Cancel,
    EmotionRequest,
    Fault,
    Request,
    Skipped,
    WordsRequest,
)
from streamser.pipeline.session import Output, Session
from streamser.speech.transcriber import Transcript
from tests.pipeline.doubles import answer, events_of, make_session, requests_of, speech

UTTERANCE = ((0.5, 0.0), (1.2, 0.3), (0.7, 0.0))


class Talk:
    """Drive a session whose recogniser answers when the test says so, and others at once."""

    def __init__(self, session: Session | None = None) -> None:
        self.session = session or make_session()
        self.told = events_of(self.session.begin())
        self.words: list[WordsRequest] = []
        self.asked: list[Request] = []

    def hear(self, *pattern: tuple[float, float]) -> None:
        """Push sound in blocks of 20 ms."""
        sound = speech(*pattern)
        for offset in range(0, len(sound), 320):
            self.carry(self.session.push(sound[offset : offset + 320]))

    def carry(self, output: list[Output]) -> None:
        """Take a session's output, and answer what is asked of the emotion model."""
        self.told += events_of(output)
        gone = {item.request_id for item in output if isinstance(item, Cancel)}
        self.words = [request for request in self.words if request.id not in gone]
        for request in requests_of(output):
            self.asked.append(request)
            if isinstance(request, WordsRequest):
                self.words.append(request)
            else:
                self.carry(self.session.resolve(request.id, answer(request)))

    def understand(
        self, text: str = "so it is", distrust: str = "", confidence: float | None = None
    ) -> None:
        """Let the recogniser answer everything that waits."""
        waiting, self.words = self.words, []
        for request in waiting:
            heard = Transcript(text, distrust=distrust, confidence=confidence)
            self.carry(self.session.resolve(request.id, heard))

    def of(self, kind: type[Event]) -> list[Event]:
        """Return what was told of one kind."""
        return [event for event in self.told if isinstance(event, kind)]


def texts(talk: Talk, *, final: bool) -> list[str | None]:
    """Return the words that emotion was read from."""
    requests = [
        request
        for request in talk.asked
        if isinstance(request, EmotionRequest) and request.clip.final == final
    ]
    return [request.text for request in requests]


def test_readings_of_the_voice_come_while_the_recogniser_has_not_said_a_word() -> None:
    """One for each half second of speech, with no transcript anywhere."""
    talk = Talk()
    talk.hear((0.5, 0), (2.2, 0.3))
    assert len(talk.of(EmotionDelta)) == 4
    assert talk.of(TranscriptPartial) == []
    assert texts(talk, final=False) == [None] * 4


def test_readings_of_the_voice_take_the_words_known_so_far() -> None:
    """Those of the latest partial that is to be believed."""
    talk = Talk()
    talk.hear((0.5, 0), (1.1, 0.3))
    talk.understand("so it")
    talk.hear((0.5, 0.3))
    talk.understand("thank you thank you", distrust="repetitive")
    talk.hear((0.5, 0.3))
    assert texts(talk, final=False) == [None, None, "so it", "so it"]


def test_how_sure_the_recogniser_is_goes_with_its_words() -> None:
    """Of partials and finals; what it does not say is not known."""
    talk = Talk()
    talk.hear((0.5, 0), (1.1, 0.3))
    talk.understand("so it", confidence=0.4)
    talk.hear((0.5, 0.3))
    talk.understand("so it", confidence=0.7)
    talk.hear((0.5, 0.3), (2.0, 0))
    talk.understand()
    certainties = {
        (request.text, request.clip.final): request.certainty
        for request in talk.asked
        if isinstance(request, EmotionRequest)
    }
    assert certainties == {
        (None, False): None,
        ("so it", False): 0.7,
        (None, True): None,
        ("so it is", True): None,
    }


def test_words_that_are_there_in_time_leave_nothing_to_tell_of_the_voice_alone() -> None:
    """The final has both."""
    talk = Talk()
    talk.hear((0.5, 0), (1.2, 0.3), (0.4, 0))
    talk.understand()
    talk.hear((2.0, 0))
    assert len(talk.of(EmotionCompleted)) == 1
    assert talk.of(EmotionProvisional) == []
    assert texts(talk, final=True) == [None, "so it is"]


def test_a_voice_whose_words_are_late_is_told_of_alone_and_the_final_follows() -> None:
    """300 ms after the end of the utterance, once, as what it is."""
    talk = Talk()
    talk.hear(*UTTERANCE)
    assert talk.of(SpeechStopped)
    assert talk.of(EmotionProvisional) == []
    talk.hear((0.3, 0))
    (early,) = talk.of(EmotionProvisional)
    talk.hear((2.0, 0))
    assert talk.of(EmotionCompleted) == []
    talk.understand()
    (final,) = talk.of(EmotionCompleted)
    assert isinstance(early, EmotionProvisional)
    assert isinstance(final, EmotionCompleted)
    assert early.item_id == final.item_id
    assert early.emotion.window == final.emotion.window
    assert len(talk.of(EmotionProvisional)) == 1


def test_how_fast_it_was_spoken_is_measured_once_and_told_with_the_final() -> None:
    """With the voice alone, which comes first; no reading on the way asks."""
    talk = Talk()
    talk.hear(*UTTERANCE)
    talk.understand()
    (final,) = talk.of(EmotionCompleted)
    asked = [each for each in talk.asked if isinstance(each, EmotionRequest)]
    assert [each.tempo for each in asked if each.clip.final] == [True, False]
    assert not any(each.tempo for each in asked if not each.clip.final)
    assert isinstance(final, EmotionCompleted)
    assert final.emotion.evidence["speech_rate"] == 4.0


def test_a_voice_is_told_of_at_its_place_however_long_the_pieces_of_sound() -> None:
    """Before whatever is said after it."""
    talk = Talk()
    talk.hear(*UTTERANCE)
    talk.carry(talk.session.push(speech((1.0, 0.0), (1.0, 0.3))))
    kinds = [type(event) for event in talk.told]
    assert kinds.index(EmotionProvisional) < len(kinds) - 1 - kinds[::-1].index(SpeechStarted)


def test_time_passes_also_where_no_sound_comes() -> None:
    """A client that sends nothing in pauses is told of the voice as soon."""
    talk = Talk()
    talk.hear(*UTTERANCE)
    assert talk.session.waits_for_time
    talk.carry(talk.session.lapse(1600))
    assert talk.of(EmotionProvisional) == []
    talk.carry(talk.session.lapse(8000))
    assert len(talk.of(EmotionProvisional)) == 1
    assert not talk.session.waits_for_time


def test_a_reading_of_the_voice_teaches_nothing_before_its_final() -> None:
    """Else each utterance whose words are late would be learnt twice."""
    talk = Talk()
    talk.hear(*UTTERANCE, (0.5, 0))
    talk.understand()
    talk.hear(*UTTERANCE, (0.5, 0))
    talk.understand()
    learnt = [
        event.emotion.evidence["learnt"]
        for event in talk.told
        if isinstance(event, EmotionProvisional | EmotionCompleted)
    ]
    assert learnt == [0, 0, 1, 1]


def test_where_nothing_was_understood_the_voice_is_not_read_again() -> None:
    """What was found of it alone is the final."""
    for text, distrust in (("", ""), ("thank you", "no_speech")):
        talk = Talk()
        talk.hear(*UTTERANCE)
        talk.understand(text, distrust)
        assert len(talk.of(EmotionCompleted)) == 1
        assert texts(talk, final=True) == [None]


def test_a_recogniser_that_fails_fails_the_utterance_although_its_voice_was_told_of() -> None:
    """What comes to nothing is said, and counted once."""
    talk = Talk()
    talk.hear(*UTTERANCE, (0.5, 0))
    (request,) = talk.words
    talk.carry(talk.session.resolve(request.id, Fault("worker_died", "it died")))
    talk.carry(talk.session.flush())
    (closed,) = talk.of(SessionClosed)
    assert isinstance(closed, SessionClosed)
    assert (closed.utterances, closed.failed) == (1, 1)
    assert len(talk.of(TranscriptionFailed)) == 1
    assert talk.of(EmotionCompleted) == []


def test_a_voice_that_was_left_out_is_read_with_its_words() -> None:
    """Under pressure the final is enough."""
    session = make_session(partial_every_ms=0)
    session.begin()
    words, voice = requests_of(session.push(speech(*UTTERANCE)))
    assert isinstance(voice, EmotionRequest)
    assert voice.droppable
    assert not words.droppable
    session.resolve(voice.id, Skipped("full"))
    (final,) = requests_of(session.resolve(words.id, Transcript("so it is")))
    told = events_of(session.resolve(final.id, answer(final)))
    assert [type(event) for event in told[1:3]] == [TranscriptionCompleted, EmotionCompleted]


def test_words_that_come_first_call_the_reading_of_the_voice_alone_off() -> None:
    """It would only be in the way of the one that has both."""
    session = make_session(partial_every_ms=0)
    session.begin()
    words, voice = requests_of(session.push(speech(*UTTERANCE)))
    output = session.resolve(words.id, Transcript("so it is"))
    assert Cancel("s", voice.id) in output
    (final,) = requests_of(output)
    assert not final.droppable
    assert session.resolve(voice.id, answer(voice)) == []


def test_a_model_that_reads_words_alone_is_asked_only_about_words() -> None:
    """Nothing can be said of a voice while its words are missing."""
    session = make_session()
    session.configure(replace(session._config, reads_voice=False))
    talk = Talk(session)
    talk.hear(*UTTERANCE, (1.0, 0))
    assert not [request for request in talk.asked if isinstance(request, EmotionRequest)]
    talk.understand()
    assert texts(talk, final=True) == ["so it is"]
    assert len(talk.of(EmotionCompleted)) == 1
    assert talk.of(EmotionProvisional) == []


def test_a_model_that_reads_voices_alone_is_not_asked_twice() -> None:
    """Words are told, and change nothing of what was found."""
    session = make_session()
    session.configure(replace(session._config, reads_words=False))
    talk = Talk(session)
    talk.hear(*UTTERANCE)
    talk.understand()
    assert texts(talk, final=True) == [None]
    (told,) = talk.of(TranscriptionCompleted)
    assert isinstance(told, TranscriptionCompleted)
    assert told.transcript == "so it is"


def test_in_an_ordered_session_each_reading_has_the_words_of_its_own_sound() -> None:
    """Files give the same however long the recogniser takes, and no voice alone."""
    talk = Talk(make_session(ordered=True))
    talk.hear(*UTTERANCE, (2.0, 0))
    assert talk.of(EmotionDelta) == talk.of(EmotionProvisional) == []
    talk.understand()
    assert set(texts(talk, final=False) + texts(talk, final=True)) == {"so it is"}
    assert len(talk.of(EmotionDelta)) == 2
    assert len(talk.of(EmotionCompleted)) == 1
