"""``streamser demo``: the bundled recording through the whole pipeline at real speed."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from streamser.cli.console import tell, warn
from streamser.cli.options import Common, takes_settings
from streamser.errors import AudioError, ConfigError

if TYPE_CHECKING:
    from streamser.audio.clip import Samples
    from streamser.audio.source import AudioSource
    from streamser.client import ClientSession
    from streamser.server.app import EmotionServer
    from streamser.settings import Settings

MEETING = "demo"

_PIECE_MS = 100
_AROUND_MS = 150
"""Sound kept around a line: what begins and ends it softly."""


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
    from streamser.speech.whisper_files import PACKAGED_SIZE, WORDS_EXTRA, weights_package

    if web and as_json:
        raise ConfigError("--json and --web exclude each other: choose one of them.")
    if web and play:
        raise ConfigError("--play and --web exclude each other: choose one of them.")
    if port is not None and not web:
        raise ConfigError("--port is that of the page: add --web.")

    preset = "embedded" if weights_package() is not None else "voice-only"
    settings = common.load({"server.port": port}, preset=preset)
    recording = demo_recording()
    tell("The voices of the demonstration are synthetic; nobody feels anything here.")
    if preset == "voice-only" and settings.asr.engine == "none":
        tell(f"No words: run {WORDS_EXTRA}, which brings Whisper {PACKAGED_SIZE}.")
    if web:
        _serve_page(settings, recording)
        return
    from streamser.audio.file import FileSource
    from streamser.cli.live.listen import listen_to

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
    from streamser.audio.output import Audible, open_output
    from streamser.cli.live.listen import listen_to

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
    from streamser.cli.serve import run_server

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


class _Spoken(msgspec.Struct, frozen=True):
    speaker: str
    start_ms: int
    end_ms: int


class _Play(msgspec.Struct, frozen=True):
    utterances: tuple[_Spoken, ...]


def split_speakers(recording: Path) -> dict[str, Samples]:
    """Return each speaker's own track, as long as the recording: silence where others speak.

    Who speaks when stands beside the recording. Raises ``AudioError`` where it is missing.
    """
    import numpy as np
    import soundfile

    from streamser.audio.clip import to_samples

    beside = recording.with_suffix(".json")
    try:
        play = msgspec.json.decode(beside.read_bytes(), type=_Play)
    except (OSError, msgspec.DecodeError):
        raise AudioError(
            f"who speaks when in the demonstration is missing ({beside.name}): install streamser"
            " again.",
            code="file_not_found",
        ) from None
    sound, _ = soundfile.read(recording, dtype="float32")
    tracks: dict[str, Samples] = {}
    for line in play.utterances:
        track = tracks.setdefault(line.speaker, np.zeros(len(sound), np.float32))
        start = max(0, to_samples(line.start_ms - _AROUND_MS))
        end = to_samples(line.end_ms + _AROUND_MS)
        track[start:end] = sound[start:end]
    return tracks


async def play_meeting(server: EmotionServer, recording: Path) -> None:
    """Let the speakers meet on the server, over and over, at real speed."""
    import asyncio

    tracks = split_speakers(recording)
    while True:
        await asyncio.gather(
            *(_speak(server.local_url, speaker, track) for speaker, track in tracks.items())
        )


async def _speak(url: str, speaker: str, track: Samples) -> None:
    import asyncio

    from streamser.audio.clip import SAMPLE_RATE, to_samples
    from streamser.client import connect

    loop = asyncio.get_running_loop()
    piece = to_samples(_PIECE_MS)
    began = loop.time()
    async with connect(url, speaker=speaker, meeting=MEETING, rate=SAMPLE_RATE) as session:
        reading = asyncio.create_task(_read(session))
        try:
            for offset in range(0, len(track), piece):
                await session.send(track[offset : offset + piece])
                await asyncio.sleep(began + (offset + piece) / SAMPLE_RATE - loop.time())
            await session.finish()
            await reading
        finally:
            reading.cancel()


async def _read(session: ClientSession) -> None:
    async for _ in session:
        # The page shows them; who sends only has to take them.
        continue
