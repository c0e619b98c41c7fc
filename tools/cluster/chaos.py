"""Minutes in which servers die or stand still, connections are cut, and Redis is lost."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable

import msgspec

from tools.cluster.rig import TTL_S, Child, Node, Rig, free_port
from tools.cluster.scenes import Witnessed, expected, talk
from tools.cluster.witness import Listener, Speaker, faults_of, until

__all__ = ["Chaos", "ChaosProxy", "Standstill", "run_chaos", "run_standstill"]

_BYTES = 16_384


class Chaos(msgspec.Struct, frozen=True, kw_only=True):
    """Say how long, with how many servers and meetings, and how often what happens, in seconds.

    Each meeting has a speaker and a listener. A connection lives for ``cut_s`` on average.
    """

    seconds: float = 600.0
    nodes: int = 2
    meetings: int = 20
    kill_s: float = 40.0
    cut_s: float = 60.0
    stall_s: float = 2.0
    seed: int = 1


class ChaosProxy:
    """Pass bytes on; now and then cut a connection, or let nothing through for a while."""

    def __init__(self, target: int, chaos: Chaos, chance: random.Random) -> None:
        self.port = free_port()
        self.cuts = self.stalls = 0
        self.calm = False
        self._target = target
        self._chaos = chaos
        self._chance = chance
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Return where clients come in."""
        return f"ws://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Open the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def stop(self) -> None:
        """Close the port."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ways = [
            asyncio.create_task(self._pass(reader, forth)),
            asyncio.create_task(self._pass(back, writer)),
            asyncio.create_task(self._cut()),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        writer.transport.abort()
        forth.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_BYTES):
            writer.write(data)
            await writer.drain()
            if not self.calm and self._chance.random() < 0.0005:
                self.stalls += 1
                await asyncio.sleep(self._chance.uniform(0.0, 2 * self._chaos.stall_s))

    async def _cut(self) -> None:
        await asyncio.sleep(self._chance.expovariate(1 / self._chaos.cut_s))
        while self.calm:
            await asyncio.sleep(1.0)
        self.cuts += 1


async def run_chaos(chaos: Chaos, tell: Callable[[str], None]) -> Witnessed:
    """Run it; say of every final that was not told once, and in order, to whom it was not."""
    chance = random.Random(chaos.seed)
    sound = talk(chaos.seconds)
    async with Rig(chaos.nodes) as rig:
        places = await expected(rig, sound)
        proxy = ChaosProxy(rig.port, chaos, chance)
        await proxy.start()
        speakers, listeners = [], []
        for number in range(chaos.meetings):
            speakers.append(Speaker(proxy.url, f"m{number}", f"speaker {number}", sound, 1.0))
            listeners.append(Listener(proxy.url, f"m{number}"))
        listening = [asyncio.create_task(each.listen()) for each in listeners]
        await asyncio.sleep(1.0)
        speaking = [asyncio.create_task(each.speak()) for each in speakers]
        kills = 0
        until_s = time.monotonic() + chaos.seconds - 2 * chaos.kill_s / 3
        while time.monotonic() < until_s:
            await asyncio.sleep(chance.uniform(0.5, 1.5) * chaos.kill_s)
            node = chance.choice(rig.nodes)
            await node.kill()
            kills += 1
            tell(f"server {node.name} is killed; {proxy.cuts} cuts, {proxy.stalls} stalls so far")
            await asyncio.sleep(chance.uniform(0.5, 2.0) * TTL_S)
            node.start()
            await node.ready()
        proxy.calm = True
        await asyncio.gather(*speaking)
        await until(lambda: all(len(each.finals) >= len(places) for each in listeners), 10.0)
        for task in listening:
            task.cancel()
        proxy.stop()
        wrong: list[str] = []
        for speaker, listener in zip(speakers, listeners, strict=True):
            wrong += faults_of(speaker.finals, places, speaker.name)
            wrong += faults_of(listener.of(speaker), places, f"a listener of {speaker.name}")
        figures = {
            "finals": float(len(places) * len(speakers)),
            "kills": float(kills),
            "cuts": float(proxy.cuts),
            "stalls": float(proxy.stalls),
            "sessions": float(sum(len(each.offsets) for each in speakers)),
        }
    return Witnessed(scene="chaos", wrong=tuple(wrong), figures=figures)


class Standstill(msgspec.Struct, frozen=True, kw_only=True):
    """Say how long, with how many meetings at two servers; ``longest_s`` is that of each deed."""

    seconds: float = 90.0
    meetings: int = 4
    longest_s: float = 5.0
    seed: int = 1


async def run_standstill(given: Standstill, tell: Callable[[str], None]) -> Witnessed:
    """Let Redis stand still or lose all, and servers stand still, but none die.

    Speakers, listeners through the proxy and those at one server must be told everything once.
    """
    chance = random.Random(given.seed)
    sound = talk(given.seconds)
    deeds = 0
    async with Rig(2) as rig:
        places = await expected(rig, sound)
        names = [f"m{number}" for number in range(given.meetings)]
        speakers = [Speaker(rig.url, name, f"speaker of {name}", sound, 1.0) for name in names]
        listeners = [
            [Listener(url, name) for url in (rig.url, *(node.url for node in rig.nodes))]
            for name in names
        ]
        every = [each for several in listeners for each in several]
        listening = [asyncio.create_task(each.listen()) for each in every]
        await asyncio.sleep(1.0)
        speaking = [asyncio.create_task(each.speak()) for each in speakers]
        until_s = time.monotonic() + given.seconds - 3 * given.longest_s
        while time.monotonic() < until_s:
            await asyncio.sleep(chance.uniform(4.0, 9.0))
            what, seconds = chance.choice(_DEEDS), chance.uniform(0.4, given.longest_s)
            tell(f"{what}, {seconds:.1f} s")
            await _do(rig, what, chance.choice(rig.nodes), seconds)
            deeds += 1
        await asyncio.gather(*speaking)
        await until(lambda: all(len(each.finals) >= len(places) for each in every), 12.0)
        for task in listening:
            task.cancel()
        wrong: list[str] = []
        for speaker, several in zip(speakers, listeners, strict=True):
            wrong += faults_of(speaker.finals, places, speaker.name)
            for number, listener in enumerate(several):
                wrong += faults_of(
                    listener.of(speaker), places, f"listener {number} of {speaker.name}"
                )
    figures = {"finals": float(len(places) * len(speakers)), "deeds": float(deeds)}
    return Witnessed(scene="standstill", wrong=tuple(wrong), figures=figures)


_DEEDS = ("Redis stands still", "Redis is lost", "a server stands still", "both stand still")


async def _do(rig: Rig, what: str, node: Node, seconds: float) -> None:
    if what == "Redis is lost":
        await rig.redis.kill()
        await asyncio.sleep(seconds)
        rig.redis.start()
        return
    still: list[Child] = [node] if what == "a server stands still" else [rig.redis]
    still += [node] if what == "both stand still" else []
    for child in still:
        child.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    for child in still:
        child.signal(signal.SIGCONT)
