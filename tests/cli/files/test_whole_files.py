"""`analyze --whole`, tables of recordings, `--speakers-from`: a reading a file, and whose it is."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from streamser.cli.files.batch import find_tasks
from streamser.errors import ConfigError, StreamserError
from tests.cli.running import refuses, run
from tests.cli.sounds import spoken, write

QUIET = ("--asr", "none")


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two speakers with two recordings each, and a table of them."""
    folder = tmp_path_factory.mktemp("talks")
    for name, start in (("ann/1", 4.8), ("bob/1", 33.0), ("ann/2", 36.4), ("bob/2", 47.0)):
        (folder / name).parent.mkdir(exist_ok=True)
        write(folder / f"{name}.wav", spoken(3.2, start))
    lines = ["file,who,take", "ann/1.wav,Ann,1", "bob/1.wav,Bob,1", "ann/2.wav,Ann,2"]
    (folder / "all.csv").write_text("\n".join([*lines, "bob/2.wav,,2", ""]))
    return folder


def rows_of(*arguments: str | Path) -> list[dict[str, str]]:
    """Return the rows that a run of `analyze` writes."""
    done = run("analyze", *arguments, *QUIET, "--format", "csv")
    assert done.exit_code == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


def without_names(row: dict[str, str]) -> dict[str, str]:
    """Return what a row says of the sound, not whose it is."""
    return {name: value for name, value in row.items() if name not in {"file", "speaker"}}


def test_a_whole_file_is_one_reading(tmp_path: Path) -> None:
    """From its first sample to its last, with what is silence at either end and in between."""
    talk = write(tmp_path / "talk.wav", spoken(7.0))
    assert len(rows_of(talk)) == 2
    (row,) = rows_of(talk, "--whole")
    assert (row["start"], row["end"]) == ("0", "7")
    assert row["modalities"] == "audio"


def test_a_whole_file_without_a_voice_is_a_reading_too(tmp_path: Path) -> None:
    """Unsure, with nothing measured; one that is too short for any sound is told."""
    quiet = write(tmp_path / "quiet.wav", np.zeros(16_000, np.float32))
    short = write(tmp_path / "short.wav", np.zeros(800, np.float32))
    done = run("analyze", quiet, short, "--whole", *QUIET, "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["category"], row["valence"], row["modalities"]) == ("unsure", "", "")
    assert done.exit_code == 0
    assert "short.wav: too short to be read" in done.stderr


def test_a_long_file_is_read_in_parts_and_that_is_said(tmp_path: Path) -> None:
    """Of five minutes each, since the cost of one reading has to have a bound."""
    hour = write(tmp_path / "long.wav", np.zeros(301 * 16_000, np.float32))
    done = run("analyze", hour, "--whole", *QUIET, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [(row["start"], row["end"]) for row in rows] == [("0", "300"), ("300", "301")]
    assert "read in 2 parts: one reading has 5 minutes at most" in done.stderr


def test_whole_files_go_into_every_format(talks: Path, tmp_path: Path) -> None:
    """With a set of files for each recording of a folder, one utterance in each."""
    out = tmp_path / "out"
    forms = "jsonl,csv,srt,vtt,emotionml,textgrid,eaf,rttm,audformat"
    done = run("analyze", talks / "ann", "--whole", *QUIET, "--export", out, "--export-as", forms)
    assert done.exit_code == 0
    assert len(list(out.iterdir())) == 2 * len(forms.split(","))
    for name in ("1.csv", "2.csv"):
        assert len((out / name).read_text("utf-8-sig").splitlines()) == 2


def test_nobody_waits_for_partials_of_a_whole_file(talks: Path) -> None:
    """Asked for both, the program asks what is meant."""
    refuses(run("analyze", talks, "--whole", "--partials"), 2, "--whole", "--partials")


def test_a_table_stands_for_the_recordings_it_names(talks: Path) -> None:
    """In its own order, relative to itself, each once; alone it says of nobody whose they are."""
    tasks = find_tasks([talks / "all.csv"])
    files = [talks / f"{name}.wav" for name in ("ann/1", "bob/1", "ann/2", "bob/2")]
    assert [task.file for task in tasks] == files
    assert {task.speaker for task in tasks} == {None}


def test_a_column_or_the_folder_says_who_speaks(talks: Path) -> None:
    """An empty cell says that nobody knows."""
    by_column = find_tasks([talks / "all.csv"], "who")
    assert [task.speaker for task in by_column] == ["Ann", "Bob", "Ann", None]
    by_folder = find_tasks([talks], "folder")
    assert [task.speaker for task in by_folder] == ["ann", "ann", "bob", "bob"]
    of_table = find_tasks([talks / "all.csv"], "folder")
    assert [task.speaker for task in of_table] == ["ann", "bob", "ann", "bob"]


def test_what_is_learnt_of_a_voice_goes_on_in_its_next_file(talks: Path) -> None:
    """As if both were one recording; whoever comes in between learns and teaches nothing."""
    apart = rows_of(talks / "all.csv", "--whole")
    known = rows_of(talks / "all.csv", "--whole", "--speakers-from", "who")
    assert [row["speaker"] for row in known] == ["Ann", "Bob", "Ann", ""]
    first, second, third, fourth = (
        without_names(one) == without_names(other) for one, other in zip(apart, known, strict=True)
    )
    assert (first, second, third, fourth) == (True, True, False, True)
    ann = rows_of(talks / "ann", "--whole", "--speakers-from", "folder")
    assert without_names(ann[1]) == without_names(known[2])


def test_how_many_files_are_read_at_once_changes_nothing(talks: Path) -> None:
    """A file waits for the one before it of the same speaker, and the others need not."""
    asked = (talks, "--speakers-from", "folder", "--jobs")
    assert rows_of(*asked, "1") == rows_of(*asked, "4")


def test_tables_that_cannot_be_followed_are_told_in_one_line(talks: Path, tmp_path: Path) -> None:
    """What is missing in which table, and what else would do."""
    table = tmp_path / "t.csv"

    def refused(text: str, by: str | None = None) -> str:
        table.write_text(text)
        with pytest.raises((ConfigError, StreamserError)) as fault:
            find_tasks([table], by)
        return str(fault.value)

    assert "has no column audio, file or path, it has name, who." in refused(
        "name,who\nx.wav,Ann\n"
    )
    assert "lacks the column 'mood'; it has file, who" in refused("file,who\nx.wav,Ann\n", "mood")
    assert "names no recordings" in refused("file,who\n")
    assert "line 3: x.wav is of Bob, before it was of Ann" in refused(
        "file,who\nx.wav,Ann\nx.wav,Bob\n", "who"
    )
    with pytest.raises(ConfigError, match=r"1\.wav is no table with columns; give a table"):
        find_tasks([talks / "ann" / "1.wav"], "who")
    with pytest.raises(ConfigError, match=r"gone\.csv cannot be read: No such file"):
        find_tasks([tmp_path / "gone.csv"])


def test_a_table_is_not_written_over(talks: Path) -> None:
    """Neither by --out nor by --export: somebody made it by hand."""
    table = talks / "all.csv"
    refuses(run("analyze", table, *QUIET, "-o", table), 2, "that is what is read")
    refuses(run("analyze", table, *QUIET, "--export", table), 2, "that is what is read")


def test_what_is_not_there_is_told_before_models_are_loaded(talks: Path, tmp_path: Path) -> None:
    """All of it at once; a model that cannot be had is met by those who have something to read."""
    (tmp_path / "notes.txt").write_text("no sound")
    lost = ("--asr", "whisper", "--asr-model", tmp_path / "no-model")
    alone = run("analyze", tmp_path / "a.wav", tmp_path / "notes.txt", *lost)
    first, second = alone.stderr.splitlines()
    assert "a.wav does not exist" in first
    assert "notes.txt is not audio" in second
    assert alone.exit_code == 1
    company = run("analyze", talks / "ann" / "1.wav", tmp_path / "a.wav", *lost)
    first, second = company.stderr.splitlines()
    assert "a.wav does not exist" in first
    assert "no-model" in second
