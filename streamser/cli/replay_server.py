"""A recording on the page: a server that plays it, from its port to Ctrl-C."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from streamser.cli.asking import Wish, heed
from streamser.cli.ending import INTERRUPTED, leave_at_once
from streamser.cli.talk import clock, counted, tell

if TYPE_CHECKING:
    from streamser.config import Settings
    from streamser.replay.score import Score
    from streamser.server.app import ReplayServer

__all__ = ["serve_replay"]


def serve_replay(settings: Settings, score: Score, speed: float, source: str) -> None:
    """Play a score to listeners; its end stays to be seen until a signal comes.

    Raises ``ConfigError`` where the port cannot be had, or must not be opened.
    """
    asyncio.run(_serve(settings, score, speed, source))


async def _serve(settings: Settings, score: Score, speed: float, source: str) -> None:
    from streamser.server.app import ReplayServer

    asked, wish = asyncio.Event(), Wish()

    def stop() -> None:
        if wish.heard() == "again":
            leave_at_once(INTERRUPTED)
        asked.set()

    server = ReplayServer(settings, score, speed)
    # Before the port is open: whoever sees it open may send the signal.
    for name in ("SIGINT", "SIGTERM"):
        heed(name, stop)
    await server.start()
    what = f"{clock(score.length_ms)}, {counted(len(score.sessions), 'session')}"
    tell(f"Playing {source} ({what}) at {speed:g} times its speed.")
    tell(f"Open {server.url}{_query(score)} (Ctrl-C ends it).")
    tasks: set[asyncio.Future[Any]] = {
        asyncio.ensure_future(work) for work in (asked.wait(), _play(server))
    }
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()
    for result in results:
        if isinstance(result, Exception):
            raise result


async def _play(server: ReplayServer) -> None:
    await server.play()
    tell("The recording is over; the page stays as it is until Ctrl-C.")
    await asyncio.Event().wait()


def _query(score: Score) -> str:
    # The page goes straight to a meeting; to everything on a server it asks first.
    return "?watch=1" if score.meeting is None else f"?meeting={quote(score.meeting)}&watch=1"
