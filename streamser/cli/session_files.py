"""What commands that read recorded sessions share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.talk import warn
from streamser.errors import StreamserError
from streamser.names import read_name

if TYPE_CHECKING:
    from streamser.export.records import Recording

__all__ = ["Meeting", "OneClock", "SessionFiles", "SessionIds", "find_sessions", "read_sessions"]

SessionFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="SESSION.jsonl...",
        help="Events, as --json, --record and --export write them; or a folder of them.",
        readable=False,
    ),
]
SessionIds = Annotated[
    list[str] | None,
    typer.Option("--session", metavar="ID", help="Only this one of several; repeat."),
]
Meeting = Annotated[
    str | None,
    typer.Option("--meeting", metavar="NAME", help="Only sessions of this one."),
]
OneClock = Annotated[
    bool,
    typer.Option("--one-clock", help="Times of several sessions count from the same moment."),
]


def find_sessions(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are named, or lie in a folder that is, in the order of their names.

    Of a folder of ``--record`` it is the session. What is no session in a folder is told, and
    left out. Raises ``StreamserError`` for one that holds none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        session = path / "session.jsonl"
        shown = [each for each in path.glob("*.jsonl") if not each.name.startswith(".")]
        within = [session] if session.is_file() else list(filter(_holds_events, sorted(shown)))
        if not within:
            raise StreamserError(
                f"{path}: it is a folder without events (.jsonl); give a file of events, or a"
                " folder as --record or serve --export make it.",
                code="no_session",
            )
        found += within
    return found


def _holds_events(path: Path) -> bool:
    from streamser.export.read import EventFile

    try:
        next(iter(EventFile(path)))
    except StreamserError as error:
        warn(f"left out: {error}")
        return False
    return True


def read_sessions(
    files: Sequence[Path], session_ids: Sequence[str] | None, meeting: str | None = None
) -> Recording:
    """Read the sessions that are wanted, and tell what could not be read.

    Raises ``StreamserError`` for files that are none, and sessions and meetings that are not
    there.
    """
    from streamser.export.read import choose_meeting, choose_session, read_recording

    name = None if meeting is None else read_name(meeting, "--meeting")
    recording = read_recording(*files)
    for note in recording.notes:
        warn(note)
    if session_ids:
        recording = choose_session(recording, list(session_ids))
    return recording if name is None else choose_meeting(recording, name)
