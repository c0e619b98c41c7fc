"""A whole server: streams from connecting to finishing, broken lines, endings, listeners."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
import soxr

from streamser.audio.clip import SAMPLE_RATE, to_samples
from streamser.server.app import EmotionServer
from tests.cli.running import DEMO
from tests.scripted_whisper import build_scripted_whisper
from tests.server.serving import (
    EMOTION,
    Narrow,
    Stage,
    Told,
    Wire,
    bare,
    check_stream,
    demo,
    dial,
    encode,
    finals_of,
    kinds,
    of_kind,
    patience,
    refusal,
    resampled,
    serving,
    unnumbered,
    whole,
)

SECRET = "a-secret-of-the-client"
COMPLETED = "conversation.item.input_audio_transcription.completed"
STARTED = "input_audio_buffer.speech_started"
STOPPED = "input_audio_buffer.speech_stopped"
COMMITTED = "input_audio_buffer.committed"
DELTA = "streamser.emotion.delta"
RESUMED = "streamser.session.resumed"
UPDATED = "streamser.meeting.updated"
CLOSED = "streamser.session.closed"

PCM16K = encode(demo())
SECOND = 32_000
"""Bytes of a second of PCM16K."""


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


async def answered(server: EmotionServer) -> list[Told]:
    """Send the conversation at 16 kHz, the rest once its first words are read; return all events.

    Where all comes at once no reading of who still speaks is owed: the final may overtake it.
    """
    first_words = 3 * SECOND // 2
    async with dial(server, query="rate=16000") as wire:
        await wire.sound(PCM16K[:first_words])
        events = await wire.until(DELTA)
        await wire.sound(PCM16K[first_words:])
        events += await wire.finish()
        assert wire.code == 1000
    check_stream(events)
    return events


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


async def ordered(wire: Wire) -> list[Told]:
    """Ask for the one order that no timing can change; return all that is told until then."""
    events = await wire.update(ordered=True)
    assert events[-1]["session"]["ordered"]
    return events


async def uninterrupted(server: EmotionServer, data: bytes) -> list[Told]:
    """Return the events of an ordered session that hears everything at 16 kHz."""
    async with dial(server, query="rate=16000") as wire:
        events = await ordered(wire)
        await wire.sound(data)
        return events + await wire.finish()


# A session


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


# Lines that break


def test_a_broken_stream_goes_on_where_it_was() -> None:
    """A client that comes back gets what it missed, sends on from there, and loses nothing."""

    async def scene() -> tuple[list[Told], list[Told], list[Told], list[Told]]:
        async with serving() as server:
            expected = await uninterrupted(server, PCM16K)
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                before = await ordered(wire)
                session_id = before[0]["session_id"]
                await wire.sound(PCM16K[: 7 * SECOND])
                before += await wire.until(EMOTION)
                last = before[-1]["seq"]
                await wire.break_off()
            query = f"stream={SECRET}&after={last}"
            async with dial(server, query=query) as wire:
                again = await wire.until(RESUMED)
                went_on = 2 * again[-1]["received_frames"]
                await wire.sound(PCM16K[went_on:])
                after = await wire.finish()
                assert wire.code == 1000
            async with dial(server, "/v1/events", query=f"session={session_id}&after=0") as wire:
                assert (await wire.next())["lost"] is False
                truth = await wire.until(CLOSED)
        assert 0 < went_on <= 7 * SECOND
        assert [event["seq"] for event in again] == list(range(last + 1, last + 1 + len(again)))
        return expected, before, again + after, truth

    expected, before, later, truth = asyncio.run(patience(scene()))
    check_stream(truth)
    assert [bare(event) for event in before[-1:] + later] == [
        bare(event) for event in truth[before[-1]["seq"] - 1 :]
    ]
    heard = [event for event in truth if event["type"] != RESUMED]
    assert unnumbered(heard) == unnumbered(expected)
    assert len(finals_of(truth)) == 4


def test_a_stream_may_break_more_than_once() -> None:
    """However often the line breaks, and wherever, the finals are those of an unbroken one."""

    async def scene() -> tuple[list[Told], list[Told]]:
        async with serving() as server:
            expected = await uninterrupted(server, PCM16K)
            events: list[Told] = []
            sent = 0
            for turn, cut in enumerate((1.01, 4.9, 5.0, 8.3, 12.4)):
                seen = events[-1]["seq"] if events else 0
                query = f"rate=16000&stream={SECRET}&after={seen}"
                async with dial(server, query=query) as wire:
                    if turn == 0:
                        events += await ordered(wire)
                    else:
                        events += await wire.until(RESUMED)
                        sent = 2 * events[-1]["received_frames"]
                    await wire.sound(PCM16K[sent : round(cut * 16_000) * 2])
                    await wire.break_off()
            query = f"stream={SECRET}&after={events[-1]['seq']}"
            async with dial(server, query=query) as wire:
                events += await wire.until(RESUMED)
                await wire.sound(PCM16K[2 * events[-1]["received_frames"] :])
                events += await wire.finish()
        return expected, events

    expected, events = asyncio.run(patience(scene()))
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert finals_of(events) == finals_of(expected)


@pytest.mark.parametrize(("encoding", "width"), [("s16le", 2), ("f32le", 4)])
def test_a_line_may_break_inside_a_sample(encoding: str, width: int) -> None:
    """What has come of a sample is not held against the next connection, which begins a new one."""
    rate = 24_000
    data = encode(resampled(demo(5.2), rate), encoding)
    settings = f"rate={rate}&encoding={encoding}"

    async def scene() -> tuple[list[Told], list[Told], int]:
        async with serving() as server:
            expected = await whole(server, data, rate=str(rate), encoding=encoding)
            async with dial(server, query=f"{settings}&stream={SECRET}") as wire:
                await wire.raw(data[: 2 * rate * width + 1])
                # Answered after all of it was heard.
                events = await wire.update()
                await wire.break_off()
            async with dial(server, query=f"stream={SECRET}&after={events[-1]['seq']}") as wire:
                events += await wire.until(RESUMED)
                frames = events[-1]["received_frames"]
                await wire.sound(data[frames * width :])
                return expected, events + await wire.finish(), frames

    expected, events, frames = asyncio.run(patience(scene()))
    assert frames == 2 * rate
    check_stream(events)
    assert finals_of(events) == finals_of(expected)


def test_a_client_is_told_once_where_to_go_on() -> None:
    """A resumption that got lost with its line is not sent again: it is true no more."""

    async def scene() -> list[Told]:
        async with serving() as server:
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                last = (await wire.update())[-1]["seq"]
                await wire.break_off()
            query = f"stream={SECRET}&after={last}"
            async with dial(server, query=query) as wire:
                # Sent before anything was read, as far as the client knows.
                await wire.sound(bytes(SECOND))
                await wire.settle()
                await wire.break_off()
            async with dial(server, query=query) as wire:
                return await wire.until(RESUMED)

    events = asyncio.run(patience(scene()))
    assert events[-1]["received_frames"] == 16_000


def test_a_client_that_says_goodbye_is_not_waited_for() -> None:
    """A page that is closed ends its stream at once, though it might have come back for it."""

    async def scene() -> tuple[list[Told], Told]:
        async with serving() as server:
            async with dial(server, "/v1/events", query="all") as listener:
                await listener.next()
                async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                    await wire.sound(PCM16K[: 3 * SECOND])
                    await wire.until(STARTED)
                    await wire.connection.close(1001)
                events = await listener.until(CLOSED)
            async with dial(server, query=f"stream={SECRET}&after=2") as wire:
                return events, await wire.next()

    events, again = asyncio.run(patience(scene()))
    check_stream(events)
    assert len(of_kind(events, EMOTION)) == 1
    assert again["type"] == "session.created"
    assert again["session_id"] != events[0]["session_id"]


def test_a_newer_connection_takes_over() -> None:
    """A client that believes its line dead is right: the old connection is closed."""

    async def scene() -> None:
        async with serving() as server, dial(server, query=f"stream={SECRET}") as old:
            created = await old.next()
            async with dial(server, query=f"stream={SECRET}&after=1") as new:
                assert (await new.next())["type"] == RESUMED
                await old.rest()
                assert old.code == 1001
                assert "newer" in old.reason
                closed = await new.finish()
                assert kinds(closed) == [CLOSED]
                assert closed[0]["session_id"] == created["session_id"]

    asyncio.run(patience(scene()))


def test_an_old_connection_is_not_heard_once_a_newer_one_was_told_where_to_go_on() -> None:
    """``received_frames`` is exactly what was heard, though the old line was still delivering."""

    async def scene() -> tuple[int, int]:
        async with serving() as server, dial(server, query=f"rate=16000&stream={SECRET}") as old:
            await old.raw(bytes(SECOND))
            await old.settle()
            await old.raw(bytes(20 * SECOND))
            await old.raw(bytes(20 * SECOND))
            async with dial(server, query=f"stream={SECRET}&after=1") as new:
                frames = (await new.until(RESUMED))[-1]["received_frames"]
                return frames, (await new.settle())[-1]["audio_ms"]

    frames, audio_ms = asyncio.run(patience(scene()))
    assert 16_000 <= frames < 41 * 16_000
    assert audio_ms == frames // 16


def test_much_that_was_missed_comes_at_once() -> None:
    """A client that was away for long is not taken for a slow reader."""
    most = 16

    async def scene() -> tuple[list[Told], list[Told]]:
        flags = {"server.backlog_events": most, "partial.every_ms": 200}
        async with serving(flags) as server:
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                session_id = (await wire.next())["session_id"]
                events = "/v1/events"
                async with dial(server, events, query=f"session={session_id}") as listener:
                    await wire.sound(PCM16K + bytes(SECOND))
                    await wire.until(STARTED)
                    for _ in range(4):
                        await listener.until(EMOTION)
                    await wire.break_off()
            async with dial(server, query=f"stream={SECRET}&after=1") as wire:
                again = await wire.until(RESUMED)
                again += await wire.finish()
            async with dial(server, "/v1/events", query=f"session={session_id}&after=1") as wire:
                await wire.next()
                return again, await wire.until(CLOSED)

    again, truth = asyncio.run(patience(scene()))
    assert len(truth) > most
    assert [bare(event) for event in again] == [bare(event) for event in truth]


async def come_and_go(server: EmotionServer, times: int) -> None:
    """Begin streams and end them: two events each."""
    for _ in range(times):
        async with dial(server) as other:
            await other.finish()


def test_no_final_is_lost_though_others_push_out_what_is_kept_for_listeners() -> None:
    """What a stream may still need is kept for it alone."""

    async def scene() -> tuple[list[Told], Told]:
        async with serving({"server.replay_events": 100}) as server:
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                session_id = (await wire.next())["session_id"]
                query = f"session={session_id}"
                async with dial(server, "/v1/events", query=query) as listener:
                    await wire.sound(PCM16K + bytes(SECOND))
                    for _ in range(4):
                        await listener.until(EMOTION)
                await wire.break_off()
            await come_and_go(server, 60)
            async with dial(server, "/v1/events", query=f"session={session_id}&after=1") as late:
                assert (await late.next())["lost"] is True
            async with dial(server, query=f"stream={SECRET}&after=0") as wire:
                again = await wire.until(RESUMED)
                return again + await wire.finish(), again[-1]

    events, resumed = asyncio.run(patience(scene()))
    assert (resumed["lost_events"], resumed["lost_finals"]) == (0, 0)
    assert len(finals_of(events)) == 4
    check_stream(events)


def test_a_stream_that_is_not_known_begins_anew() -> None:
    """A client that comes too late, or to another server, sees so by the session's new name."""

    async def scene() -> list[Told]:
        query = f"rate=16000&stream={SECRET}&after=7"
        async with serving({"server.resume_s": 0}) as server:
            created = []
            async with dial(server, "/v1/events", query=f"all&types={CLOSED}") as listener:
                await listener.next()
                for _ in range(2):
                    async with dial(server, query=query) as wire:
                        created.append(await wire.next())
                        await wire.break_off()
                    await listener.until(CLOSED)
            return created

    created = asyncio.run(patience(scene()))
    assert kinds(created) == ["session.created"] * 2
    assert created[0]["session_id"] != created[1]["session_id"]


def test_a_stream_whose_client_stays_away_is_finished() -> None:
    """What it said is judged all the same, and told to those who listen."""

    async def scene() -> list[Told]:
        async with (
            serving({"server.resume_s": 0.3}) as server,
            dial(server, "/v1/events", query="all") as listener,
        ):
            await listener.next()
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                await wire.sound(PCM16K[: 3 * SECOND])
                await wire.until(STARTED)
                await wire.break_off()
            return await listener.until(CLOSED)

    events = asyncio.run(patience(scene()))
    check_stream(events)
    assert len(of_kind(events, EMOTION)) == 1


def test_a_stream_without_a_secret_ends_with_its_connection() -> None:
    """Nobody could come back for it: it is finished at once, and its place is free again."""

    async def scene() -> list[Told]:
        async with serving({"server.max_sessions": 1}) as server:
            async with dial(server, "/v1/events", query="all") as listener:
                await listener.next()
                async with dial(server, query="rate=16000") as wire:
                    await wire.sound(PCM16K[: 3 * SECOND])
                    await wire.until(STARTED)
                    await wire.break_off()
                events = await listener.until(CLOSED)
            async with dial(server) as wire:
                await wire.next()
            return events

    events = asyncio.run(patience(scene()))
    check_stream(events)
    assert len(of_kind(events, EMOTION)) == 1


def test_a_server_that_stops_tells_the_finals_first() -> None:
    """Whoever speaks while the server ends is judged, told, and closed with 1001; so are others."""

    async def scene() -> None:
        async with (
            serving() as server,
            dial(server, "/v1/events", query="all") as listener,
            dial(server, query=f"rate=16000&stream={SECRET}") as wire,
        ):
            snapshot = await listener.next()
            assert snapshot["type"] == "streamser.snapshot"
            await wire.sound(PCM16K[: 7 * SECOND])
            events = await wire.until(STARTED)
            events += await wire.until(STARTED)
            port = urlsplit(server.url).port
            stopping = asyncio.create_task(server.stop())
            events += await wire.rest()
            assert wire.code == 1001
            check_stream(events)
            assert [event["reason"] for event in of_kind(events, STOPPED)] == ["pause", "flush"]
            heard = await listener.rest()
            assert listener.code == 1001
            assert [bare(event) for event in heard] == [bare(event) for event in events]
            await stopping
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

    asyncio.run(patience(scene()))


def test_a_held_stream_is_told_to_its_end_when_the_server_stops() -> None:
    """A client that is away just then does not take its last utterance with it."""

    async def scene() -> list[Told]:
        async with serving() as server, dial(server, "/v1/events", query="all") as listener:
            await listener.next()
            async with dial(server, query=f"rate=16000&stream={SECRET}") as wire:
                await wire.sound(PCM16K[: 3 * SECOND])
                await wire.until(STARTED)
                await wire.break_off()
            await listener.until(STARTED)
            stopping = asyncio.create_task(server.stop())
            events = await listener.rest()
            await stopping
            return events

    events = asyncio.run(patience(scene()))
    assert kinds(events)[-1] == CLOSED
    assert len(of_kind(events, EMOTION)) == 1


# Listeners


def test_a_listener_hears_all_that_the_client_hears() -> None:
    """A snapshot first, then each event as the client got it, with its place on the server."""

    async def scene() -> tuple[Told, list[Told], list[Told]]:
        async with serving() as server, dial(server, "/v1/events", query="all") as listener:
            snapshot = await listener.next()
            events = await whole(server, PCM16K, rate="16000")
            return snapshot, events, await listener.until(CLOSED)

    snapshot, events, heard = asyncio.run(patience(scene()))
    assert snapshot["type"] == "streamser.snapshot"
    assert snapshot["sessions"] == snapshot["meetings"] == snapshot["finals"] == []
    assert snapshot["lost"] is False
    assert [bare(event) for event in heard] == [bare(event) for event in events]
    assert [event["lag_ms"] for event in heard] == [event["lag_ms"] for event in events]
    cursors = [event["cursor"] for event in heard]
    assert cursors == list(range(snapshot["cursor"] + 1, snapshot["cursor"] + 1 + len(heard)))
    assert [event["at_ms"] for event in heard] == sorted(event["at_ms"] for event in heard)
    assert {event["meeting"] for event in heard} == {None}


def test_a_late_listener_learns_the_state_of_things() -> None:
    """The snapshot has who is there, the mood, and the utterances that are finished."""

    async def scene() -> tuple[Told, Told, Told]:
        query = "rate=16000&meeting=standup&speaker=Carl"
        async with serving() as server, dial(server, query=query) as wire:
            events = await ordered_finals(wire, PCM16K)
            async with dial(server, "/v1/events", query="meeting=standup") as listener:
                snapshot = await listener.next()
            async with dial(server, "/v1/events", query="meeting=another") as listener:
                other = await listener.next()
            return events[-1], snapshot, other

    async def ordered_finals(wire: Wire, data: bytes) -> list[Told]:
        await wire.sound(data)
        await wire.sound(bytes(SECOND))
        return await wire.settle()

    last, snapshot, other = asyncio.run(patience(scene()))
    (state,) = snapshot["sessions"]
    assert state["session"]["id"] == last["session_id"]
    assert state["seq"] == last["seq"]
    (meeting,) = snapshot["meetings"]
    assert [speaker["speaker"] for speaker in meeting["speakers"]] == ["Carl"]
    assert meeting["speakers"][0]["utterances"] == 4
    assert meeting["mood"]["category"]
    assert len(snapshot["finals"]) == 4
    assert {final["speaker"] for final in snapshot["finals"]} == {"Carl"}
    assert other["sessions"] == other["meetings"] == other["finals"] == []


def test_what_was_missed_is_sent_again() -> None:
    """``after`` is a cursor, or with one session its ``seq``; live events follow without a gap."""

    async def scene() -> tuple[list[Told], list[Told], list[Told], Told]:
        async with serving() as server, dial(server, "/v1/events", query="all") as listener:
            await listener.next()
            async with dial(server, query="rate=16000") as wire:
                session_id = (await wire.next())["session_id"]
                await wire.sound(PCM16K[: 6 * SECOND])
                await wire.until(EMOTION)
                everything = await listener.until(EMOTION)
                early = everything[2]
                by_cursor = f"all&after={early['cursor']}"
                by_seq = f"session={session_id}&after={early['seq']}"
                async with (
                    dial(server, "/v1/events", query=by_cursor) as one,
                    dial(server, "/v1/events", query=by_seq) as two,
                ):
                    snapshots = [await one.next(), await two.next()]
                    await wire.sound(PCM16K[6 * SECOND :])
                    await wire.finish()
                    everything += await listener.until(CLOSED)
                    first, second = await one.until(CLOSED), await two.until(CLOSED)
        for snapshot in snapshots:
            assert snapshot["replay_from"] == early["cursor"] + 1
            assert snapshot["lost"] is False
        return everything[3:], first, second, snapshots[1]

    everything, first, second, by_session = asyncio.run(patience(scene()))
    assert first == second == everything
    assert [state["session"]["id"] for state in by_session["sessions"]] == [
        everything[0]["session_id"]
    ]


def test_a_listener_is_told_when_too_much_was_missed() -> None:
    """Only so many events are kept; whoever needs older ones learns that they are lost.

    Whoever asks for all that there is gets it, and has lost nothing.
    """

    async def scene() -> dict[str, bool]:
        flags = {"server.replay_events": 100, "emotion.model": "rules"}
        async with serving(flags) as server, dial(server, query="rate=16000") as wire:
            session_id = (await wire.next())["session_id"]
            async with dial(server, "/v1/events", query="all") as listener:
                first = (await listener.next())["cursor"]
            await wire.update(ordered=True, partial_every_ms=60)
            await wire.sound(PCM16K + bytes(SECOND))
            last = (await wire.settle())[-1]
            assert last["seq"] > 150
            async with dial(server, "/v1/events", query="all") as listener:
                now = (await listener.next())["cursor"]
            asked = {
                "old": f"all&after={first}",
                "kept": f"all&after={now - 90}",
                "now": f"all&after={now}",
                "of another server": f"all&after={now + 10**9}",
                "before any": "all&after=0",
                "old seq": f"session={session_id}&after=1",
                "kept seq": f"session={session_id}&after={last['seq'] - 90}",
            }
            lost = {}
            for name, query in asked.items():
                async with dial(server, "/v1/events", query=query) as listener:
                    lost[name] = (await listener.next())["lost"]
            return lost

    lost = asyncio.run(patience(scene()))
    assert {name for name, is_lost in lost.items() if is_lost} == {
        "old",
        "of another server",
        "old seq",
    }


def test_a_quiet_session_s_events_may_be_lost_among_others() -> None:
    """A listener of a session learns that events of it are gone, though none of it is kept."""

    async def scene() -> Told:
        async with serving({"server.replay_events": 100}) as server, dial(server) as quiet:
            session_id = (await quiet.next())["session_id"]
            for _ in range(2):
                await quiet.update()
            await come_and_go(server, 60)
            query = f"session={session_id}&after=1"
            async with dial(server, "/v1/events", query=query) as listener:
                return await listener.next()

    snapshot = asyncio.run(patience(scene()))
    assert snapshot["sessions"][0]["seq"] == 3
    assert snapshot["lost"] is True


def test_a_listener_may_ask_for_some_types_only() -> None:
    """Types, and beginnings of them with a star; the snapshot comes in any case."""

    async def scene() -> list[Told]:
        query = f"all&types={CLOSED},streamser.emotion.*"
        async with serving() as server, dial(server, "/v1/events", query=query) as listener:
            await answered(server)
            return await listener.until(CLOSED)

    events = asyncio.run(patience(scene()))
    assert set(kinds(events)) == {"streamser.snapshot", DELTA, EMOTION, CLOSED}
    assert len(of_kind(events, EMOTION)) == 4


@pytest.mark.parametrize(
    "query", ["", "meeting=a&session=b", "all&after=x", "meeting=", "all&after=-1", "session="]
)
def test_a_listener_must_say_what_it_wants(stage: Stage, query: str) -> None:
    """An address that cannot be followed is refused before a socket is opened."""
    status, _, error = stage.play(refusal(stage.server, "/v1/events", query=query))
    assert (status, error["code"]) == (400, "invalid_query")


def test_a_session_that_is_not_known_cannot_be_listened_to(stage: Stage) -> None:
    """The listener is told so, and closed with a code of its own."""

    async def scene() -> tuple[list[Told], int | None]:
        async with dial(stage.server, "/v1/events", query="session=sess_0") as listener:
            return await listener.rest(), listener.code

    events, code = stage.play(scene())
    assert code == 4404
    assert [event["error"]["code"] for event in events] == ["unknown_session"]


# Meetings


def test_a_meeting_is_more_than_its_speakers() -> None:
    """Each final is followed by the meeting's mood and shares; both speakers are in it."""

    async def scene() -> tuple[list[Told], Told]:
        async with serving() as server:
            async with dial(server, "/v1/events", query="meeting=standup") as listener:
                await listener.next()
                room = "rate=16000&meeting=standup"
                async with (
                    dial(server, query=f"{room}&speaker=Carl") as carl,
                    dial(server, query=f"{room}&speaker=Ben") as ben,
                    dial(server, query="rate=16000&meeting=another&speaker=Eve") as eve,
                ):
                    await carl.sound(PCM16K[: 5 * SECOND])
                    await eve.sound(PCM16K[: 5 * SECOND])
                    await ben.sound(PCM16K[5 * SECOND : 9 * SECOND])
                    for wire in (carl, eve, ben):
                        await wire.sound(bytes(SECOND))
                        await wire.settle()
                        await wire.finish()
                events = await listener.until(CLOSED)
                events += await listener.until(CLOSED)
            async with dial(server, "/v1/events", query="meeting=standup") as listener:
                return events, await listener.next()

    events, snapshot = asyncio.run(patience(scene()))
    assert {event["meeting"] for event in events} == {"standup"}
    cursors = [event["cursor"] for event in events]
    assert cursors == sorted(set(cursors))
    updates = of_kind(events, UPDATED)
    assert len(updates) == len(of_kind(events, EMOTION)) == 2
    speakers = {speaker["speaker"]: speaker for speaker in updates[-1]["speakers"]}
    assert set(speakers) == {"Carl", "Ben"}
    assert sum(speaker["share"] for speaker in speakers.values()) == pytest.approx(1, abs=0.001)
    for final in of_kind(events, EMOTION):
        named = final["emotion"]["speaker"]
        window = final["emotion"]["window"]
        assert speakers[named]["speech_ms"] == window["end_ms"] - window["start_ms"]
        assert speakers[named]["utterances"] == 1
    assert updates[-1]["mood"]["scores"]
    (meeting,) = snapshot["meetings"]
    assert meeting["mood"] == updates[-1]["mood"]
    assert {final["speaker"] for final in snapshot["finals"]} == {"Carl", "Ben"}


def test_who_comes_back_to_a_meeting_is_known_by_voice() -> None:
    """What was learnt of a speaker goes on in a later session, but not in another meeting."""

    async def scene() -> list[list[float]]:
        async with serving() as server:
            known = []
            for room, speaker in (
                ("standup", "Carl"),
                ("standup", "Carl"),
                ("standup", "Ben"),
                ("another", "Carl"),
            ):
                events = await whole(server, PCM16K, rate="16000", meeting=room, speaker=speaker)
                finals = of_kind(events, EMOTION)
                known.append([final["emotion"]["evidence"]["known_utterances"] for final in finals])
            return known

    first, again, another, elsewhere = asyncio.run(patience(scene()))
    assert first[0] == 0
    assert again[0] > first[-1]
    assert another == elsewhere == first


def test_another_may_take_the_microphone() -> None:
    """From the change on another name speaks, whose voice is learnt anew; the meeting has both."""

    async def scene() -> tuple[list[Told], Told]:
        query = "rate=16000&meeting=standup&speaker=Carl"
        async with serving() as server, dial(server, query=query) as wire:
            await wire.sound(PCM16K[: round(8.9 * SECOND)])
            events = await wire.settle()
            events += await wire.update(speaker="Anna")
            await wire.sound(PCM16K[round(8.9 * SECOND) :])
            events += await wire.finish()
            async with dial(server, "/v1/events", query="meeting=standup") as listener:
                return events, await listener.next()

    events, snapshot = asyncio.run(patience(scene()))
    check_stream(events)
    told = [event["emotion"] for event in of_kind(events, EMOTION)]
    assert [emotion["speaker"] for emotion in told] == ["Carl", "Carl", "Anna", "Anna"]
    known = [emotion["evidence"]["known_utterances"] for emotion in told]
    assert known[0] == known[2] == 0
    assert known[1] > 0
    assert known[3] > 0
    (meeting,) = snapshot["meetings"]
    assert {speaker["speaker"]: speaker["utterances"] for speaker in meeting["speakers"]} == {
        "Carl": 2,
        "Anna": 2,
    }


# Endings


@pytest.mark.slow
def test_one_that_does_not_read_cannot_keep_a_server_from_stopping() -> None:
    """It stops within seconds, and everybody else is told everything."""

    async def scene() -> list[Told]:
        async with (
            serving() as server,
            Narrow.dial(server, "/v1/events", query="all"),
            dial(server, "/v1/events", query="all") as listener,
            dial(server, query="rate=16000") as wire,
        ):
            for _ in range(300):
                await wire.update()
            await wire.sound(PCM16K[: 3 * SECOND])
            await wire.until(STARTED)
            stopping = asyncio.create_task(server.stop())
            events = await wire.rest()
            await listener.rest()
            assert (wire.code, listener.code) == (1001, 1001)
            async with asyncio.timeout(60):
                await stopping
            return events

    events = asyncio.run(patience(scene()))
    assert kinds(events)[-1] == CLOSED
    assert len(of_kind(events, EMOTION)) == 1


# Plain HTTP


def test_health_metrics_and_schemas_are_on_the_same_port() -> None:
    """What is told of a session is counted, and fits the schemas that are told."""

    async def scene() -> dict[str, str]:
        async with serving() as server:
            await whole(server, PCM16K, rate="16000")

            def get(path: str) -> str:
                try:
                    with urllib.request.urlopen(server.url + path) as response:
                        return str(response.read().decode())
                except urllib.error.HTTPError as error:
                    return f"{error.code} {error.read().decode()}"

            paths = ("readyz", "metrics", "v1/protocol.json", "v1/realtime", "nowhere")
            return {path: await asyncio.to_thread(get, path) for path in paths}

    answers = asyncio.run(patience(scene()))
    assert answers["readyz"] == "ready\n"
    lines = answers["metrics"].splitlines()
    assert 'streamser_utterances_total{outcome="read"} 4.0' in lines
    assert "streamser_streams 0.0" in lines
    (seconds,) = (line for line in lines if line.startswith("streamser_audio_seconds_total "))
    assert float(seconds.split()[1]) == pytest.approx(15.2)
    assert answers["v1/realtime"].startswith("426 ")
    assert "websocket_expected" in answers["v1/realtime"]
    assert answers["nowhere"].startswith("404 ")
    schemas: dict[str, Any] = json.loads(answers["v1/protocol.json"])
    assert schemas["protocol"] == "streamser.v1"
    assert {"events", "messages", "stamp", "$defs"} <= set(schemas)
