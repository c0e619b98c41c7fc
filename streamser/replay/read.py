"""Read files of events as a score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from streamser.errors import StreamserError
from streamser.export.read import EventFile
from streamser.replay.score import Score, make_score

__all__ = ["read_score"]


def read_score(
    paths: Sequence[Path],
    session_ids: Sequence[str] = (),
    longest_pause_ms: int | None = None,
    meeting: str | None = None,
) -> Score:
    """Read recorded sessions from one or more files, to be played.

    Raises ``StreamserError`` where a file cannot be read, or nothing in it can be played, and
    as ``make_score`` does.
    """
    files = [EventFile(path) for path in paths]
    lines = (line for file in files for line in file)
    score = make_score(lines, session_ids, longest_pause_ms, meeting)
    if not score.cues:
        raise StreamserError(f"{paths[0]}: no session's events are in it.", code="no_session")
    notes = (*(note for file in files for note in file.notes), *score.notes)
    return msgspec.structs.replace(score, notes=notes)
