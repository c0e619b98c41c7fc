"""Tables of utterances: CSV for spreadsheets, rows for data frames, audformat for research."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeAlias

from streamser.errors import StreamserError
from streamser.export.records import Recording, SessionRecord, UtteranceRecord, sound_of
from streamser.export.timeline import turns_of
from streamser.taxonomy import DIMENSIONS, UNSURE
from streamser.text import as_text, flat

Cell: TypeAlias = str | float | None
_Key: TypeAlias = tuple[str, str, str]
TEMPO: Final = ("speech_rate", "pause_share", "longest_pause_s")
"""What the evidence of a final says of how fast it is spoken."""
_INDEX: Final = ("file", "start", "end")


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
        "speaker",
        "session",
        "language",
        "lag_ms",
        "problem",
        *TEMPO,
    )


def rows_of(recording: Recording) -> Iterator[tuple[Cell, ...]]:
    """Yield a row an utterance, session by session; times in s of the session's audio.

    Where several speak in one, a row each.
    ``None``: not known, or not measured. One that could not be analysed, or that the events
    end before, has its ``problem``.
    """
    for session in recording.sessions:
        for utterance in session.utterances:
            for turn in turns_of(utterance):
                yield _row(recording.categories, session, turn)


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
        utterance.speaker,
        utterance.session_id,
        utterance.language,
        utterance.lag_ms,
        utterance.problem,
        *(None if emotion is None else emotion.evidence.get(name) for name in TEMPO),
    )


def _quoted(text: str) -> str:
    if any(sign in text for sign in '",\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _written(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.4f}".rstrip("0").rstrip(".")
    return "" if cell is None else as_text(cell)


def to_audformat(recording: Recording) -> dict[str, str]:
    """Return the files of a database by their names.

    Table ``categories`` has the category and a score for each label, ``dimensions`` what was
    measured of valence, arousal and dominance in [-1, 1], ``speech`` transcript and speaker.
    Segments are of the file that was analysed or recorded, else of ``SESSION.wav``; one that
    could not be analysed is in ``speech`` alone. Raises ``StreamserError`` where two segments
    are the same stretch of one file, as of a file that was analysed twice.
    """
    segments = list(_segments(recording))
    scores = {f"score.{flat(name)}": name for name in recording.categories}
    felt = [(key, each.emotion) for key, each in segments if each.emotion is not None]
    return {
        "db.yaml": _header(recording, tuple(scores)),
        "db.categories.csv": _table(
            ("category", *scores),
            (
                (key, (body.category, *(body.scores.get(name) for name in scores.values())))
                for key, body in felt
            ),
        ),
        "db.dimensions.csv": _table(
            DIMENSIONS,
            ((key, [getattr(body.dimensions, name) for name in DIMENSIONS]) for key, body in felt),
        ),
        "db.speech.csv": _table(
            ("transcript", "speaker"),
            ((key, (each.transcript, each.speaker)) for key, each in segments),
        ),
    }


def _segments(recording: Recording) -> Iterator[tuple[_Key, UtteranceRecord]]:
    seen: set[_Key] = set()
    for session in recording.sessions:
        file = sound_of(session) or f"{session.session_id}.wav"
        # It stays the name of the same file, which an apostrophe would not leave it.
        file = file if as_text(file) == file else f"./{file}"
        for utterance in (turn for each in session.utterances for turn in turns_of(each)):
            key = (file, _time(utterance.start_ms), _time(utterance.end_ms))
            if key in seen:
                raise StreamserError(
                    f"two utterances are the same stretch of {file}: choose one session with"
                    f" --session ID, such as {session.session_id}.",
                    code="mixed_sessions",
                )
            seen.add(key)
            yield key, utterance


def _table(columns: Sequence[str], rows: Iterable[tuple[_Key, Sequence[Cell]]]) -> str:
    lines = ((*_INDEX, *columns), *((*key, *cells) for key, cells in rows))
    return "".join(csv_line(line) for line in lines)


def _header(recording: Recording, scores: Sequence[str]) -> str:
    """Write the header as JSON, which is YAML, too."""
    models = sorted(
        {each.emotion.model for each in recording.utterances if each.emotion is not None}
    )
    found = {each.emotion.category for each in recording.utterances if each.emotion is not None}
    labels = list(dict.fromkeys((*recording.categories, UNSURE, *sorted(found))))
    likely = {"dtype": "float", "minimum": 0, "maximum": 1}
    scale = {"dtype": "float", "minimum": -1, "maximum": 1}
    by_model = {"rater_id": "model"}
    header = {
        "name": "streamser",
        "source": "streamser",
        "usage": "other",
        "languages": [],
        "description": "Emotions as a model heard them; no person has checked them.",
        "raters": {"model": {"type": "machine", "description": ", ".join(models)}},
        "schemes": {
            "category": {"dtype": "str", "labels": labels},
            "score": likely,
            **dict.fromkeys(DIMENSIONS, scale),
            "transcript": {"dtype": "str"},
            "speaker": {"dtype": "str"},
        },
        "tables": {
            "categories": {
                "type": "segmented",
                "columns": {
                    "category": {"scheme_id": "category", **by_model},
                    **{name: {"scheme_id": "score", **by_model} for name in scores},
                },
            },
            "dimensions": {
                "type": "segmented",
                "columns": {name: {"scheme_id": name, **by_model} for name in DIMENSIONS},
            },
            "speech": {
                "type": "segmented",
                "columns": {name: {"scheme_id": name} for name in ("transcript", "speaker")},
            },
        },
    }
    return json.dumps(header, indent=1, ensure_ascii=False) + "\n"


def _time(ms: int) -> str:
    """Write a time as pandas writes a ``Timedelta``."""
    seconds, rest = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days} days {hours:02}:{minutes:02}:{seconds:02}.{rest:03}000"
