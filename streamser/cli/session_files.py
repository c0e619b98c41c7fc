"""What commands that read recorded sessions share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.talk import warn

if TYPE_CHECKING:
    from streamser.export.records import Recording

__all__ = ["OneClock", "SessionFiles", "SessionIds", "read_sessions"]

SessionFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="SESSION.jsonl...",
        help="Events, as --json, --record and --export write them.",
        readable=False,
    ),
]
SessionIds = Annotated[
    list[str] | None,
    typer.Option("--session", metavar="ID", help="Only this one of several; repeat."),
]
OneClock = Annotated[
    bool,
    typer.Option("--one-clock", help="Times of several sessions count from the same moment."),
]


def read_sessions(files: Sequence[Path], session_ids: Sequence[str] | None) -> Recording:
    """Read the sessions that are wanted, and tell what could not be read.

    Raises ``StreamserError`` for files that are none, and sessions that are not there.
    """
    from streamser.export.read import choose_session, read_recording

    recording = read_recording(*files)
    for note in recording.notes:
        warn(note)
    return choose_session(recording, list(session_ids)) if session_ids else recording
