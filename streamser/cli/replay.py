"""``streamser replay``: a recorded session again, in the terminal or on the page."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.common import Common, read_assignments
from streamser.cli.session_files import Meeting, SessionFiles, SessionIds, find_sessions
from streamser.cli.talk import clock, counted, tell, warn
from streamser.errors import ConfigError
from streamser.names import read_name

if TYPE_CHECKING:
    from streamser.cli.cast import Cast
    from streamser.cli.stages import Stage
    from streamser.config import Settings
    from streamser.replay.playback import Playback
    from streamser.replay.score import Score

__all__ = ["play_here", "replay"]

_FRAME_S = 0.1
"""The clock of the view moves so often where nothing happens."""


def replay(
    files: SessionFiles,
    speed: Annotated[
        float, typer.Option("--speed", metavar="N", help="So many times as fast as it was.")
    ] = 1.0,
    pause: Annotated[
        float | None,
        typer.Option("--pause", metavar="S", help="Where nobody speaks, wait for S at most."),
    ] = None,
    session: SessionIds = None,
    meeting: Meeting = None,
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
    common = Common(tuple(config or ()), read_assignments(assign or ()))
    settings = common.load({"server.port": port}).settings
    name = None if meeting is None else read_name(meeting, "--meeting")
    files = find_sessions(files)
    from streamser.replay.read import read_score

    longest_ms = None if pause is None else round(pause * 1000)
    score = read_score(files, session or (), longest_ms, name)
    for note in score.notes:
        warn(note)
    if serve:
        from streamser.cli.replay_server import serve_replay

        serve_replay(settings, score, speed, files[0].name)
        return
    _play_in_terminal(settings, score, speed, files[0].name)


def play_here(
    playback: Playback,
    cast: Cast,
    stage: Stage,
    now: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    """Play to a stage until all is over, by a clock in s."""
    began = now()
    while True:
        for cue in playback.advance(now() - began):
            stage.show(cast.take(cue.event, cue.at_ms))
            stage.advise(cue.event)
        if playback.is_over:
            return
        stage.show(cast.wait(playback.at_ms))
        sleep(min(_FRAME_S, playback.wait_s(now() - began)))


def _play_in_terminal(settings: Settings, score: Score, speed: float, source: str) -> None:
    from streamser.cli.cast import Cast
    from streamser.cli.ending import Stopped, catching
    from streamser.cli.stages import open_stage
    from streamser.replay.playback import Playback

    playback = Playback(score, speed)
    cast = Cast(source, score, speed, settings.mood.time_constant_s)
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


def _unwind(number: int, frame: FrameType | None) -> None:
    from streamser.cli.ending import Stopped

    raise Stopped(number)
