"""``streamser demo``: the bundled recording through the whole pipeline at real speed."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.common import Common, takes_settings
from streamser.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from streamser.audio.source import AudioSource
    from streamser.config import Settings
    from streamser.server.app import EmotionServer

__all__ = ["demo", "demo_recording", "own_name"]


@takes_settings
def demo(
    common: Common,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line on stdout.")] = False,
    web: Annotated[
        bool, typer.Option("--web", help="As a meeting of three on the page of a server.")
    ] = False,
    play: Annotated[
        bool, typer.Option("--play", help="Also on the loudspeaker, to be heard.")
    ] = False,
    port: Annotated[
        int | None, typer.Option("--port", metavar="N", help="With --web: port. [8377]")
    ] = None,
) -> None:
    """Show the bundled conversation, live.

    It runs at real speed, with no sound card and no download. Uses the preset
    `embedded` (or `voice-only`, without the extra `words`) if no --config is named.
    """
    from streamser.cli.talk import tell
    from streamser.speech.whisper_files import PACKAGED_SIZE, WORDS_EXTRA, weights_package

    if web and as_json:
        raise ConfigError("--json and --web exclude each other: choose one of them.")
    if web and play:
        raise ConfigError("--play and --web exclude each other: choose one of them.")
    if port is not None and not web:
        raise ConfigError("--port is that of the page: add --web.")

    preset = "embedded" if weights_package() is not None else "voice-only"
    settings = common.load({"server.port": port}, preset=preset).settings
    recording = demo_recording()
    tell("The voices of the demonstration are synthetic; nobody feels anything here.")
    if preset == "voice-only" and settings.asr.engine == "none":
        tell(f"No words: run {WORDS_EXTRA}, which brings Whisper {PACKAGED_SIZE}.")
    if web:
        _serve_page(settings, recording)
        return
    from streamser.audio.file import FileSource
    from streamser.cli.listen import listen_to

    source = FileSource(recording, paced=True)
    if play:
        _listen_aloud(source, settings, as_json=as_json)
    else:
        listen_to(source, settings, as_json=as_json)
    if not as_json:
        name = own_name()
        tell(f"Next: {name} listen (your microphone), {name} demo --web (as a meeting on a page),")
        tell(f"{name} --help (everything else).")


def _listen_aloud(source: AudioSource, settings: Settings, *, as_json: bool) -> None:
    from streamser.audio.playback import Audible, open_output
    from streamser.cli.listen import listen_to
    from streamser.cli.talk import warn

    audible = Audible(source, open_output(source.rate, source.channels))
    listen_to(audible, settings, as_json=as_json)
    if audible.fault is not None:
        warn(audible.fault)


def own_name() -> str:
    """Return how this program is called from here: by its name, or by where it lies."""
    program = Path(sys.argv[0])
    if program.stem != "streamser":
        return "python -m streamser"
    found = shutil.which("streamser")
    if found is not None and os.path.realpath(found) == os.path.realpath(program):
        return "streamser"
    # The path of a program is rarely below the folder that we are in, but where it is, it is short.
    with suppress(ValueError):
        return str(program.absolute().relative_to(Path.cwd()).with_suffix(""))
    return str(program.with_suffix(""))


def _serve_page(settings: Settings, recording: Path) -> None:
    from streamser.cli.demo_web import MEETING, play_meeting
    from streamser.cli.serve import run_server
    from streamser.cli.talk import tell

    async def play(server: EmotionServer) -> None:
        tell(f"Open {server.url}?meeting={MEETING}&watch=1 (Ctrl-C ends it).")
        await play_meeting(server, recording)

    run_server(settings, play)


def demo_recording() -> Path:
    """Return the bundled recording; raises ``AudioError`` where the installation lacks it."""
    import streamser

    path = Path(streamser.__file__).parent / "assets" / "demo.flac"
    if not path.is_file():
        raise AudioError(
            "the demonstration's recording is missing from this installation (assets/demo.flac):"
            " install streamser again.",
            code="file_not_found",
        )
    return path
