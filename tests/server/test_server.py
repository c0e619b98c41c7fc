"""A whole server: listeners, meetings, endings, and plain HTTP on the same port."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from streamser.server.app import EmotionServer
from tests.server.scenes import DELTA, PCM16K, SECOND, answered
from tests.server.serving import (
    EMOTION,
    Narrow,
    Stage,
    Told,
    Wire,
    bare,
    check_stream,
    dial,
    kinds,
    of_kind,
    patience,
    refusal,
    serving,
    whole,
)

STARTED = "input_audio_buffer.speech_started"
UPDATED = "streamser.meeting.updated"
CLOSED = "streamser.session.closed"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One server for the scenes that leave it as it was."""
    stage = Stage()
    yield stage
    stage.close()


async def come_and_go(server: EmotionServer, times: int) -> None:
    """Begin streams and end them: two events each."""
    for _ in range(times):
        async with dial(server) as other:
            await other.finish()


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
