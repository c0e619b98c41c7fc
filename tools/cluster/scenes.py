"""What may happen to a cluster, and what is to be told all the same."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import soundfile

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.cluster.records import NodeState
from streamser.cluster.store import ClusterStore
from streamser.settings import ClusterSettings
from tools.cluster.rig import TTL_S, Node, Rig
from tools.cluster.witness import Listener, Speaker, faults_of, middles, until
from tools.talk import ASSETS

__all__ = ["SCENES", "Scene", "Witnessed", "expected", "home_of", "talk", "write"]

_SPEED = 4.0
_SETTLE_S = 3.0


class Witnessed(msgspec.Struct, frozen=True, kw_only=True):
    """Say what was seen: what is ``wrong``, and figures by their names."""

    scene: str
    wrong: tuple[str, ...] = ()
    figures: dict[str, float] = {}


Scene = Callable[[], Coroutine[Any, Any, Witnessed]]


def talk(seconds: float) -> Samples:
    """Return so much of the bundled conversation."""
    sound, _ = soundfile.read(ASSETS / "demo.flac", dtype="float32")
    repeated = np.tile(sound, int(seconds * SAMPLE_RATE / len(sound)) + 1)
    samples: Samples = repeated[: round(seconds * SAMPLE_RATE)]
    return samples


async def expected(rig: Rig, sound: Samples) -> list[int]:
    """Return where finals are in a sound, when nothing happens."""
    calm = Speaker(rig.url, "calm", "calm", sound, 20.0)
    await calm.speak()
    return middles(calm.finals)


async def one_meeting_one_server() -> Witnessed:
    """See that two speakers of a meeting are at one server, also where they come in at two."""
    wrong = []
    sound = talk(8.0)
    async with Rig(2) as rig:
        for number in range(6):
            meeting = f"m{number}"
            ways = (rig.url, rig.url) if number % 2 else (rig.nodes[0].url, rig.nodes[1].url)
            speakers = [
                Speaker(url, meeting, name, sound, _SPEED)
                for url, name in zip(ways, ("Ann", "Bob"), strict=True)
            ]
            speaking = [asyncio.create_task(each.speak()) for each in speakers]
            await until(lambda: all(each.offsets for each in speakers), 10.0)  # noqa: B023
            homes = [node.name for node in rig.nodes if meeting in node.ask("/v1/meetings")[1]]
            streams = await _streams_of(rig, meeting)
            await asyncio.gather(*speaking)
            if streams != [2]:
                wrong.append(f"{meeting} (listed by {homes}) has streams {streams}, not [2]")
    return Witnessed(scene="one_meeting_one_server", wrong=tuple(wrong))


async def a_server_is_killed() -> Witnessed:
    """Clients go on elsewhere soon, and nothing is lost or told twice, also to listeners."""
    sound = talk(40.0)
    async with Rig(2) as rig:
        places = await expected(rig, sound)
        speakers = [Speaker(rig.url, "m", name, sound, _SPEED) for name in ("Ann", "Bob")]
        listener = Listener(rig.url, "m")
        tasks = [asyncio.create_task(each.speak()) for each in speakers]
        listening = asyncio.create_task(listener.listen())
        await until(lambda: all(each.sent_ms > 15_000 for each in speakers), 60.0)
        home = await home_of(rig, "m")
        killed = time.monotonic()
        await home.kill()
        await until(lambda: all(len(each.offsets) > 1 for each in speakers), 30.0)
        away_s = time.monotonic() - killed
        await asyncio.gather(*tasks)
        await until(lambda: len(listener.finals) >= 2 * len(places), _SETTLE_S)
        listening.cancel()
        wrong = _told(speakers, [listener], places)
        if away_s > TTL_S + 1:
            wrong.append(f"clients were away for {away_s:.1f} s, not {TTL_S + 1:g} at most")
    return Witnessed(
        scene="a_server_is_killed", wrong=tuple(wrong), figures={"away_s": round(away_s, 2)}
    )


async def redis_is_away() -> Witnessed:
    """Sound goes on, local listeners hear all, and everything is there again afterwards."""
    return await _redis("redis_is_away", frozen=True)


async def redis_begins_anew() -> Witnessed:
    """See the same, where Redis has lost everything."""
    return await _redis("redis_begins_anew", frozen=False)


async def _redis(scene: str, *, frozen: bool) -> Witnessed:
    sound = talk(60.0)
    async with Rig(2) as rig:
        places = await expected(rig, sound)
        speaker = Speaker(rig.url, "m", "Ann", sound, 3.0)
        speaking = asyncio.create_task(speaker.speak())
        await until(lambda: speaker.sent_ms > 8_000, 60.0)
        home = await home_of(rig, "m")
        other = next(node for node in rig.nodes if node is not home)
        here, there = Listener(home.url, "m"), Listener(other.url, "m")
        listening = [asyncio.create_task(each.listen()) for each in (here, there)]
        await asyncio.sleep(1.0)
        before = len(speaker.finals)
        if frozen:
            rig.redis.signal(signal.SIGSTOP)
        else:
            await rig.redis.kill()
        await until(lambda: speaker.sent_ms > 40_000, 60.0)
        wrong = []
        if home.ask("/healthz")[0] != 200:
            wrong.append("/healthz is not 200")
        status, said = home.ask("/readyz")
        if (status, "redis_away" in said) != (200, True):
            wrong.append(f"/readyz says {status} {said!r}")
        heard = len(here.finals)
        if len(speaker.finals) <= before or heard <= 1:
            wrong.append("nothing was told while Redis was away")
        if frozen:
            rig.redis.signal(signal.SIGCONT)
        else:
            rig.redis.start()
        await speaking
        await until(lambda: len(there.finals) >= len(places), 10.0)
        for task in listening:
            task.cancel()
        wrong += faults_of(speaker.finals, places, "Ann")
        told = await _history(rig, "m")
        if told != len(places):
            wrong.append(f"Redis has {told} finals, not {len(places)}")
        for listener, whose in ((here, "here"), (there, "elsewhere")):
            known = listener.of(speaker)
            missed = [place for place in places if known and place > known[0].end_ms]
            wrong += faults_of(known, missed, f"a listener {whose}")
    return Witnessed(scene=scene, wrong=tuple(wrong))


async def a_server_is_drained() -> Witnessed:
    """Let a server leave within a time: its streams go on elsewhere."""
    sound = talk(45.0)
    async with Rig(2) as rig:
        places = await expected(rig, sound)
        speaker = Speaker(rig.url, "m", "Ann", sound, 3.0)
        listener = Listener(rig.url, "m")
        speaking = asyncio.create_task(speaker.speak())
        listening = asyncio.create_task(listener.listen())
        await until(lambda: speaker.sent_ms > 8_000, 60.0)
        home = await home_of(rig, "m")
        asked = time.monotonic()
        store = ClusterStore(ClusterSettings(redis=rig.redis_url), "")
        for node in await store.nodes():
            if node.address == home.url:
                await store.ask_to_leave(node.name, 3.0)
        await store.close()
        code = await home.ended(30.0)
        took_s = time.monotonic() - asked
        await speaking
        await until(lambda: len(listener.finals) >= len(places), _SETTLE_S)
        listening.cancel()
        wrong = _told([speaker], [listener], places)
        if code != 0 or not 2.5 < took_s < 3.0 + TTL_S + 5.0:
            wrong.append(f"it ended after {took_s:.1f} s with code {code}")
    return Witnessed(
        scene="a_server_is_drained", wrong=tuple(wrong), figures={"took_s": round(took_s, 2)}
    )


async def a_server_stands_still() -> Witnessed:
    """Let a server count as gone and come back: its meeting is at one server again."""
    sound = talk(45.0)
    async with Rig(2) as rig:
        places = await expected(rig, sound)
        ann = Speaker(rig.url, "m", "Ann", sound, 3.0)
        tasks = [asyncio.create_task(ann.speak())]
        await until(lambda: ann.sent_ms > 8_000, 60.0)
        home = await home_of(rig, "m")
        other = next(node for node in rig.nodes if node is not home)
        home.signal(signal.SIGSTOP)
        await asyncio.sleep(TTL_S + 0.5)
        # They take the meeting to the other server.
        listener = Listener(other.url, "m")
        listening = asyncio.create_task(listener.listen())
        bob = Speaker(other.url, "m", "Bob", sound, 4.0)
        tasks.append(asyncio.create_task(bob.speak()))
        await until(lambda: len(bob.finals) > 1, 30.0)
        home.signal(signal.SIGCONT)
        await until(lambda: len(ann.offsets) > 1, 30.0)
        streams = await _streams_of(rig, "m")
        await asyncio.gather(*tasks)
        await until(lambda: len(listener.of(bob)) >= len(places), _SETTLE_S)
        listening.cancel()
        wrong = _told([ann, bob], [], places) + _told([bob], [listener], places)
        known = listener.of(ann)
        missed = [place for place in places if known and place > known[0].end_ms]
        wrong += faults_of(known, missed, "a listener of Ann")
        if streams != [2]:
            wrong.append(f"the meeting has streams {streams}, not [2]")
    return Witnessed(scene="a_server_stands_still", wrong=tuple(wrong))


SCENES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        one_meeting_one_server,
        a_server_is_killed,
        redis_is_away,
        redis_begins_anew,
        a_server_is_drained,
        a_server_stands_still,
    )
}


def _told(speakers: list[Speaker], listeners: list[Listener], places: list[int]) -> list[str]:
    wrong = []
    for speaker in speakers:
        wrong += faults_of(speaker.finals, places, speaker.name)
        for listener in listeners:
            wrong += faults_of(listener.of(speaker), places, f"a listener of {speaker.name}")
    return wrong


async def home_of(rig: Rig, meeting: str) -> Node:
    """Return the server that has a meeting."""
    store = ClusterStore(ClusterSettings(redis=rig.redis_url), "")
    try:
        async with asyncio.timeout(10.0):
            while not (found := [n for n in await store.nodes() if meeting in _meetings_of(n)]):
                await asyncio.sleep(0.05)
    finally:
        await store.close()
    return next(node for node in rig.nodes if node.url == found[0].address)


def _meetings_of(node: NodeState) -> list[str]:
    return [name for name, _, _ in node.meetings]


async def _streams_of(rig: Rig, meeting: str) -> list[int]:
    await asyncio.sleep(TTL_S / 2)
    store = ClusterStore(ClusterSettings(redis=rig.redis_url), "")
    try:
        nodes = await store.nodes()
    finally:
        await store.close()
    return [streams for node in nodes for name, streams, _ in node.meetings if name == meeting]


async def _history(rig: Rig, meeting: str) -> int:
    store = ClusterStore(ClusterSettings(redis=rig.redis_url), "")
    try:
        past = await store.past(meeting)
    finally:
        await store.close()
    return sum(b'"streamser.emotion.completed"' in told.line for told in past.told)


def write(found: list[Witnessed], path: Path) -> None:
    """Write what was seen as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
