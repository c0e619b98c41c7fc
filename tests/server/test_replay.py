"""A recorded meeting on the page again: the same events, the same moods."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from streamser.errors import ConfigError
from streamser.export.replay import Playlist, read_playlist
from streamser.server.replay import ReplayServer
from streamser.settings_loader import load_settings
from tests.export.script import Script, saved, stamped
from tests.server.serving import (
    Stage,
    Told,
    demo,
    dial,
    encode,
    kinds,
    of_kind,
    patience,
    refusal,
)

MOODS = ("streamser.meeting.updated", "streamser.mood.shifted")
CLOSED = "streamser.session.closed"


class Hands:
    """A clock that a test, or whoever waits, moves; waiting takes no time."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now(self) -> float:
        """Return the time."""
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        """Let time pass at once; like any clock it cannot tell the smallest times."""
        self.time_s += max(seconds, 1e-6)
        await asyncio.sleep(0)


@asynccontextmanager
async def replaying(
    score: Playlist, speed: float = 1.0, keep: int = 20_000
) -> AsyncIterator[ReplayServer]:
    """Run a server for a score on any free port; its time is moved by waiting."""
    flags = {"server.port": 0, "server.replay_events": keep}
    settings = load_settings(flags=flags, environ={})
    hands = Hands()
    server = ReplayServer(settings, score, speed, hands.now, hands.sleep)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def hear(server: ReplayServer, sessions: int, query: str) -> list[Told]:
    """Listen from before the beginning until all sessions are over."""
    async with dial(server, "/v1/events", query=query) as ear:
        snapshot = await ear.next()
        playing = asyncio.create_task(server.play())
        heard = [snapshot]
        while len(of_kind(heard, CLOSED)) < sessions:
            heard.append(await ear.next())
        await playing
        return heard


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a listener of a real server heard of two who spoke at the same time."""
    stage = Stage()

    async def speak(name: str, begin_s: float) -> None:
        sound = encode(demo(12.0, begin_s))
        async with dial(stage.server, query=f"meeting=m&speaker={name}") as wire:
            await wire.sound(sound)
            await wire.finish()

    async def scene() -> list[Told]:
        async with dial(stage.server, "/v1/events", query="meeting=m") as ear:
            speaking = asyncio.gather(speak("Ann", 0.0), speak("Ben", 18.0))
            heard: list[Told] = []
            while len(of_kind(heard, CLOSED)) < 2:
                heard.append(await ear.next())
            await speaking
            return heard

    try:
        heard = stage.play(scene())
    finally:
        stage.close()
    path = tmp_path_factory.mktemp("live") / "heard.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in heard))
    return path


def placeless(events: list[Told]) -> list[Told]:
    """Return events without the numbers that each server counts for itself."""
    return [{**event, "cursor": None} for event in events]


@pytest.mark.parametrize("speed", [0.5, 8.0, 1e9])
def test_a_replay_tells_what_was_told_live(live: Path, speed: float) -> None:
    """Event by event, with times, moods of the meeting and of its speakers, and shifts."""
    before = [json.loads(line) for line in live.read_text().splitlines()]

    async def scene() -> list[Told]:
        async with replaying(read_playlist([live]), speed) as server:
            return await hear(server, 2, "meeting=m")

    heard = asyncio.run(patience(scene()))
    assert heard[0]["playback"] == speed
    assert len(of_kind(heard, *MOODS)) >= 4
    assert placeless(heard[1:]) == placeless(before[1:])
    assert before[0]["playback"] is None


def test_without_what_was_told_of_the_meeting_it_is_the_same(live: Path, tmp_path: Path) -> None:
    """Moods follow from the sessions' events: files of ``serve --export`` have only these."""
    before = [json.loads(line) for line in live.read_text().splitlines()]
    files = []
    for session_id in {event["session_id"] for event in before if event.get("session_id")}:
        own = [event for event in before if event.get("session_id") == session_id]
        files.append(tmp_path / f"{session_id}.jsonl")
        files[-1].write_text("".join(json.dumps(event) + "\n" for event in own))

    async def scene() -> list[Told]:
        async with replaying(read_playlist(files)) as server:
            return await hear(server, 2, "meeting=m")

    heard = asyncio.run(patience(scene()))
    assert placeless(of_kind(heard, *MOODS)) == placeless(of_kind(before, *MOODS))


def test_who_comes_after_the_end_sees_all_of_it(live: Path) -> None:
    """Utterances, moods and speakers, as the last of those who were there knew them."""
    before = [json.loads(line) for line in live.read_text().splitlines()]

    async def scene() -> Told:
        async with replaying(read_playlist([live])) as server:
            await server.play()
            async with dial(server, "/v1/events", query="meeting=m") as ear:
                return await ear.next()

    snapshot = asyncio.run(patience(scene()))
    (meeting,) = snapshot["meetings"]
    last = of_kind(before, "streamser.meeting.updated")[-1]
    assert meeting["mood"] == last["mood"]
    assert [who["mood"] for who in meeting["speakers"]] == [who["mood"] for who in last["speakers"]]
    finals = {final["item_id"]: final["emotion"] for final in snapshot["finals"]}
    told = of_kind(before, "streamser.emotion.completed")
    assert finals == {event["item_id"]: event["emotion"] for event in told}
    assert snapshot["sessions"] == []
    assert meeting["at_ms"] == read_playlist([live]).length_ms


def test_who_comes_in_the_middle_hears_the_rest(tmp_path: Path) -> None:
    """A snapshot of what has been, then what follows, as on a live server."""
    script = Script(speaker="Ann")
    script.say(1000, 2000, "hello")
    script.say(3000, 4000, "bye", "sad")
    score = read_playlist([stamped(tmp_path / "m.jsonl", {"a": (script.close(), 0)}, "m")])

    async def scene() -> list[Told]:
        settings = load_settings(flags={"server.port": 0}, environ={})
        hands, reached = Hands(), asyncio.Event()
        go_on = asyncio.Event()

        async def sleep(seconds: float) -> None:
            if hands.now() + seconds > 102.5:
                reached.set()
                await go_on.wait()
            await hands.sleep(seconds)

        server = ReplayServer(settings, score, 1.0, hands.now, sleep)
        await server.start()
        playing = asyncio.create_task(server.play())
        await reached.wait()
        async with dial(server, "/v1/events", query="all") as ear:
            heard = [await ear.next()]
            go_on.set()
            while kinds(heard)[-1] != CLOSED:
                heard.append(await ear.next())
        await playing
        await server.stop()
        return heard

    snapshot, *rest = asyncio.run(patience(scene()))
    assert [final["transcript"] for final in snapshot["finals"]] == ["hello"]
    assert [state["session"]["speaker"] for state in snapshot["sessions"]] == ["Ann"]
    assert kinds(rest)[0] == "input_audio_buffer.speech_started"
    assert rest[0]["at_ms"] == 3020


def test_who_comes_late_sees_it_from_its_beginning(tmp_path: Path) -> None:
    """However little is kept of a live meeting; it is listed while somebody is in it."""
    script = Script(speaker="Ann", meeting="m")
    for n in range(40):
        script.say(1000 * n, 1000 * n + 900)
    score = read_playlist([saved(tmp_path / "talk.jsonl", script.events)])

    async def scene() -> tuple[list[Told], list[bytes]]:
        async with replaying(score, keep=100) as server:
            lists = [await asyncio.to_thread(_get, server.url + "v1/meetings")]
            await server.play()
            lists.append(await asyncio.to_thread(_get, server.url + "v1/meetings"))
            async with dial(server, "/v1/events", query="meeting=m&after=0") as ear:
                heard = [await ear.next()]
                while len(of_kind(heard, MOODS[0])) < 40:
                    heard.append(await ear.next())
                return heard, lists

    heard, lists = asyncio.run(patience(scene()))
    told = [event["seq"] for event in heard if event.get("session_id")]
    assert told == [event.seq for event in script.events][: len(told)]
    assert len(told) > 200
    assert [json.loads(each)["meetings"] for each in lists] == [
        [],
        [{"meeting": "m", "streams": 1, "at_ms": score.length_ms}],
    ]


def test_nobody_can_send_to_a_recording(tmp_path: Path) -> None:
    """By either protocol; the page is there, and says that it is ready."""
    score = read_playlist([saved(tmp_path / "talk.jsonl", Script().close())])

    async def scene() -> None:
        async with replaying(score) as server:
            for path in ("/v1/realtime", "/v1/listen"):
                status, _, error = await refusal(server, path)
                assert (status, error["code"]) == (403, "replay")
            async with dial(server, origin=server.url.rstrip("/")) as wire:
                (error,) = await wire.rest()
                assert error["error"]["code"] == "replay"
                assert wire.code == 1008
            for path, what in (("", b"<html"), ("readyz", b"ready"), ("metrics", b"streamser_")):
                body = await asyncio.to_thread(_get, server.url + path)
                assert what in body

    asyncio.run(patience(scene()))


def test_a_recording_is_not_shown_to_other_machines_unasked(tmp_path: Path) -> None:
    """What people said is theirs: tokens and TLS are asked for as by ``serve``."""
    score = read_playlist([saved(tmp_path / "talk.jsonl", Script().close())])
    settings = load_settings(flags={"server.host": "0.0.0.0"}, environ={})
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        ReplayServer(settings, score, 1.0)


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
        return body
