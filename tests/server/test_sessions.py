"""A session of a whole server: from connecting to finishing, in every format."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import soxr

from streamser.audio.clip import SAMPLE_RATE, to_samples
from tests.cli.running import DEMO
from tests.scripted_whisper import build_scripted_whisper
from tests.server.scenes import DELTA, PCM16K, SECOND, answered
from tests.server.serving import (
    EMOTION,
    Stage,
    Told,
    check_stream,
    demo,
    dial,
    encode,
    finals_of,
    of_kind,
    patience,
    resampled,
    serving,
    whole,
)

COMPLETED = "conversation.item.input_audio_transcription.completed"
STARTED = "input_audio_buffer.speech_started"
STOPPED = "input_audio_buffer.speech_stopped"
COMMITTED = "input_audio_buffer.committed"
CLOSED = "streamser.session.closed"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One server for the scenes that leave it as it was."""
    stage = Stage()
    yield stage
    stage.close()


@pytest.fixture(scope="module")
def usual(stage: Stage) -> list[Told]:
    """Return the events of the first 15.2 s of the bundled conversation, sent as they are."""
    return stage.play(answered(stage.server))


@pytest.fixture(scope="module")
def narrow(stage: Stage) -> list[Told]:
    """Return the events of what a telephone carries of that sound: nothing above 4 kHz.

    The s of "works" lies above it: there the fourth utterance ends 0.2 s earlier.
    """
    sound = soxr.resample(resampled(demo(), 8000), 8000, SAMPLE_RATE).astype(np.float32)
    return stage.play(whole(stage.server, encode(sound), rate="16000"))


def boundaries(events: list[Told]) -> list[tuple[int, int]]:
    """List where utterances begin and end, in ms."""
    ends = {event["item_id"]: event["audio_end_ms"] for event in of_kind(events, STOPPED)}
    return [
        (event["audio_start_ms"], ends[event["item_id"]])
        for event in of_kind(events, STARTED)
        if event["item_id"] in ends
    ]


def assert_people_speak_there(found: list[tuple[int, int]]) -> None:
    """Assert that utterances lie where the recording's own first four do."""
    truth = json.loads(DEMO.with_suffix(".json").read_text())["utterances"][:4]
    assert len(found) == len(truth)
    for (start, end), line in zip(found, truth, strict=True):
        assert abs(start - line["start_ms"]) < 350
        assert abs(end - line["end_ms"]) < 350


def assert_same_places(found: list[tuple[int, int]], expected: list[tuple[int, int]]) -> None:
    """Assert that utterances lie within three windows of where they are expected."""
    assert len(found) == len(expected)
    for given, wanted in zip(found, expected, strict=True):
        assert given == pytest.approx(wanted, abs=96)


def readings(events: list[Told]) -> int:
    """Count the readings while somebody spoke: those told, and those told to be left out."""
    return len(of_kind(events, DELTA)) + int(events[-1]["partials_dropped"])


def test_the_first_event_says_what_the_session_is(stage: Stage) -> None:
    """A client learns models, settings, labels, scales and limits before it sends anything."""

    async def scene() -> Told:
        query = urlencode({"intent": "transcription", "model": "gpt-4o-transcribe", "speaker": "Å"})
        async with dial(stage.server, query=query) as wire:
            return await wire.next()

    created = stage.play(scene())
    assert (created["type"], created["seq"]) == ("session.created", 1)
    session = created["session"]
    assert session["id"] == created["session_id"]
    assert session["protocol"] == "streamser.v1"
    assert session["type"] == "transcription"
    models = {"vad": "silero", "asr": None, "asr_arithmetic": None, "emotion": "compact"}
    assert session["models"] == models
    assert session["speaker"] == "Å"
    assert session["meeting"] is None
    assert set(session["scales"]) == {"valence", "arousal", "dominance"}
    sound = session["audio"]["input"]
    assert sound["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert sound["transcription"] is None
    assert sound["turn_detection"]["silence_duration_ms"] == session["silence_ms"] == 500
    assert session["limits"]["message_bytes"] == 2048 * 1024


def test_utterances_are_found_where_people_speak(usual: list[Told]) -> None:
    """The recording's utterances come as items, each with its judgement and the mood after it."""
    events = usual
    assert_people_speak_there(boundaries(events))
    assert len(of_kind(events, EMOTION)) == len(of_kind(events, "streamser.mood.updated")) == 4
    first = of_kind(events, DELTA)[0]
    assert first["item_id"] == of_kind(events, STARTED)[0]["item_id"]
    assert first["seq"] < of_kind(events, STOPPED)[0]["seq"]
    for event in of_kind(events, EMOTION):
        assert event["emotion"]["modalities"] == ["audio"]
        assert event["lag_ms"] >= 0
    assert events[-1]["audio_ms"] == 15_200


def test_the_same_sound_gives_the_same_finals_however_it_is_sent(
    stage: Stage, usual: list[Told]
) -> None:
    """Binary or base64, in one piece or cut inside samples: the judgements are equal.

    Sound that comes at once may leave out readings of who still speaks, but never silently.
    """

    async def scene(how: str, size: int) -> list[Told]:
        async with dial(stage.server, query="rate=16000") as wire:
            send = wire.append if how == "base64" else wire.sound
            await send(PCM16K, size=size)
            return await wire.finish()

    for how, size in (("base64", 640), ("base64", 5003), ("binary", 2**20)):
        other = stage.play(scene(how, size))
        check_stream(other)
        assert finals_of(other) == finals_of(usual)
        assert readings(other) == readings(usual)


@pytest.mark.parametrize(
    ("encoding", "rate"),
    [
        ("s16le", 8000),
        ("s16le", 24_000),
        ("s16le", 44_100),
        ("s16le", 48_000),
        ("f32le", 24_000),
        ("pcmu", 8000),
        ("pcma", 8000),
    ],
)
def test_every_format_gives_the_same_utterances(
    stage: Stage, usual: list[Told], narrow: list[Told], encoding: str, rate: int
) -> None:
    """What lies within the band of a rate is found alike at each rate and in each encoding."""
    data = encode(resampled(demo(), rate), encoding)
    events = stage.play(whole(stage.server, data, encoding=encoding, rate=str(rate)))
    found = boundaries(events)
    assert_people_speak_there(found)
    assert_same_places(found, boundaries(narrow if rate < SAMPLE_RATE else usual))
    assert events[-1]["audio_ms"] == pytest.approx(15_200, abs=1)


def test_the_format_may_be_set_up_by_message(
    stage: Stage, usual: list[Told], narrow: list[Told]
) -> None:
    """``session.update`` is as good as the query, also between two stretches of sound."""

    async def scene() -> list[Told]:
        async with dial(stage.server) as wire:
            events = await wire.update({"format": {"type": "audio/pcm", "rate": 16_000}})
            await wire.sound(PCM16K[: 5 * SECOND])
            events += await wire.update({"format": {"type": "audio/pcmu"}})
            told = events[-1]["session"]["audio"]["input"]["format"]
            assert told == {"type": "audio/pcmu"}
            await wire.sound(encode(resampled(demo()[to_samples(5000) :], 8000), "pcmu"))
            return events + await wire.finish()

    events = stage.play(scene())
    check_stream(events)
    assert_same_places(boundaries(events), boundaries(usual)[:1] + boundaries(narrow)[1:])


def test_with_commits_by_hand_an_utterance_is_what_was_sent(stage: Stage) -> None:
    """Without turn detection everything since the last commit is one item, and nothing else is."""

    async def scene() -> list[Told]:
        async with dial(stage.server, query="rate=16000") as wire:
            events = await wire.update({"turn_detection": None})
            assert events[-1]["session"]["audio"]["input"]["turn_detection"] is None
            for begin, end in ((0, 5), (5, 9)):
                await wire.sound(PCM16K[begin * SECOND : end * SECOND])
                await wire.send("input_audio_buffer.commit")
                events += await wire.until("streamser.mood.updated")
            return events + await wire.finish()

    events = stage.play(scene())
    check_stream(events)
    assert boundaries(events) == [(0, 5000), (5000, 9000)]
    assert [event["reason"] for event in of_kind(events, STOPPED)] == ["commit"] * 2


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000, 48_000, 96_000])
def test_a_commit_by_hand_takes_all_that_was_sent(stage: Stage, rate: int) -> None:
    """What a resampler still holds back belongs to the utterance that is committed."""

    async def scene() -> list[Told]:
        async with dial(stage.server, query=f"rate={rate}") as wire:
            events = await wire.update({"turn_detection": None})
            await wire.sound(encode(resampled(demo(2.0, 1.0), rate)))
            await wire.send("input_audio_buffer.commit")
            return events + await wire.finish()

    events = stage.play(scene())
    check_stream(events)
    assert len(boundaries(events)) == 1
    assert boundaries(events)[0] == pytest.approx((0, 2000), abs=1)


def test_there_must_be_something_to_commit(stage: Stage) -> None:
    """A commit of nothing, or of less than 100 ms, is answered by an error that names it."""

    async def scene() -> list[Told]:
        async with dial(stage.server, query="rate=16000") as wire:
            events = await wire.update({"turn_detection": None})
            await wire.send("input_audio_buffer.commit", event_id="first")
            await wire.sound(PCM16K[: SECOND // 20])
            await wire.send("input_audio_buffer.commit", event_id="second")
            await wire.send("input_audio_buffer.clear")
            return events + await wire.finish()

    events = stage.play(scene())
    check_stream(events)
    errors = [event["error"] for event in of_kind(events, "error")]
    assert [error["event_id"] for error in errors] == ["first", "second"]
    assert {error["code"] for error in errors} == {"input_audio_buffer_commit_empty"}
    assert {error["type"] for error in errors} == {"invalid_request_error"}
    assert not of_kind(events, COMMITTED)


def test_a_commit_ends_the_utterance_that_is_open(stage: Stage) -> None:
    """With turn detection too, a client may say that its speaker is done."""

    async def scene() -> list[Told]:
        async with dial(stage.server, query="rate=16000") as wire:
            await wire.sound(PCM16K[: 3 * SECOND])
            events = await wire.until(STARTED)
            await wire.send("input_audio_buffer.commit")
            return events + await wire.finish()

    events = stage.play(scene())
    check_stream(events)
    assert of_kind(events, STOPPED)[0]["reason"] == "commit"
    assert boundaries(events)[0][1] == pytest.approx(3000, abs=50)


def test_what_is_cleared_is_never_judged(stage: Stage) -> None:
    """The open utterance is thrown away, with turn detection and without."""

    async def scene(manual: bool) -> list[Told]:
        async with dial(stage.server, query="rate=16000") as wire:
            events = [await wire.next()]
            if manual:
                events += await wire.update({"turn_detection": None})
            await wire.sound(PCM16K[: 3 * SECOND])
            events += await wire.until(STARTED)
            await wire.send("input_audio_buffer.clear")
            events += await wire.until("input_audio_buffer.cleared")
            # Nobody speaks here, so that nothing of it opens again.
            await wire.sound(PCM16K[round(4.7 * SECOND) : 5 * SECOND])
            if manual:
                await wire.send("input_audio_buffer.clear")
            return events + await wire.finish()

    for manual in (False, True):
        events = stage.play(scene(manual))
        assert not of_kind(events, STOPPED, COMMITTED, EMOTION)
        assert events[-1]["type"] == CLOSED
        assert events[-1]["utterances"] == 0


@pytest.mark.parametrize("rate", [8000, 24_000, 48_000])
def test_nothing_is_left_of_sound_that_was_cleared(stage: Stage, rate: int) -> None:
    """What a resampler still holds of it is thrown away too: no item is made of it."""

    async def scene() -> list[Told]:
        async with dial(stage.server, query=f"rate={rate}") as wire:
            events = await wire.update({"turn_detection": None})
            await wire.sound(encode(resampled(demo(2.0, 1.0), rate)))
            await wire.send("input_audio_buffer.clear")
            return events + await wire.finish()

    events = stage.play(scene())
    assert not of_kind(events, STOPPED, COMMITTED, EMOTION)


def test_every_update_is_answered_by_all_that_is_in_force(stage: Stage) -> None:
    """What an update does not mention stays; one that cannot be followed changes nothing."""

    async def scene() -> list[Told]:
        async with dial(stage.server) as wire:
            first = (await wire.next())["session"]
            turns = {"type": "server_vad", "threshold": 0.6, "silence_duration_ms": 300}
            second = (await wire.update({"turn_detection": turns}))[-1]["session"]
            third = (await wire.update(speaker="Ben", partial_every_ms=0))[-1]["session"]
            wrong = (await wire.update({"format": {"type": "audio/pcm", "rate": 400_000}}))[-1]
            assert wrong["type"] == "error"
            assert wrong["error"]["param"] == "session.audio.input.format.rate"
            return [first, second, third, (await wire.update())[-1]["session"]]

    first, second, third, fourth = stage.play(scene())
    assert second["silence_ms"] == 300
    assert second["audio"]["input"]["turn_detection"]["threshold"] == 0.6
    assert second["audio"]["input"]["format"] == first["audio"]["input"]["format"]
    assert third == {**second, "speaker": "Ben", "partial_every_ms": 0}
    assert fourth == third
    assert set(first) == set(fourth)


def test_a_marker_comes_back_once_all_before_it_is_told(stage: Stage) -> None:
    """The echo stands after the finals of the sound before the marker."""

    async def scene() -> list[Told]:
        async with dial(stage.server, query="rate=16000") as wire:
            await wire.sound(PCM16K[: round(5.2 * SECOND)])
            return await wire.settle("after the first")

    events = stage.play(scene())
    assert len(of_kind(events, EMOTION)) == 1
    assert events[-1]["id"] == "after the first"
    assert events[-1]["audio_ms"] == 5200


def test_mistakes_are_answered_and_the_session_goes_on(stage: Stage) -> None:
    """Each wrong message gets one typed error with its name; sound sent later is heard."""
    wrong = [
        ('{"type": "input_audio_buffer.append", "audio": "ä", "event_id": "a"}', "invalid_audio"),
        ('{"type": "response.create", "event_id": "a"}', "unknown_message"),
        ('{"type": "session.update", "session": 3, "event_id": "a"}', "invalid_value"),
        ('{"type": "transcription_session.update", "event_id": "a"}', "unknown_message"),
        ("[" * 100_000, "invalid_json"),
        ("", "invalid_json"),
    ]

    async def scene() -> list[Told]:
        async with dial(stage.server, query="rate=16000") as wire:
            for message, _ in wrong:
                await wire.raw(message)
            await wire.sound(PCM16K[: 5 * SECOND])
            return await wire.finish()

    events = stage.play(scene())
    check_stream(events)
    errors = [event["error"] for event in of_kind(events, "error")]
    assert [error["code"] for error in errors] == [code for _, code in wrong]
    assert [error["event_id"] for error in errors] == ["a"] * 4 + [None] * 2
    assert len(of_kind(events, EMOTION)) == 1


def test_words_come_only_where_they_are_wanted(tmp_path: Path) -> None:
    """``transcription: null`` leaves emotion alone; turning it on again brings words back."""
    whisper = build_scripted_whisper(tmp_path / "scripted", "it is here")

    async def scene() -> list[Told]:
        flags = {"asr.engine": "whisper", "asr.model": str(whisper), "partial.every_ms": 0}
        async with serving(flags) as server, dial(server, query="rate=16000") as wire:
            events = await wire.update({"turn_detection": None})
            for transcription in ({"model": "whisper-1"}, None, {"model": "whisper-1"}):
                events += await wire.update({"transcription": transcription})
                await wire.sound(PCM16K[round(5.3 * SECOND) : round(8.5 * SECOND)])
                await wire.send("input_audio_buffer.commit")
                events += await wire.until("streamser.mood.updated")
            return events + await wire.finish()

    events = asyncio.run(patience(scene()))
    check_stream(events)
    items = [event["item_id"] for event in of_kind(events, COMMITTED)]
    words = of_kind(events, COMPLETED)
    assert [event["item_id"] for event in words] == [items[0], items[2]]
    assert all(event["transcript"] for event in words)
    told = [event["session"]["audio"]["input"]["transcription"] for event in events[2:3]]
    assert told[0]["model"] == events[0]["session"]["models"]["asr"]
    without = of_kind(events, "session.updated")[2]["session"]
    assert without["audio"]["input"]["transcription"] is None
    assert without["models"]["asr"] is None
    modalities = [event["emotion"]["modalities"] for event in of_kind(events, EMOTION)]
    assert modalities[1] == ["audio"]
