"""What a cluster costs: in time, in processor time, and in meetings that move."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from streamser.cluster.records import NodeState
from streamser.cluster.store import ClusterStore
from streamser.settings import ClusterSettings
from tools.cluster.rig import Child, Rig
from tools.cluster.scenes import Witnessed, home_of, talk
from tools.cluster.witness import Listener, Speaker, until

__all__ = ["a_server_joins", "listeners_elsewhere", "many_meetings", "two_beside_one"]

_NAMES = 1000
_MEETINGS = 10_000
_APART_S = 0.1


async def a_server_joins() -> Witnessed:
    """See how many meetings are placed elsewhere once there is a third server."""
    async with Rig(2) as rig:
        before = await asyncio.to_thread(_placed, rig.port)
        await rig.add_node()
        # Until the proxy before has gone, and the new server is known to be well.
        await asyncio.sleep(3.0)
        after = await asyncio.to_thread(_placed, rig.port)
    moved = sum(one != other for one, other in zip(before, after, strict=True)) / _NAMES
    share = after.count("c") / _NAMES
    most = 1 / 3 + 0.05
    wrong = (f"{moved:.3f} of the meetings moved, not {most:.3f} at most",) if moved > most else ()
    return Witnessed(
        scene="a_server_joins", wrong=wrong, figures={"moved": moved, "newcomer": share}
    )


async def listeners_elsewhere() -> Witnessed:
    """See how much later a listener hears of a final at another server than at the meeting's."""
    sound = talk(60.0)
    async with Rig(2, workers=1) as rig:
        speakers = [Speaker(rig.url, "m", f"speaker {n}", sound, 1.0) for n in range(8)]
        speaking = [asyncio.create_task(each.speak()) for each in speakers]
        await until(lambda: all(each.offsets for each in speakers), 10.0)
        home = await home_of(rig, "m")
        other = next(node for node in rig.nodes if node is not home)
        here, there = Listener(home.url, "m"), Listener(other.url, "m")
        listening = [asyncio.create_task(each.listen()) for each in (here, there)]
        await asyncio.gather(*speaking)
        await asyncio.sleep(1.0)
        for task in listening:
            task.cancel()
    both = here.told_at.keys() & there.told_at.keys()
    added = sorted((there.told_at[item] - here.told_at[item]) * 1000 for item in both)
    p95 = added[int(0.95 * len(added))] if added else float("nan")
    wrong = [] if p95 <= 20 else [f"p95 is {p95:.1f} ms, not 20"]
    return Witnessed(
        scene="listeners_elsewhere",
        wrong=tuple(wrong),
        figures={
            "finals": float(len(added)),
            "p50_ms": round(statistics.median(added), 2),
            "p95_ms": round(p95, 2),
        },
    )


async def many_meetings() -> Witnessed:
    """See what a tick costs where ten thousand meetings are known, at a hundred servers."""
    async with Rig(0) as rig:
        settings = ClusterSettings(redis=rig.redis_url, ttl_s=60.0)
        stores = [ClusterStore(settings, f"node{number}") for number in range(100)]
        each = _MEETINGS // len(stores)
        for number, store in enumerate(stores):
            names = [f"meeting {number} {n}" for n in range(each)]
            for name in names:
                await store.claim(name)
            meetings = tuple((name, 2, 60_000) for name in names)
            await store.beat(NodeState(name=f"node{number}", address="ws://x", meetings=meetings))
        tick, listed, claimed = [], [], []
        state = NodeState(name="node0", address="ws://x", meetings=meetings)
        for number in range(50):
            tick.append(await _timed(stores[0].beat(state)))
            listed.append(await _timed(stores[0].nodes()))
            claimed.append(await _timed(stores[0].claim(f"new {number}")))
        for store in stores:
            await store.close()
    return Witnessed(
        scene="many_meetings",
        figures={
            "tick_ms": round(statistics.median(tick), 2),
            "list_all_ms": round(statistics.median(listed), 2),
            "claim_ms": round(statistics.median(claimed), 2),
        },
    )


async def two_beside_one(streams: int = 64, seconds: float = 60.0) -> Witnessed:
    """See what streams cost at two servers, and at one."""
    figures: dict[str, float] = {}
    for size in (1, 2):
        # As many processes that analyse, in both.
        async with Rig(size, most=2 * streams, workers=2 // size) as rig:
            sound = talk(seconds)
            speakers = [
                Speaker(rig.url, f"m{n // 2}", f"speaker {n}", sound, 1.0) for n in range(streams)
            ]
            before = _cpu_s(rig)
            # A server hangs up on more than 32 of one address at once, and a proxy has one.
            speaking = []
            for each in speakers:
                speaking.append(asyncio.create_task(each.speak()))
                await asyncio.sleep(_APART_S)
            await asyncio.gather(*speaking)
            used = _cpu_s(rig) - before
        lags = sorted(lag for each in speakers for lag in each.lags_ms)
        figures[f"p95_ms_{size}"] = round(lags[int(0.95 * len(lags))], 1)
        figures[f"cores_{size}"] = round(used / seconds, 3)
    return Witnessed(scene="two_beside_one", figures=figures)


def _placed(port: int) -> list[str]:
    """Return the server to which each of some meetings is brought."""
    found = []
    for number in range(_NAMES):
        with urlopen(f"http://127.0.0.1:{port}/healthz?meeting=meeting{number}") as answer:
            found.append(answer.headers["X-Streamser-Server"])
    return found


def _cpu_s(rig: Rig) -> float:
    """Return the processor time that the parts of a rig, and their children, have taken (s)."""
    children: list[Child] = [*rig.nodes, rig.redis]
    if rig.proxy is not None:
        children.append(rig.proxy)
    return sum(_taken(child.pid) for child in children)


def _taken(pid: int) -> float:
    found = 0.0
    tasks = Path(f"/proc/{pid}/task")
    for task in tasks.iterdir():
        for child in (task / "children").read_text().split():
            found += _taken(int(child))
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return found + (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


async def _timed(asked: Any) -> float:
    began = time.perf_counter()
    await asked
    return (time.perf_counter() - began) * 1000
