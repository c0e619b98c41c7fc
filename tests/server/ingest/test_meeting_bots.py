"""Meeting bots: everybody they send is a speaker of the meeting, with words, emotion and time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed

from streamser.logs import FIELDS
from streamser.server.app import EmotionServer
from streamser.server.stream import LiveStream
from tests.server.guarding import BOTH, LISTEN, SEND
from tests.server.ingest.bots import Piece, attendee, pieces, presence, recall, send, together
from tests.server.serving import (
    EMOTION,
    Told,
    Wire,
    check_stream,
    demo,
    dial,
    encode,
    of_kind,
    patience,
    refusal,
    resampled,
    serving,
)

ANN, BEN = encode(demo(7.5)), encode(demo(7.7, 7.5))
BOT = "bot_12345abcdef"
HALL = "meeting=all%20hands"
CREATED = "session.created"
CLOSED = "streamser.session.closed"
RESUMED = "streamser.session.resumed"
STARTED = "input_audio_buffer.speech_started"


@asynccontextmanager
async def meeting(
    server: EmotionServer, bot: str, path: str, query: str = ""
) -> AsyncIterator[tuple[Wire, Wire]]:
    """Let a bot and a listener of its meeting in; yield their wires."""
    async with dial(server, "/v1/events", query=urlencode({"meeting": bot})) as listener:
        await listener.next()
        async with dial(server, f"/v1/ingest/{path}", query=query) as wire:
            yield wire, listener


async def told_of(listener: Wire, sessions: int) -> list[Told]:
    """Return what a listener is told until so many sessions are over."""
    events: list[Told] = []
    while len(of_kind(events, CLOSED)) < sessions:
        events.append(await listener.next())
    return events


async def until(listener: Wire, *wanted: str) -> list[Told]:
    """Return what a listener is told up to one of these."""
    events = [await listener.next()]
    while events[-1]["type"] not in wanted:
        events.append(await listener.next())
    return events


def apart(events: list[Told]) -> dict[str | None, list[Told]]:
    """Return the events of each speaker, whose sessions must fit together."""
    speakers = {e["session_id"]: e["session"]["speaker"] for e in of_kind(events, CREATED)}
    whose: dict[str | None, list[Told]] = {}
    for session_id, speaker in speakers.items():
        own = [event for event in events if event.get("session_id") == session_id]
        whose.setdefault(speaker, []).extend(own)
    return whose


def readings(events: list[Told]) -> list[tuple[str, int, int]]:
    """Return the emotion of each utterance with its begin and end, in ms of audio."""
    return [
        (
            event["emotion"]["category"],
            event["emotion"]["window"]["start_ms"],
            event["emotion"]["window"]["end_ms"],
        )
        for event in of_kind(events, EMOTION)
    ]


async def alone(server: EmotionServer, data: bytes) -> list[tuple[str, int, int]]:
    """Return the readings of somebody who has connected by themselves."""
    async with dial(server, query="rate=16000") as wire:
        await wire.sound(data, size=3200)
        return readings(await wire.finish())


def metric(server: EmotionServer, name: str) -> float:
    """Return a figure of the server's."""
    for line in server.metrics.render().decode().splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[-1])
    raise AssertionError(name)


async def closed(wire: Wire) -> int | None:
    """Return the code with which the server closes, having told nothing."""
    assert await wire.rest() == []
    return wire.code


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """Return the fields of the server's lines of one kind."""
    found = [getattr(record, FIELDS, {}) for record in caplog.records]
    return [fields for fields in found if fields.get("event") == event]


def test_everybody_whom_attendee_sends_is_heard_as_if_by_themselves() -> None:
    """Same emotion at the same times, each under their own id, in the meeting of the bot."""

    async def scene() -> None:
        async with serving() as server:
            async with meeting(server, BOT, "attendee") as (wire, listener):
                said = together(pieces("16778240", ANN), pieces("16790528", BEN, 1500))
                await send(wire, *map(attendee, said))
                await wire.connection.close()
                events = await told_of(listener, 2)
            whose = apart(events)
            assert set(whose) == {"participant 16778240", "participant 16790528"}
            for name, data in zip(sorted(map(str, whose)), (ANN, BEN), strict=True):
                check_stream(whose[name])
                assert readings(whose[name]) == await alone(server, data)
                assert len(readings(whose[name])) >= 2
            assert metric(server, 'streamser_bot_messages_total{outcome="heard"}') == len(said)

    asyncio.run(patience(scene()))


def test_everybody_whom_recall_sends_has_a_name_and_a_mood() -> None:
    """The name stands beside the sound; the meeting tells of both as of any speakers."""

    async def scene() -> None:
        async with serving() as server, meeting(server, "all hands", "recall", HALL) as wires:
            wire, listener = wires
            await send(wire, presence("join", "1", "Ann"), presence("speech_on", "1", "Ann"))
            for piece in together(pieces("1", ANN), pieces("2", BEN)):
                await send(wire, recall(piece, {"1": "Ann", "2": "Ben"}[piece.who]))
            await wire.connection.close()
            events = await told_of(listener, 2)
        whose = apart(events)
        assert set(whose) == {"Ann", "Ben"}
        assert all(len(readings(told)) >= 2 for told in whose.values())
        last = of_kind(events, "streamser.meeting.updated")[-1]
        assert last["meeting"] == "all hands"
        assert {each["speaker"] for each in last["speakers"]} == {"Ann", "Ben"}
        assert all(each["mood"] is not None for each in last["speakers"])

    asyncio.run(patience(scene()))


def test_what_is_said_after_a_gap_has_the_time_of_the_meeting() -> None:
    """A bot sends nothing of who is muted: their clock goes on with the timestamps."""

    async def scene() -> None:
        async with serving() as server:
            async with meeting(server, BOT, "attendee") as (wire, listener):
                gone_on = pieces("7", BEN, 27_500)
                await send(wire, *map(attendee, [*pieces("7", ANN), *gone_on]))
                await wire.connection.close()
                (told,) = apart(await told_of(listener, 1)).values()
            whole = ANN + bytes(2 * 16_000 * 20) + BEN
            assert readings(told) == await alone(server, whole)
            assert told[-1]["audio_ms"] == 27_500 + len(BEN) // 32
            assert metric(server, "streamser_bot_silence_seconds_total") == pytest.approx(20)

    asyncio.run(patience(scene()))


def test_sound_as_of_a_telephone_is_heard_too() -> None:
    """Attendee sends 8 kHz where it is asked to, and may be asked in between."""

    async def scene() -> None:
        async with serving() as server, meeting(server, BOT, "attendee") as (wire, listener):
            low = encode(resampled(demo(7.5), 8000))
            await send(wire, *map(attendee, pieces("7", low, rate=8000)))
            await send(wire, *map(attendee, pieces("7", BEN, 7500)))
            await wire.connection.close()
            (told,) = apart(await told_of(listener, 1)).values()
        assert len(readings(told)) == 4
        assert abs(told[-1]["audio_ms"] - 15_200) <= 2

    asyncio.run(patience(scene()))


def test_a_bot_that_connects_anew_goes_on_with_everybody() -> None:
    """Their sessions are the same, and what was lost on the way is a gap in their time."""

    async def scene() -> None:
        async with serving() as server, meeting(server, BOT, "attendee") as (wire, listener):
            first = [*pieces("7", ANN)]
            await send(wire, *(attendee(e, sequence=n) for n, e in enumerate(first)))
            events = await until(listener, EMOTION)
            await wire.break_off()
            async with dial(server, "/v1/ingest/attendee") as wire:
                rest = [*pieces("7", BEN, 10_000)]
                # The one before it counted as well; this one begins anew.
                await send(wire, *(attendee(e, sequence=n) for n, e in enumerate(rest)))
                await wire.connection.close()
                events += await told_of(listener, 1)
            assert len(of_kind(events, CREATED)) == len(of_kind(events, RESUMED)) == 1
            check_stream([event for event in events if event.get("session_id")])
            assert events[-1]["audio_ms"] == 10_000 + len(BEN) // 32
            assert readings(events) == await alone(server, ANN + bytes(32 * 2500) + BEN)

    asyncio.run(patience(scene()))


def test_a_newer_connection_of_a_bot_takes_over() -> None:
    """The bot knows better than the server whether its old connection is dead."""

    async def scene() -> None:
        async with serving() as server, meeting(server, BOT, "attendee") as (wire, listener):
            said = [*pieces("7", ANN)]
            await send(wire, *map(attendee, said[:40]))
            await until(listener, STARTED)
            async with dial(server, "/v1/ingest/attendee") as newer:
                await send(newer, attendee(said[40]))
                assert await closed(wire) == 1001
                await send(newer, *map(attendee, said[41:]))
                await newer.connection.close()
                events = await told_of(listener, 1)
            assert len(of_kind(events, RESUMED)) == 1
            assert of_kind(events, CLOSED)[0]["audio_ms"] == 7500

    asyncio.run(patience(scene()))


def test_who_leaves_is_told_to_the_end_while_the_others_go_on() -> None:
    """Their last words are read, their session closes, and the name is free for their return."""

    async def scene() -> None:
        async with (
            serving() as server,
            meeting(server, "bot-of-recall", "recall") as (wire, listener),
        ):
            for piece in together(pieces("1", ANN[: 2 * 40_000]), pieces("2", BEN)):
                await send(wire, recall(piece, "Ann" if piece.who == "1" else "Ben"))
            await send(wire, presence("leave", "1", "Ann"))
            events = await told_of(listener, 1)
            assert apart(events)["Ann"][-1]["type"] == CLOSED
            assert len(readings(apart(events)["Ann"])) == 1
            # Who comes back has another number.
            await send(wire, *(recall(piece, "Ann") for piece in pieces("3", BEN, 9000)))
            await wire.connection.close()
            events += await told_of(listener, 2)
        whose = apart(events)
        assert set(whose) == {"Ann", "Ben"}
        assert len(of_kind(whose["Ann"], CREATED)) == 2
        assert len(of_kind(whose["Ben"], CREATED)) == 1

    asyncio.run(patience(scene()))


def test_a_name_that_comes_later_or_changes_is_told() -> None:
    """From then on; two of one name are two people."""

    async def scene() -> None:
        async with (
            serving() as server,
            meeting(server, "bot-of-recall", "recall") as (wire, listener),
        ):
            await send(wire, *(recall(piece, None) for piece in pieces("1", ANN[:32_000])))
            await send(wire, *(recall(piece, "iPhone") for piece in pieces("2", ANN[:32_000])))
            await send(wire, presence("update", "1", "iPhone"))
            await send(wire, presence("update", "2", "Ben"))
            await wire.connection.close()
            events = await told_of(listener, 2)
        named = [e["session"]["speaker"] for e in of_kind(events, CREATED, "session.updated")]
        assert named == ["participant 1", "iPhone", "iPhone (2)", "Ben"]

    asyncio.run(patience(scene()))


def test_one_bad_message_is_counted_and_told_once_and_the_next_is_heard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody reads an answer: the log and the metrics say it."""
    bad = ["{", b"sound", "{}", {"trigger": "realtime_audio.per_participant", "data": {}}]

    async def scene() -> None:
        async with serving() as server, meeting(server, BOT, "attendee") as (wire, listener):
            said = [*map(attendee, pieces("7", ANN))]
            other = attendee(next(pieces("7", ANN)), bot="bot_of_another_meeting")
            video = {"bot_id": BOT, "trigger": "realtime_video.per_participant", "data": {}}
            await send(wire, *said[:20], *bad, *bad, other, video, *said[18:])
            await wire.connection.close()
            (told,) = apart(await told_of(listener, 1)).values()
            assert metric(server, 'streamser_bot_messages_total{outcome="unusable"}') == 9
            assert metric(server, 'streamser_bot_messages_total{outcome="late"}') == 2
            assert told[-1]["audio_ms"] == 7500

    with caplog.at_level(logging.INFO, "streamser.server.telemetry"):
        asyncio.run(patience(scene()))
    codes = [line["code"] for line in lines(caplog, "bot_unusable")]
    assert codes == ["invalid_json", "binary_message", "invalid_value", "another_bot"]
    (left,) = lines(caplog, "bot_left")
    assert (left["unusable"], left["late"], left["heard_s"]) == (9, 2, 7.5)


def test_a_bot_at_the_wrong_address_is_sent_away_with_the_reason() -> None:
    """Where nothing it sends can be used: of one bad message among good ones nothing comes."""

    async def scene() -> None:
        async with serving() as server, dial(server, "/v1/ingest/recall") as wire:
            piece = next(pieces("7", ANN))
            with suppress(ConnectionClosed):
                await send(wire, *[attendee(piece)] * 80)
            assert await closed(wire) == 1008
            assert "50 messages" in wire.reason
            assert "event" in wire.reason

    asyncio.run(patience(scene()))


def test_a_token_comes_in_the_address_and_must_be_one_to_send(token_file: str) -> None:
    """A bot is given an address and nothing else; one bound to a speaker is no bot's."""

    async def scene() -> None:
        async with serving({"server.token_file": token_file}) as server:
            for path in ("/v1/ingest/attendee", "/v1/ingest/recall"):
                assert (await refusal(server, path))[0] == 401
                assert (await refusal(server, path, query=f"token={LISTEN}"))[0] == 403
                async with dial(server, path, query=f"token={SEND}"):
                    pass
            status, _, error = await refusal(
                server, "/v1/ingest/recall", query=f"token={SEND}&speaker=Ann"
            )
            assert (status, error["code"]) == (403, "forbidden")

    asyncio.run(patience(scene()))


def test_a_token_of_one_meeting_sends_bots_there_alone(tmp_path: Path) -> None:
    """Whatever the bot calls itself."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"bots send meeting=hall {SEND}\nears listen {LISTEN}\n")

    async def scene() -> None:
        async with (
            serving({"server.token_file": str(tokens)}) as server,
            dial(server, "/v1/events", query=f"meeting=hall&token={LISTEN}") as listener,
            dial(server, "/v1/ingest/attendee", query=f"token={SEND}") as wire,
        ):
            elsewhere = await refusal(
                server, "/v1/ingest/attendee", query=f"token={SEND}&meeting=other"
            )
            assert elsewhere[0] == 403
            await send(wire, *map(attendee, [*pieces("7", ANN)][:10]))
            created = (await until(listener, CREATED))[-1]
            assert created["session"]["meeting"] == "hall"

    asyncio.run(patience(scene()))


def test_there_is_no_bot_before_the_models_and_none_beyond_the_places() -> None:
    """Both come again by themselves: they try every few seconds."""

    async def scene() -> None:
        flags = {"server.max_sessions": 1}
        async with serving(flags, load=False) as server:
            status, headers, error = await refusal(server, "/v1/ingest/attendee")
            assert (status, error["code"], "Retry-After" in headers) == (503, "not_ready", True)
            await server.load()
            async with dial(server, "/v1/ingest/attendee"):
                assert (await refusal(server, "/v1/ingest/recall"))[2]["code"] == "too_many_bots"

    asyncio.run(patience(scene()))


def test_who_finds_no_place_is_not_heard_and_the_others_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each participant takes the place of a stream."""

    async def scene() -> None:
        async with serving({"server.max_sessions": 1}) as server:
            async with meeting(server, BOT, "attendee") as (wire, listener):
                said = together(pieces("7", ANN), pieces("8", BEN))
                await send(wire, *map(attendee, said))
                await wire.connection.close()
                whose = apart(await told_of(listener, 1))
                assert readings(whose["participant 7"]) == await alone(server, ANN)
            assert set(whose) == {"participant 7"}
            unheard = metric(server, 'streamser_bot_messages_total{outcome="unheard"}')
            assert unheard == len([*pieces("8", BEN)])

    with caplog.at_level(logging.INFO, "streamser.server.telemetry"):
        asyncio.run(patience(scene()))
    assert [line["code"] for line in lines(caplog, "bot_unheard")] == ["too_many_sessions"]


def test_the_sound_of_all_together_is_one_stream_until_somebody_comes_by_themselves() -> None:
    """Else everybody would be heard twice."""

    def mixed(piece: Piece) -> dict[str, Any]:
        message = attendee(piece)
        del message["data"]["participant_uuid"]
        return {**message, "trigger": "realtime_audio.mixed"}

    async def scene() -> None:
        async with serving() as server, meeting(server, BOT, "attendee") as (wire, listener):
            said = [*pieces("7", ANN)]
            await send(wire, *map(mixed, said[:40]), attendee(said[40]))
            events = await told_of(listener, 1)
            await send(wire, *map(mixed, said[41:]), attendee(said[41]))
            await wire.connection.close()
            events += await told_of(listener, 1)
            whose = apart(events)
            assert set(whose) == {None, "participant 7"}
            assert len(readings(whose[None])) == 1
            unheard = metric(server, 'streamser_bot_messages_total{outcome="unheard"}')
            assert unheard == len(said) - 41

    asyncio.run(patience(scene()))


def test_a_server_that_ends_tells_what_was_said_and_sends_the_bot_away() -> None:
    """Also one that has said nothing yet."""

    async def scene() -> None:
        async with serving() as server:
            async with (
                meeting(server, BOT, "attendee") as (wire, listener),
                dial(server, "/v1/ingest/recall") as silent,
            ):
                await send(wire, *map(attendee, [*pieces("7", ANN)][:40]))
                events = await until(listener, STARTED)
                stopping = asyncio.create_task(server.stop())
                events += await told_of(listener, 1)
                assert [await closed(wire), await closed(silent)] == [1001, 1001]
                await stopping
            assert len(readings(events)) == 1

    asyncio.run(patience(scene()))


def test_who_was_silent_for_long_begins_anew_under_the_same_name() -> None:
    """Their place is free meanwhile."""

    async def scene() -> None:
        async with (
            serving({"server.idle_s": 0.2}) as server,
            meeting(server, BOT, "attendee") as (wire, listener),
        ):
            await send(wire, *map(attendee, pieces("7", ANN[:64_000])))
            events = await told_of(listener, 1)
            await send(wire, *map(attendee, pieces("7", BEN, 600_000)))
            events += await told_of(listener, 1)
        whose = apart(events)
        assert set(whose) == {"participant 7"}
        first, second = of_kind(whose["participant 7"], CLOSED)
        assert (first["audio_ms"], second["audio_ms"]) == (2000, len(BEN) // 32)

    asyncio.run(patience(scene()))


def test_a_fault_in_one_session_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot stays, and everybody else is read to the end."""
    push = LiveStream.push_audio

    def broken(stream: LiveStream, data: bytes, came: float) -> None:
        if stream.asked.speaker == "participant 8":
            raise RuntimeError("the model has burnt down")
        push(stream, data, came)

    monkeypatch.setattr(LiveStream, "push_audio", broken)

    async def scene() -> None:
        async with serving() as server, meeting(server, BOT, "attendee") as (wire, listener):
            said = together(pieces("7", ANN), pieces("8", BEN))
            await send(wire, *map(attendee, said))
            await wire.connection.close()
            events = await told_of(listener, 2)
            assert len(readings(apart(events)["participant 7"])) == 2

    asyncio.run(patience(scene()))


def test_a_token_that_has_gone_takes_its_bots_along(tmp_path: Path) -> None:
    """What was said is still told."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"bots send {SEND}\nears listen {LISTEN}\n")

    async def scene() -> None:
        async with (
            serving({"server.token_file": str(tokens)}) as server,
            dial(server, "/v1/events", query=f"meeting={BOT}&token={LISTEN}") as listener,
            dial(server, "/v1/ingest/attendee", query=f"token={SEND}") as wire,
            dial(server, "/v1/ingest/recall", query=f"token={SEND}") as silent,
        ):
            await send(wire, *map(attendee, [*pieces("7", ANN)][:40]))
            events = await until(listener, STARTED)
            tokens.write_text(f"ears listen {LISTEN}\n")
            await server.reload()
            assert [await closed(wire), await closed(silent)] == [1008, 1008]
            events += await told_of(listener, 1)
            assert len(readings(events)) == 1

    asyncio.run(patience(scene()))


def test_a_bot_of_another_token_takes_nothing_over(token_file: str) -> None:
    """Whatever it calls itself: it hears its own people, the first goes on with its own."""

    async def scene() -> None:
        async with (
            serving({"server.token_file": token_file}) as server,
            dial(server, "/v1/ingest/attendee", query=f"token={SEND}") as wire,
            dial(server, "/v1/ingest/attendee", query=f"token={BOTH}") as other,
            dial(server, "/v1/events", query=f"meeting={BOT}&token={LISTEN}") as listener,
        ):
            said = [*map(attendee, pieces("7", ANN))]
            await send(wire, *said[:20])
            events = await until(listener, CREATED)
            await send(other, said[20])
            events += await until(listener, CREATED)
            await send(wire, *said[20:])
            await wire.connection.close()
            events += await told_of(listener, 1)
            assert [event["audio_ms"] for event in of_kind(events, CLOSED)] == [7500]

    asyncio.run(patience(scene()))


def test_who_was_silent_longest_makes_room_where_too_many_are_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bot may hear hundreds in the course of a day, and some at a time."""
    monkeypatch.setattr("streamser.server.ingest.meeting._AT_ONCE", 2)

    async def scene() -> None:
        async with serving() as server, meeting(server, BOT, "attendee") as (wire, listener):
            said = [*pieces("1", ANN[:32_000]), *pieces("2", ANN[:32_000]), *pieces("3", ANN)]
            await send(wire, *map(attendee, said))
            events = await told_of(listener, 1)
            assert list(apart(events)) == ["participant 1", "participant 2", "participant 3"]
            assert of_kind(events, CLOSED)[0]["audio_ms"] == 1000
            await wire.connection.close()
            await told_of(listener, 2)

    asyncio.run(patience(scene()))


def test_one_server_of_several_must_know_the_meeting_before_the_bot_speaks() -> None:
    """Else it could not say which of them has it; with Redis away it serves the bot itself."""
    cluster = {"cluster.redis": "redis://127.0.0.1:1/0", "cluster.address": "ws://127.0.0.1:1"}

    async def scene() -> None:
        async with serving(cluster) as server:
            status, _, error = await refusal(server, "/v1/ingest/attendee")
            assert (status, error["code"]) == (400, "invalid_query")
            assert "meeting=NAME" in error["message"]
            async with (
                dial(server, "/v1/events", query="meeting=hall") as listener,
                dial(server, "/v1/ingest/attendee", query="meeting=hall") as wire,
            ):
                await send(wire, *map(attendee, [*pieces("7", ANN)][:10]))
                await until(listener, CREATED)

    asyncio.run(patience(scene()))
