"""What `analyze` writes can be opened by whoever gets it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from streamser.cli.formats import CsvRows
from streamser.cli.utterance import read_utterance
from tests.cli.samples import said


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
