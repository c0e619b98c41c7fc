"""``streamser replay``: a recorded session again, in the terminal or on the page."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TextIO
from urllib.parse import quote

import typer

from streamser.cli import options
from streamser.cli.console import (
    INTERRUPTED,
    EndRequest,
    Stopped,
    catching,
    clock,
    counted,
    leave_at_once,
    on_signal,
    tell,
    warn,
)
from streamser.cli.live.sinks import Shown, advise, plain_line
from streamser.errors import ConfigError
from streamser.events import Event
from streamser.text import read_name, visible

if TYPE_CHECKING:
    import asyncio

    from streamser.cli.live.view_state import PlaybackView, ViewState
    from streamser.export.replay import Playback, Playlist
    from streamser.server.replay import ReplayServer
    from streamser.settings import Settings

_FRAME_S = 0.1
"""The clock of the view moves so often where nothing happens."""


def replay(
    files: options.SessionFiles,
    speed: Annotated[
        float, typer.Option("--speed", metavar="N", help="So many times as fast as it was.")
    ] = 1.0,
    pause: Annotated[
        float | None,
        typer.Option("--pause", metavar="S", help="Where nobody speaks, wait for S at most."),
    ] = None,
    session: options.SessionIds = None,
    meeting: options.Meeting = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="To the web page, and to listeners of a server.")
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help="With --serve: port. [8377]")
    ] = None,
    config: Annotated[
        list[str] | None,
        typer.Option("--config", metavar="NAME|PATH", help="Preset or TOML file; repeat."),
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of server or mood; repeat."),
    ] = None,
) -> None:
    """Play a recorded session again: what was told, when it was told.

    Several files of one meeting are played together, on the meeting's clock. Moods are those
    that were told live; nothing is analysed anew. Ctrl-C ends it.
    """
    if not (math.isfinite(speed) and speed > 0):
        raise ConfigError(f"--speed {speed:g}: give a number greater than 0, such as 4 or 0.5.")
    if pause is not None and not (math.isfinite(pause) and pause >= 0):
        raise ConfigError(f"--pause {pause:g}: give seconds of the recording, 0 or more.")
    if port is not None and not serve:
        raise ConfigError("--port is that of the page: add --serve.")
    common = options.Common(tuple(config or ()), options.read_assignments(assign or ()))
    settings = common.load({"server.port": port})
    name = None if meeting is None else read_name(meeting, "--meeting")
    files = options.find_sessions(files)
    from streamser.export.replay import read_playlist

    longest_ms = None if pause is None else round(pause * 1000)
    score = read_playlist(files, session or (), longest_ms, name)
    for note in score.notes:
        warn(note)
    if serve:
        serve_replay(settings, score, speed, files[0].name)
        return
    _play_in_terminal(settings, score, speed, files[0].name)


def _play_in_terminal(settings: Settings, score: Playlist, speed: float, source: str) -> None:
    from streamser.cli.live.view_state import PlaybackView
    from streamser.export.replay import Playback

    playback = Playback(score, speed)
    cast = PlaybackView(source, score, speed, settings.mood.time_constant_s)
    stage = open_stage(source)
    try:
        with catching(_unwind, "SIGTERM", "SIGHUP"):
            play_here(playback, cast, stage, time.monotonic, time.sleep)
    except Stopped:
        raise
    except KeyboardInterrupt:
        pass
    finally:
        stage.close()
    if playback.is_over:
        tell(f"{clock(score.length_ms)} played, {counted(cast.finished, 'utterance')}.")
    else:
        tell(f"Stopped at {clock(playback.at_ms)} of {clock(score.length_ms)}.")


class Stage(Protocol):
    """Show the state of a playing recording."""

    def show(self, state: ViewState) -> None:
        """Show a state, and the utterance that has just been finished in it."""
        ...

    def advise(self, event: Event) -> None:
        """Tell people of an event that reports a fault or a loss."""
        ...

    def close(self) -> None:
        """Let go of the terminal."""
        ...


class PlainStage:
    """Write one line an utterance."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._shown = Shown()

    def show(self, state: ViewState) -> None:
        """Write the utterance that has just been finished."""
        if state.finished is not None:
            self._shown.add(state.finished)
            self._out.write(plain_line(state.finished) + "\n")
            self._out.flush()

    def advise(self, event: Event) -> None:
        """Tell people who spoke after all; on stderr, of what was lost."""
        self._out.writelines(f"{line}\n" for line in self._shown.lines(visible(event)))
        self._out.flush()
        advise(event)

    def close(self) -> None:
        """Have nothing to let go."""


def open_stage(source: str) -> Stage:
    """Take the terminal, if stdout is one that can be drawn on; else write plain lines."""
    if sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        from streamser.cli.live.live_view import LiveScreen

        return LiveScreen(source)
    return PlainStage(sys.stdout)


def play_here(
    playback: Playback,
    cast: PlaybackView,
    stage: Stage,
    now: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Play to a stage until all is over, by a clock in s."""
    began = now()
    while True:
        for cue in playback.advance(now() - began):
            stage.show(cast.update(cue.event, cue.at_ms))
            stage.advise(cue.event)
        if playback.is_over:
            return
        stage.show(cast.wait(playback.at_ms))
        sleep(min(_FRAME_S, playback.wait_s(now() - began)))


def _unwind(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def serve_replay(settings: Settings, score: Playlist, speed: float, source: str) -> None:
    """Play a score to listeners; its end stays to be seen until a signal comes.

    Raises ``ConfigError`` where the port cannot be had, or must not be opened.
    """
    import asyncio

    asyncio.run(_serve(settings, score, speed, source))


async def _serve(settings: Settings, score: Playlist, speed: float, source: str) -> None:
    import asyncio

    from streamser.server.replay import ReplayServer

    asked, wish = asyncio.Event(), EndRequest()

    def stop() -> None:
        if wish.heard() == "again":
            leave_at_once(INTERRUPTED)
        asked.set()

    server = ReplayServer(settings, score, speed)
    # Before the port is open: whoever sees it open may send the signal.
    for name in ("SIGINT", "SIGTERM"):
        on_signal(name, stop)
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
    import asyncio

    await server.play()
    tell("The recording is over; the page stays as it is until Ctrl-C.")
    await asyncio.Event().wait()


def _query(score: Playlist) -> str:
    # The page goes straight to a meeting; to everything on a server it asks first.
    return "?watch=1" if score.meeting is None else f"?meeting={quote(score.meeting)}&watch=1"
