"""``streamser demo``: the bundled recording through the whole pipeline at real speed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from streamser.cli.common import Common, takes_settings
from streamser.errors import AudioError

__all__ = ["demo", "demo_recording"]


@takes_settings
def demo(
    common: Common,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line on stdout.")] = False,
) -> None:
    """Show the bundled conversation, live.

    It is played at real speed, with no sound card and no download. Uses the preset
    `embedded` (or `voice-only`, where there is no pocketsphinx) if no --config is named.
    """
    from streamser.cli.talk import tell

    # There is none for the newest Python for a while after each release.
    has_recogniser = find_spec("pocketsphinx") is not None
    settings = common.load(preset="embedded" if has_recogniser else "voice-only").settings
    recording = demo_recording()
    tell("The voices of the demonstration are synthetic; nobody feels anything here.")
    if not has_recogniser and settings.asr.engine == "none":
        tell("No words: pocketsphinx is not installed, or there is none for this Python yet.")
    from streamser.audio.file import FileSource
    from streamser.cli.listen import listen_to

    listen_to(FileSource(recording, paced=True), settings, as_json=as_json)


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
