"""Which of a file's sound tracks is heard, and what to do if it is the wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from streamser.cli.talk import tell
from streamser.visible import printable

if TYPE_CHECKING:
    from streamser.audio.file import FileSource

__all__ = ["Track", "open_file"]

Track: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--track",
        min=0,
        metavar="N",
        help="Sound track of a file, from 0. [the default, or if it is silent the loudest]",
    ),
]


def open_file(file: Path | str, *, track: int | None, paced: bool = False) -> FileSource:
    """Open a file; say which of several sound tracks is heard where nobody chose one."""
    from streamser.audio.file import FileSource

    source = FileSource(file, paced=paced, track=track)
    if track is None and source.tracks > 1:
        tell(
            f"{printable(str(file))}: sound track {source.track} is heard (there are 0 to"
            f" {source.tracks - 1}); --track N takes another."
        )
    return source
