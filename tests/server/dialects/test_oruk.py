from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from streamser.errors import ConfigError
from streamser.events import (
    AudioFormat,
    Event,
    MoodUpdated,
    SessionUpdated,
    TranscriptionDelta,
    WordTiming,
)
from streamser.server.dialects.commands import (
    ANY_LANGUAGE,
    Append,
    Command,
    Configure,
    Finish,
    LanguageSupport,
    Refuse,
    StreamSettings,
)
from streamser.server.dialects.oruk import ORUK, OrukDialect, PhraseSettings, phrase_stream
from streamser.settings import EndpointingSettings, PartialSettings
from tests.cli.samples import ENVELOPE, closed, created, emotion, failed, felt, said
from tests.server.serving import Stage, demo, dial, encode, patience

BASE = StreamSettings(
    format=AudioFormat(type="audio/pcm", rate=24_000),
    endpointing=EndpointingSettings(silence_ms=700, tail_ms=300, cut_search_ms=9000),
    partial=PartialSettings(),
)
FINAL = "conversation.item.input_audio_transcription.completed"
DELTA = "conversation.item.input_audio_transcription.delta"
PHRASE = "conversation.item.input_audio_emotion.completed"
LOST = "conversation.item.input_audio_emotion.failed"
COMMIT = '{"type": "input_audio_buffer.commit"}'


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Keep a server without words."""
    stage = Stage()
    yield stage
    stage.close()


def update(**session: Any) -> str:
    """Word what a client sends first."""
    return json.dumps({"type": "session.update", "session": session})


def dialect(**session: Any) -> OrukDialect:
    """Speak with a client that has set its session up and has been heard."""
    made = OrukDialect("r-1", BASE)
    assert isinstance(made.receive(update(**session))[0], Configure)
    assert made.receive(b"ab") == [Append(b"ab")]
    return made


def told(speaker: OrukDialect, *events: Event) -> list[dict[str, Any]]:
    """List what a client is told of events."""
    return [json.loads(message) for event in events for message in speaker.encode(event)]


def grown(text: str, item: str = "item_s_1") -> TranscriptionDelta:
    """Make words that are settled."""
    return TranscriptionDelta(**ENVELOPE, item_id=item, delta=text)


def fault(commands: list[Command]) -> str:
    """Return the code by which a message is refused."""
    (refuse,) = commands
    assert isinstance(refuse, Refuse)
    return refuse.error.code


# What a client sends


def test_a_turn_is_cut_into_phrases_as_theirs_are() -> None:
    """16 kHz, a pause of 0.6 s, 8 s at most, whatever the server does else."""
    got = phrase_stream(BASE, PhraseSettings(), ANY_LANGUAGE)
    assert got.format == AudioFormat(type="audio/pcm", rate=16_000)
    assert (got.endpointing.silence_ms, got.endpointing.max_utterance_ms) == (600, 8000)
    assert (got.language, got.speakers, got.manual) == (None, "off", False)


def test_what_is_asked_for_is_in_force() -> None:
    """Words for what they call it; a model, and what is not known, are ignored."""
    speaker = OrukDialect("r-1", BASE)
    (command,) = speaker.receive(
        update(
            model=ORUK,
            language="de-DE",
            sample_rate=8000,
            phrase_silence_ms=200,
            phrase_max_ms=15_000,
            diarize=True,
            styles=["calm"],
        )
    )
    assert isinstance(command, Configure)
    got = command.settings
    assert (got.endpointing.silence_ms, got.endpointing.max_utterance_ms) == (200, 15_000)
    assert (got.format.rate, got.language, got.speakers) == (8000, "de", "auto")
    named = msgspec.structs.replace(BASE, speaker="Ann")
    assert phrase_stream(named, PhraseSettings(diarize=True), ANY_LANGUAGE).speakers == "off"


def test_the_one_commit_ends_the_turn() -> None:
    """What comes behind it counts no more; before any sound there is nothing to commit."""
    speaker = OrukDialect("r-1", BASE)
    assert fault(speaker.receive(COMMIT)) == "input_audio_buffer_commit_empty"
    sound = '{"type": "input_audio_buffer.append", "audio": "YWI="}'
    assert speaker.receive(sound) == [Append(b"ab")]
    assert speaker.receive(b"") == []
    assert speaker.receive(COMMIT) == [Finish()]
    assert [speaker.receive(each) for each in (b"ab", sound, COMMIT, "{")] == [[]] * 4


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "invalid_json"),
        ('{"a": ' + "[" * 100_000, "invalid_json"),
        ("[]", "invalid_value"),
        ('{"type": "response.create"}', "unknown_message"),
        (update(phrase_silence_ms=100), "invalid_value"),
        (update(phrase_max_ms="long"), "invalid_value"),
        (update(sample_rate=10), "invalid_value"),
        (update(language="klingon!"), "unsupported_language"),
        ('{"type": "input_audio_buffer.append", "audio": "?"}', "invalid_audio"),
    ],
)
def test_what_cannot_be_followed_is_answered(message: str, code: str) -> None:
    """By an error of a code, and the stream is as it was."""
    assert fault(OrukDialect("r-1", BASE).receive(message)) == code


def test_a_language_that_is_not_known_has_a_code_of_its_own() -> None:
    """As everywhere."""
    english = LanguageSupport("whisper", frozenset({"en"}))
    speaker = OrukDialect("r-1", BASE, english)
    assert fault(speaker.receive(update(language="de"))) == "unsupported_language"
    with pytest.raises(ConfigError):
        phrase_stream(BASE, PhraseSettings("de"), english)


# What it is told


def test_a_phrase_has_all_scores_and_our_whole_reading() -> None:
    """The likeliest first; times in seconds of the turn."""
    (phrase,) = told(dialect(), said("Good."), felt())
    assert phrase.pop("emotion")["dimensions"]["valence"] == 0.5
    assert phrase == {
        "type": PHRASE,
        "phrase_id": "item_s_1",
        "start": 1.0,
        "end": 3.0,
        "text": "Good.",
        "emotions": [
            {"label": "happy", "score": pytest.approx(0.72)},
            {"label": "neutral", "score": 0.16},
            {"label": "sad", "score": 0.08},
            {"label": "angry", "score": 0.04},
        ],
    }
    guessed = msgspec.structs.replace(emotion(), speaker="speaker 2")
    assert told(dialect(), felt(guessed))[0]["speaker"] == "speaker 2"


def test_a_phrase_that_failed_says_why() -> None:
    """The turn goes on without it."""
    (lost,) = told(dialect(), failed())
    assert lost == {
        "type": LOST,
        "phrase_id": "item_s_2",
        "start": 4.0,
        "end": 5.0,
        "error": {"code": "overloaded", "message": "the queue is full"},
    }
    assert told(dialect(phrase_emotions=False), felt(), failed()) == []


def test_deltas_are_of_the_whole_turn_and_its_transcript_comes_at_the_end() -> None:
    """Phrases are joined by a blank; then the usage, which is the last of it."""
    speaker = dialect(word_timestamps=True)
    word = WordTiming(word="Good", start_ms=1000, end_ms=1200)
    first = msgspec.structs.replace(said("Good day."), words=(word,))
    second = msgspec.structs.replace(said("Alas"), item_id="item_s_2")
    deltas = told(speaker, grown("Good"), grown(" day."), first, grown("Alas", "item_s_2"), second)
    assert deltas == [
        {"type": DELTA, "delta": "Good"},
        {"type": DELTA, "delta": " day."},
        {"type": DELTA, "delta": " Alas"},
    ]
    assert told(speaker, closed()) == []
    assert speaker.receive(COMMIT) == [Finish()]
    assert told(speaker, closed()) == [
        {
            "type": FINAL,
            "transcript": "Good day. Alas",
            "words": [{"word": "Good", "start": 1.0, "end": 1.2}],
        },
        {"type": "session.usage", "usage": {"audio_seconds": 65.0}},
    ]


def test_a_session_is_told_as_theirs_is_and_the_rest_is_not() -> None:
    """What no client of theirs knows would be no use to it."""
    speaker = dialect(phrase_silence_ms=500)
    info = created().session
    begun, changed = told(speaker, created(), SessionUpdated(**ENVELOPE, session=info))
    assert (begun["type"], begun["request_id"]) == ("session.created", "r-1")
    assert changed["type"] == "session.updated"
    assert changed["session"]["model"] == ORUK
    assert changed["session"]["phrase_silence_ms"] == 500
    mood = MoodUpdated(
        **ENVELOPE,
        category="happy",
        scores={},
        dimensions=emotion().dimensions,
        shift=False,
        previous=None,
        audio_end_ms=1,
    )
    assert told(speaker, mood) == []


# On a server


def test_a_whole_turn_ends_with_its_usage_and_a_clean_close(stage: Stage) -> None:
    """The subprotocol chooses the dialect; all else is a stream as any."""

    async def scene() -> tuple[list[dict[str, Any]], int | None]:
        async with dial(stage.server, query=f"model={ORUK}", subprotocols=[ORUK]) as wire:
            assert wire.connection.subprotocol == ORUK
            await wire.raw(update(model=ORUK, sample_rate=16_000))
            await wire.sound(encode(demo(9.0)))
            await wire.raw(COMMIT)
            events = [json.loads(message) async for message in wire.connection]
            return events, wire.connection.close_code

    events, code = stage.play(scene())
    kinds = [each["type"] for each in events]
    assert kinds == ["session.created", "session.updated", PHRASE, PHRASE, FINAL, "session.usage"]
    assert code == 1000
    assert events[-1]["usage"]["audio_seconds"] == pytest.approx(9.0, abs=0.01)
    assert [0 <= each["start"] < each["end"] <= 9 for each in events[2:4]] == [True, True]


def test_what_is_wrong_is_told_and_the_turn_goes_on(stage: Stage) -> None:
    """An error, by its code; the next message is followed."""

    async def scene() -> list[str]:
        codes: list[str] = []
        async with dial(stage.server, subprotocols=[ORUK]) as wire:
            for wrong in (COMMIT, update(phrase_max_ms=1), "?"):
                await wire.raw(wrong)
            await wire.raw(update())
            async for message in wire.connection:
                event = json.loads(message)
                if event["type"] == "session.updated":
                    return codes
                codes += [event["error"]["code"]] if event["type"] == "error" else []
        raise AssertionError("the server has hung up")

    assert stage.play(patience(scene())) == [
        "input_audio_buffer_commit_empty",
        "invalid_value",
        "invalid_json",
    ]
