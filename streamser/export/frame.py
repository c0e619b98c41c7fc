"""A session for notebooks: a data frame where pandas is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from streamser.export.read import choose_session, read_recording
from streamser.export.records import Recording
from streamser.export.table import columns_of, rows_of

if TYPE_CHECKING:
    import pandas

__all__ = ["read_session"]


def read_session(*paths: str | Path, session: str | None = None) -> pandas.DataFrame | Recording:
    """Read what a session left: files of events, as ``listen --json`` or ``--export`` write them.

    Returns a pandas ``DataFrame`` with one row an utterance where pandas is installed, times
    in s, what was not measured missing; its ``attrs["notes"]`` say what could not be read.
    Without pandas, and always from ``read_recording``, a ``Recording``: typed records of
    utterances, readings, moods and losses. ``session`` chooses one of several by its id.
    Raises ``StreamserError`` where a file cannot be read or holds no events.
    """
    recording = read_recording(*paths)
    if session is not None:
        recording = choose_session(recording, [session])
    if find_spec("pandas") is None:
        return recording
    import pandas

    frame = pandas.DataFrame(list(rows_of(recording)), columns=list(columns_of(recording)))
    frame.attrs["notes"] = list(recording.notes)
    return frame
