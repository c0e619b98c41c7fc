from __future__ import annotations

import hashlib
import json
from typing import Any, cast

import msgspec
import pytest

from streamser.errors import ConfigError
from streamser.events import (
    AudioFormat,
    EmotionCompleted,
    ErrorBody,
    ErrorRaised,
    Event,
    Marker,
    MoodUpdated,
    Overload,
    SpeakerPart,
    SpeechStarted,
    SpeechStopped,
    TranscriptionDelta,
    TranscriptPartial,
    WordTiming,
    decode_event,
    encode_event,
)
from streamser.server.dialects.commands import (
    Append,
    Commit,
    Finish,
    Hangup,
    LanguageSupport,
    Mark,
    StreamSettings,
)
from streamser.server.dialects.deepgram import DeepgramDialect, ListenOptions, parse_listen
from streamser.settings import EndpointingSettings, PartialSettings
from streamser.taxonomy import Dimensions
from tests.cli.samples import ENVELOPE, closed, created, emotion, failed, felt, said, sounded

BASE = StreamSettings(
    format=AudioFormat(type="audio/pcm", rate=24_000),
    endpointing=EndpointingSettings(silence_ms=700, tail_ms=300),
    partial=PartialSettings(),
)
KNOWN = {"Results", "Metadata", "SpeechStarted", "UtteranceEnd", "Error"}
"""What their libraries know; all else reaches their users as nothing."""


def options(**query: str) -> ListenOptions:
    """Read a query that gives each name once."""
    return parse_listen({name: [value] for name, value in query.items()}, BASE)


def dialect(asr: str | None = "faster-whisper/tiny.en", **query: str) -> DeepgramDialect:
    """Speak with a client that has just connected."""
    made = DeepgramDialect("r1", "2026-11-26T20:00:00Z", options(**query))
    assert made.encode(created(asr)) == []
    return made


def told(speaker: DeepgramDialect, *events: Event) -> list[dict[str, Any]]:
    """List what a client is told of events."""
    return [json.loads(message) for event in events for message in speaker.encode(event)]


def started(start_ms: int = 1000, item: str = "item_s_1") -> SpeechStarted:
    """Make the start of an utterance."""
    return SpeechStarted(**ENVELOPE, item_id=item, audio_start_ms=start_ms)


def stopped(reason: Any = "pause", end_ms: int = 3000, item: str = "item_s_1") -> SpeechStopped:
    """Make the end of an utterance."""
    return SpeechStopped(**ENVELOPE, item_id=item, audio_end_ms=end_ms, reason=reason)


def heard(text: str = "so far") -> TranscriptPartial:
    """Make what is understood of an utterance that goes on."""
    return TranscriptPartial(
        **ENVELOPE,
        item_id="item_s_1",
        text=text,
        committed="",
        revisable=text,
        audio_start_ms=1000,
        audio_end_ms=1750,
    )


def echo(marker: str, audio_ms: int = 9000) -> Marker:
    """Make the echo of a marker."""
    return Marker(**ENVELOPE, id=marker, audio_ms=audio_ms)


# The query


def test_nothing_asked_is_linear16_at_16_khz_cut_as_the_server_cuts() -> None:
    """All else is as the server has it; interim results and events of speech are not told."""
    assert options() == ListenOptions(
        settings=msgspec.structs.replace(
            BASE, format=AudioFormat(type="audio/pcm", rate=16_000, encoding="s16le")
        ),
        named=False,
    )


@pytest.mark.parametrize(
    ("query", "form"),
    [
        ({"encoding": "linear16", "sample_rate": "44100"}, ("audio/pcm", 44_100, "s16le")),
        ({"encoding": "linear32", "sample_rate": "8000"}, ("audio/pcm", 8_000, "f32le")),
        ({"encoding": "MULAW", "sample_rate": "8000"}, ("audio/pcmu", None, "s16le")),
        ({"encoding": "alaw", "channels": "1"}, ("audio/pcma", None, "s16le")),
    ],
)
def test_encodings_are_ours_by_other_names(query: dict[str, str], form: tuple[Any, ...]) -> None:
    """Each gives the format that the decoder knows."""
    got = options(**query).settings.format
    assert (got.type, got.rate, got.encoding) == form


def test_languages_count_without_their_region_and_unknown_ones_are_refused() -> None:
    """Who asks for detection gets it; who asks for what cannot be heard is told so."""
    english = LanguageSupport("faster-whisper/tiny.en", frozenset({"en"}))
    for code, expected in (("en-US", "en"), ("multi", None), ("", None)):
        assert parse_listen({"language": [code]}, BASE, english).settings.language == expected
    with pytest.raises(ConfigError, match=r"'de'.*tiny.en knows only English") as refused:
        parse_listen({"language": ["de"]}, BASE, english)
    assert refused.value.code == "unsupported_language"


def test_every_option_is_heard_and_what_only_spells_is_ignored() -> None:
    """Of a parameter that comes twice the last counts."""
    got = parse_listen(
        {
            "encoding": ["linear16"],
            "interim_results": ["false", "true"],
            "vad_events": ["True"],
            "utterance_end_ms": ["1000"],
            "endpointing": ["300"],
            "model": ["nova-3"],
            "language": ["de"],
            "smart_format": ["whatever"],
            "keyterm": [],
        },
        BASE,
    )
    assert got.named
    assert got.interim_results
    assert got.vad_events
    assert got.endpointing
    assert got.utterance_end_ms == 1000
    assert got.settings.language == "de"
    # The server's tail does not fit into so short a pause: it is left to be found.
    assert got.settings.endpointing == EndpointingSettings(silence_ms=300)


@pytest.mark.parametrize(
    ("endpointing", "silence_ms", "speech_final"),
    [("10", 200, True), ("900", 900, True), ("true", 700, True), ("false", 700, False)],
)
def test_endpointing_is_a_pause_or_a_yes_or_no(
    endpointing: str, silence_ms: int, speech_final: bool
) -> None:
    """Their 10 ms would cut words in two here; without it, utterances end without saying so."""
    got = options(endpointing=endpointing)
    assert got.settings.endpointing.silence_ms == silence_ms
    speaker = DeepgramDialect("r1", "", got)
    (result,) = told(speaker, created(), stopped(), said("yes"))
    assert (result["is_final"], result["speech_final"]) == (True, speech_final)


@pytest.mark.parametrize(
    ("query", "line"),
    [
        ({"encoding": "opus"}, "encoding must be one of linear16, linear32, mulaw, alaw"),
        ({"channels": "2"}, "channels must be 1: connect once for each channel"),
        ({"channels": "many"}, "channels must be a whole number"),
        ({"sample_rate": "1e4"}, "sample_rate must be a whole number, 8000 to 192000"),
        ({"sample_rate": "4000"}, "sample_rate must be a whole number, 8000 to 192000"),
        ({"sample_rate": "9" * 5000}, "sample_rate must be a whole number"),
        ({"encoding": "mulaw", "sample_rate": "16000"}, "has 8000 frames a second, not 16000"),
        ({"endpointing": "soon"}, "endpointing must be a whole number"),
        ({"utterance_end_ms": "-1"}, "utterance_end_ms must be a whole number"),
        ({"interim_results": "1"}, "interim_results must be true or false, not '1'"),
        ({"vad_events": ""}, "vad_events must be true or false"),
        ({"diarize": "yes"}, "diarize must be true or false, not 'yes'"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(query: dict[str, str], line: str) -> None:
    """The line names the parameter and what it may be."""
    with pytest.raises(ConfigError, match=line):
        options(**query)


# What the client sends


def test_messages_are_actions() -> None:
    """Sound, the end of an utterance, the end of the stream, and nothing."""
    speaker = dialect()
    assert speaker.receive(b"\1\2") == [Append(b"\1\2")]
    assert speaker.receive('{"type": "KeepAlive"}') == []
    assert speaker.receive('{"type": "Configure", "features": {"numerals": true}}') == []
    commit, mark = speaker.receive('{"type":"Finalize","channel":0}')
    assert commit == Commit(lenient=True)
    assert isinstance(mark, Mark)
    assert speaker.receive('{"type": "CloseStream"}') == [Finish()]
    assert speaker.receive(b"") == [Finish()]


@pytest.mark.parametrize(
    "message", ["", "{", "[]", "{}", '{"type": 1}', '{"type": "Speak"}', '{"a":' * 100_000]
)
def test_who_speaks_another_language_is_hung_up_on(message: str) -> None:
    """The reason is theirs in form, and short enough for a close frame."""
    (action,) = dialect().receive(message)
    assert isinstance(action, Hangup)
    assert action.code == 1008
    assert action.reason.startswith("DATA-0000: ")
    assert len(action.reason.encode()) <= 123


@pytest.mark.parametrize("head", [b"RIFF\0\0\0\0WAVE", b"OggS", b"fLaC", b"\x1aE\xdf\xa3", b"ID3"])
def test_a_file_sent_without_a_word_about_it_is_not_played_as_noise(head: bytes) -> None:
    """Who names the encoding means samples: a header before them is a click, and passes."""
    (action,) = dialect().receive(head)
    assert isinstance(action, Hangup)
    assert len(action.reason.encode()) <= 123
    assert dialect(encoding="linear16").receive(head) == [Append(head)]
    # Later in a stream the same bytes are sound.
    speaker = dialect()
    speaker.receive(b"\0\0")
    assert speaker.receive(head) == [Append(head)]


# What the client is told


def test_final_has_words_emotion_and_sentiment_in_seconds() -> None:
    """All of it in the one message of the one type that clients wait for."""
    body = emotion(valence=0.5, start=1000, end=3250)
    words = (
        WordTiming(word="well", start_ms=1200, end_ms=1500, confidence=0.25),
        WordTiming(word="done", start_ms=1600, end_ms=2875),
    )
    event = msgspec.structs.replace(said("well done", body), words=words, confidence=0.75)
    (result,) = told(dialect(), started(), stopped(), event, felt(body))
    alternative = {
        "transcript": "well done",
        "confidence": 0.75,
        "words": [
            {
                "word": "well",
                "start": 1.2,
                "end": 1.5,
                "confidence": 0.25,
                "punctuated_word": "well",
            },
            {
                "word": "done",
                "start": 1.6,
                "end": 2.875,
                "confidence": 0.75,
                "punctuated_word": "done",
            },
        ],
        "sentiment": "positive",
        "sentiment_score": 0.5,
    }
    metadata = result.pop("metadata")
    assert metadata["request_id"] == "r1"
    assert metadata["model_info"].keys() == {"name", "version", "arch"}
    assert metadata["model_info"]["name"] == "faster-whisper/tiny.en"
    assert result == {
        "type": "Results",
        "channel_index": [0, 1],
        "start": 1.0,
        "duration": 2.25,
        "is_final": True,
        "speech_final": True,
        "from_finalize": False,
        "channel": {"alternatives": [alternative]},
        "emotion": json.loads(msgspec.json.encode(body)),
    }


def guessed(text: str, speaker: str | None, item: str) -> tuple[Event, EmotionCompleted]:
    """Make the finals of an utterance, its words half a second each, by whom it is taken for."""
    body = msgspec.structs.replace(emotion(), speaker=speaker, speaker_provisional=True)
    words = tuple(
        WordTiming(word=word, start_ms=1000 + 500 * n, end_ms=1500 + 500 * n)
        for n, word in enumerate(text.split())
    )
    final = msgspec.structs.replace(said(text, body), words=words, item_id=item)
    return final, msgspec.structs.replace(felt(body), item_id=item)


def spoken(result: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Return the words of a result and the numbers of their speakers."""
    (best,) = result["channel"]["alternatives"]
    return [(word["word"], word.get("speaker")) for word in best["words"]]


def test_words_have_the_number_of_who_speaks_them_where_asked() -> None:
    """From 0 in the order in which they come; of whom nobody can tell none. Numbers stay."""
    parts = (
        SpeakerPart(start_ms=1000, end_ms=2000, speaker="speaker 2"),
        SpeakerPart(start_ms=2000, end_ms=3000, speaker="speaker 5"),
    )
    words, final = guessed("you never listen", "speaker 2", "b")
    several = [words, msgspec.structs.replace(final, parts=parts)]
    talk = (*guessed("well", "speaker 2", "a"), *several, *guessed("oh", None, "c"))
    results = told(dialect(diarize="true"), *talk)
    assert [spoken(result) for result in results] == [
        [("well", 0)],
        [("you", 0), ("never", 0), ("listen", 1)],
        [("oh", None)],
    ]
    assert [part["speaker"] for part in results[1]["parts"]] == ["speaker 2", "speaker 5"]
    (plain,) = told(dialect(), *guessed("well", "speaker 2", "a"))
    assert spoken(plain) == [("well", None)]


def test_voices_are_told_apart_where_asked() -> None:
    """Who says nothing has it as the server does; a number of people that it knows stands."""
    shared = msgspec.structs.replace(BASE, speakers=3)
    for base, query, speakers in (
        (BASE, {}, "off"),
        (BASE, {"diarize": ["true"]}, "auto"),
        (shared, {}, 3),
        (shared, {"diarize": ["true"]}, 3),
        (shared, {"diarize": ["false"]}, "off"),
    ):
        assert parse_listen(query, base).settings.speakers == speakers


@pytest.mark.parametrize(
    ("valence", "sentiment"),
    [
        (1.0, "positive"),
        (0.34, "positive"),
        (0.33, "neutral"),
        (0.0, "neutral"),
        (-0.33, "neutral"),
        (-0.34, "negative"),
    ],
)
def test_sentiment_breaks_at_a_third(valence: float, sentiment: str) -> None:
    """The word and the number are Deepgram's."""
    (result,) = told(dialect(), said("yes", emotion(valence=valence)))
    (alternative,) = result["channel"]["alternatives"]
    assert (alternative["sentiment"], alternative["sentiment_score"]) == (sentiment, valence)


def test_without_valence_there_is_no_sentiment() -> None:
    """What was not measured is not made up."""
    body = msgspec.structs.replace(emotion(), dimensions=Dimensions())
    (result,) = told(dialect(), said("yes", body))
    (alternative,) = result["channel"]["alternatives"]
    assert alternative.keys() == {"transcript", "confidence", "words"}


def test_nobody_is_unsure_where_the_engine_does_not_say() -> None:
    """Clients drop words of no confidence; an empty transcript has none, as theirs."""
    results = told(dialect(), said("yes"), said(""))
    assert [result["channel"]["alternatives"][0]["confidence"] for result in results] == [1.0, 0.0]


def test_interim_results_and_speech_events_are_told_where_asked() -> None:
    """Without being asked, nothing is told before the final."""
    events = (started(), heard())
    assert told(dialect(), *events) == []
    speech, interim = told(dialect(vad_events="true", interim_results="true"), *events)
    assert speech == {"type": "SpeechStarted", "channel": [0, 1], "timestamp": 1.0}
    assert (interim["is_final"], interim["speech_final"]) == (False, False)
    assert (interim["start"], interim["duration"]) == (1.0, 0.75)
    assert interim["channel"]["alternatives"][0]["transcript"] == "so far"
    assert "emotion" not in interim


def test_what_the_voice_says_alone_wipes_no_words() -> None:
    """Interim results replace each other: one without words is not told."""
    speaker = dialect(interim_results="true")
    assert told(speaker, started(), heard(), stopped())
    assert told(speaker, sounded()) == []


def test_without_words_the_final_has_the_emotion_alone() -> None:
    """A session that is not transcribed is told from the emotion's own event."""
    body = emotion(valence=-0.9)
    (result,) = told(dialect(asr=None), started(), stopped(), felt(body))
    (alternative,) = result["channel"]["alternatives"]
    assert (alternative["transcript"], alternative["sentiment"]) == ("", "negative")
    assert result["is_final"]
    assert (result["start"], result["duration"]) == (1.0, 2.0)
    assert result["emotion"] == json.loads(msgspec.json.encode(body))


def test_failed_utterance_is_a_final_without_words_that_says_why() -> None:
    """Nobody waits for a final that never comes."""
    (result,) = told(dialect(), failed("the queue is full"))
    assert result["is_final"]
    assert result["channel"]["alternatives"][0]["transcript"] == ""
    assert result["error"]["message"] == "the queue is full"
    assert "emotion" not in result


@pytest.mark.parametrize(
    ("reason", "speech_final", "from_finalize"),
    [
        ("pause", True, False),
        ("max_length", False, False),
        ("flush", True, False),
        ("commit", True, True),
    ],
)
def test_final_says_why_the_utterance_ended(
    reason: str, speech_final: bool, from_finalize: bool
) -> None:
    """Whom the longest length cuts off is still speaking."""
    (result,) = told(dialect(), started(), stopped(reason), said("yes"))
    assert result["speech_final"] is speech_final
    assert result["from_finalize"] is from_finalize


def test_finalize_is_answered_once_even_in_silence() -> None:
    """By the final it brought about; where there was none, by an empty one."""
    speaker = dialect()
    _, asked = speaker.receive('{"type": "Finalize"}')
    assert isinstance(asked, Mark)
    mark = echo(asked.id)
    first = told(speaker, started(), stopped("commit"), said("yes"), mark)
    assert [result["from_finalize"] for result in first] == [True]
    (second,) = told(speaker, mark)
    assert second["from_finalize"]
    assert second["is_final"]
    assert (second["start"], second["duration"]) == (9.0, 0.0)
    assert second["channel"]["alternatives"][0]["transcript"] == ""
    # The final of a pause that came on the way does not answer it.
    pause, answer = told(speaker, started(), stopped("pause"), said("no"), mark)
    assert (pause["from_finalize"], answer["from_finalize"]) == (False, True)


def test_utterance_end_comes_after_so_much_silence() -> None:
    """It is measured in the sound that came, and told behind the final."""
    speaker = dialect(utterance_end_ms="1000")
    second = bytes(32_000)
    for _ in range(3):
        assert speaker.receive(second) == [Append(second)]
    assert told(speaker, started(1000), stopped(end_ms=3500)) == []
    assert speaker.receive(second) == [Append(second)]
    append, mark = speaker.receive(second)
    assert append == Append(second)
    assert isinstance(mark, Mark)
    assert speaker.receive(second) == [Append(second)]
    words = (WordTiming(word="yes", start_ms=2000, end_ms=2500),)
    result, end = told(
        speaker, msgspec.structs.replace(said("yes"), words=words), echo("other"), echo(mark.id)
    )
    assert result["type"] == "Results"
    assert end == {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 2.5}


@pytest.mark.parametrize(("end_ms", "silent"), [(64_000, True), (64_001, False)])
def test_utterance_end_comes_at_the_close_where_no_sound_came_after(
    end_ms: int, silent: bool
) -> None:
    """A busy server tells late where speech has stopped; less silence than asked for is no end."""
    speaker = dialect(utterance_end_ms="1000")
    speaker.receive(bytes(32_000 * 65))
    found = told(speaker, started(), stopped(end_ms=end_ms), said("yes"), closed())
    ended = ["UtteranceEnd"] if silent else []
    assert [each["type"] for each in found] == ["Results", *ended, "Metadata"]


def test_who_speaks_again_in_time_has_not_ended() -> None:
    """Neither before the silence is long enough nor while its mark is on the way."""
    speaker = dialect(utterance_end_ms="1000")
    speaker.receive(bytes(32_000 * 3))
    told(speaker, started(), stopped(end_ms=3000), said("yes"), started(3500, "item_s_2"))
    assert len(speaker.receive(bytes(32_000 * 2))) == 1
    told(speaker, stopped(end_ms=5000, item="item_s_2"))
    _, mark = speaker.receive(bytes(32_000 * 2))
    assert isinstance(mark, Mark)
    assert told(speaker, started(5900, "item_s_3"), echo(mark.id)) == []


def test_utterance_end_is_not_told_where_not_asked() -> None:
    """No mark is set either."""
    speaker = dialect()
    told(speaker, started(), stopped(end_ms=0))
    assert len(speaker.receive(bytes(320_000))) == 1


def test_metadata_comes_at_the_close() -> None:
    """The digest is that of all the sound, however it was cut."""
    speaker = dialect(encoding="mulaw")
    for piece in (b"abc", b"", b"defg"):
        speaker.receive(piece)
    (metadata,) = told(speaker, closed())
    model = metadata.pop("models")[0]
    assert metadata.pop("model_info").keys() == {model}
    assert metadata == {
        "type": "Metadata",
        "transaction_key": "deprecated",
        "request_id": "r1",
        "created": "2026-11-26T20:00:00Z",
        "duration": 65.0,
        "channels": 1,
        "sha256": hashlib.sha256(b"abcdefg").hexdigest(),
    }


def test_fault_is_an_error_of_theirs() -> None:
    """It has the names that their libraries read."""
    error = ErrorBody(type="server_error", code="bad_sound", message="not a number")
    assert told(dialect(), ErrorRaised(**ENVELOPE, error=error)) == [
        {"type": "Error", "variant": "bad_sound", "description": "not a number"}
    ]


def test_no_type_is_told_that_they_do_not_know() -> None:
    """What has no place in their protocol is left out."""
    asked = {"interim_results": "true", "vad_events": "true", "utterance_end_ms": "500"}
    overload = Overload(**ENVELOPE, kind="partials", dropped=1, total=1, since_ms=0, reason="full")
    mood = MoodUpdated(
        **ENVELOPE,
        category="happy",
        scores={},
        dimensions=Dimensions(),
        shift=False,
        previous=None,
        audio_end_ms=3000,
    )
    delta = TranscriptionDelta(**ENVELOPE, item_id="item_s_1", delta="so")
    events = [created(), started(), heard(), delta, stopped(), said("yes"), felt(), failed()]
    events += [overload, mood, echo("finalized"), closed()]
    # As from the wire, so that what is told does not hang on how an event was made.
    speaker = dialect(**asked)
    kinds = [
        message["type"]
        for event in events
        for message in told(speaker, cast(Event, decode_event(encode_event(event))))
    ]
    assert kinds == ["SpeechStarted", *["Results"] * 4, "UtteranceEnd", "Metadata"]
    assert set(kinds) <= KNOWN


@pytest.mark.parametrize("name", ["encoding", "sample_rate", "endpointing", "vad_events"])
def test_a_long_mistake_gets_a_short_answer(name: str) -> None:
    """No more of it comes back than helps to find it."""
    with pytest.raises(ConfigError) as caught:
        options(**{name: "x" * 5000})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("message", ["", "\ud800", '{"type":' + "[" * 100_000, "[]", '{"type": 3}'])
def test_what_is_no_message_ends_the_call(message: str) -> None:
    """Whatever it is."""
    (action,) = dialect().receive(message)
    assert isinstance(action, Hangup)
