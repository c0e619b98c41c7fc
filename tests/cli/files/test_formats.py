"""What `analyze` writes can be opened by whoever gets it."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import msgspec
import pytest

from streamser.cli.files.analyze import CsvRows, Tables
from streamser.events import SpeakersChanged
from streamser.export.utterances import read_utterance
from tests.cli.samples import ENVELOPE, created, emotion, failed, said


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        """Have a width."""
        return True


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (120, ["words", "emotion", "valence", "arousal", "dominance"]),
        (96, ["words", "emotion", "valence", "arousal", "dominance"]),
        (95, ["words", "emotion", "V", "A", "D"]),
        (80, ["words", "emotion", "V", "A", "D"]),
        (60, ["words", "emotion"]),
    ],
)
def test_a_table_is_whole_on_terminals_of_any_usual_width(
    width: int, heads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures are not cut off: what has no room is closed up, then left out."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    words = "a long sentence that must be folded wherever it is shown"
    events = [said(words, emotion("unsure", valence=-0.25, arousal=0.5)), failed()]
    out = Terminal()
    tables = Tables(out)
    for event in events:
        spoken = read_utterance(event, transcribed=True)
        assert spoken is not None
        tables.utterance(Path("talk.wav"), spoken)
    tables.end(Path("talk.wav"))
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert all(len(line) <= width for line in drawn.splitlines())
    assert "…" not in drawn
    found = drawn.split()
    assert found[found.index("words") :][: len(heads)] == heads
    assert set(words.split()) <= set(found)
    assert ("-0.25" in found) == (len(heads) > 2)
    assert "0:03.0" in found


def test_nothing_that_was_said_is_a_formula() -> None:
    """Words and the names of files come from anybody; figures below nothing stay figures."""
    spoken = read_utterance(said("=1+1, she said"), transcribed=True)
    assert spoken is not None
    assert spoken.emotion is not None
    out = io.StringIO()
    CsvRows(out).utterance(Path("@home.wav"), spoken)
    (row,) = csv.DictReader(io.StringIO(out.getvalue(), newline=""))
    assert (row["file"], row["transcript"]) == ("'@home.wav", "'=1+1, she said")
    assert float(row["valence"]) == spoken.emotion.dimensions.valence


def test_a_row_and_a_table_say_who_spoke_after_all() -> None:
    """They wait for the end of the file where voices are told apart."""
    body = msgspec.structs.replace(emotion(), speaker="speaker 1", speaker_provisional=True)
    spoken = read_utterance(said("well", body), transcribed=True)
    assert spoken is not None
    rows, drawn = io.StringIO(), io.StringIO()
    told = created()
    told = msgspec.structs.replace(
        told, session=msgspec.structs.replace(told.session, speakers="auto")
    )
    for writer in (CsvRows(rows), Tables(drawn)):
        writer.event(told)
        writer.utterance(Path("talk.wav"), spoken)
        writer.event(SpeakersChanged(**ENVELOPE, renamed={"speaker 1": "Ann"}))
        writer.end(Path("talk.wav"))
    (row,) = csv.DictReader(io.StringIO(rows.getvalue(), newline=""))
    assert row["speaker"] == "Ann"
    assert "Ann: well" in drawn.getvalue()
