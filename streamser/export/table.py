"""One row an utterance: for spreadsheets (CSV), and for data frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from streamser.export.records import Recording, SessionRecord, UtteranceRecord
from streamser.export.text import as_text
from streamser.export.timeline import sound_of
from streamser.taxonomy import DIMENSIONS

__all__ = ["Cell", "columns_of", "csv_line", "rows_of", "to_csv"]

Cell: TypeAlias = str | float | None


def columns_of(recording: Recording) -> tuple[str, ...]:
    """Return the names of the columns; the scores are of all categories of all sessions."""
    return (
        "file",
        "start",
        "end",
        "category",
        "confidence",
        *(f"score_{name}" for name in recording.categories),
        *DIMENSIONS,
        "uncertainty",
        "modalities",
        "transcript",
        "model",
        "session",
        "speaker",
        "language",
        "lag_ms",
        "problem",
    )


def rows_of(recording: Recording) -> Iterator[tuple[Cell, ...]]:
    """Yield a row an utterance, session by session; times in s of the session's audio.

    ``None``: not known, or not measured. One that could not be analysed, or that the events
    end before, has its ``problem``.
    """
    for session in recording.sessions:
        for utterance in session.utterances:
            yield _row(recording.categories, session, utterance)


def to_csv(recording: Recording) -> str:
    """Write the rows as CSV (RFC 4180, but for the bare line feeds)."""
    rows = (columns_of(recording), *rows_of(recording))
    return "".join(csv_line(row) for row in rows)


def csv_line(cells: Iterable[Cell]) -> str:
    """Write a row of CSV, its line feed included; ``None`` is empty, strings are ``as_text``."""
    # The module csv leaves a lone carriage return unquoted, and then ends the row there.
    return ",".join(_quoted(_written(cell)) for cell in cells) + "\n"


def _row(
    categories: tuple[str, ...], session: SessionRecord, utterance: UtteranceRecord
) -> tuple[Cell, ...]:
    emotion = utterance.emotion
    scores = {} if emotion is None else emotion.scores
    dimensions = None if emotion is None else emotion.dimensions
    return (
        sound_of(session) or session.source or "",
        utterance.start_ms / 1000,
        utterance.end_ms / 1000,
        None if emotion is None else emotion.category,
        None if emotion is None else emotion.confidence,
        *(scores.get(name) for name in categories),
        *(getattr(dimensions, name, None) for name in DIMENSIONS),
        None if emotion is None else emotion.uncertainty,
        None if emotion is None else "+".join(emotion.modalities),
        utterance.transcript,
        None if emotion is None else emotion.model,
        utterance.session_id,
        utterance.speaker,
        utterance.language,
        utterance.lag_ms,
        utterance.problem,
    )


def _quoted(text: str) -> str:
    if any(sign in text for sign in '",\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _written(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.4f}".rstrip("0").rstrip(".")
    return "" if cell is None else as_text(cell)
