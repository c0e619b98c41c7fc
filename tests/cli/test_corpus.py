"""``streamser corpus``: from a folder to a manifest, and from two manifests to a third."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamser.training.manifest import read_manifest
from tests.cli.running import refuses, run
from tests.data import shared_data
from tests.training.corpora.trees import lay, sounds


def test_a_corpus_becomes_a_manifest(tmp_path: Path) -> None:
    """One line says what is in it; sound is named relative to the manifest beside it."""
    sounds(tmp_path, "wav/03a01Fa.wav", "wav/08a01Na.wav", "wav/08a01La.wav")
    result = run("corpus", "emodb", tmp_path, "-o", tmp_path / "m.csv")
    assert result.exit_code == 0, result.stderr
    assert "2 utterances of 2 speakers: 1 neutral, 1 happy" in result.stderr
    assert [item.category for item in read_manifest(tmp_path / "m.csv")] == ["happy", "neutral"]


def test_options_reach_the_reader(tmp_path: Path) -> None:
    """Here the utterances that are none of the four."""
    sounds(tmp_path, "wav/03a01Fa.wav", "wav/08a01La.wav")
    run("corpus", "emodb", tmp_path, "-o", tmp_path / "m.csv", "--categories", "all")
    assert [i.category for i in read_manifest(tmp_path / "m.csv")] == ["happy", None]


def test_missing_sound_is_told_when_a_manifest_is_made_and_shown(tmp_path: Path) -> None:
    """A warning, not a refusal: the training counts and skips."""
    lay(tmp_path, {"t.csv": "audio,speaker,category\na.wav,1,sad\nb.wav,2,angry\n"})
    sounds(tmp_path, "a.wav")
    made = run("corpus", "csv", tmp_path / "t.csv", "-o", tmp_path / "m.csv")
    shown = run("corpus", "show", tmp_path / "m.csv")
    for result in (made, shown):
        assert result.exit_code == 0
        assert f"1 file missing, such as {tmp_path / 'b.wav'}" in result.stderr


def test_columns_are_mapped_on_the_command_line(tmp_path: Path) -> None:
    """`--map text=sentence`; anything else is wrong use."""
    path = lay(tmp_path, {"t.csv": "sentence,v\nWell.,2\n"}) / "t.csv"
    out = tmp_path / "m.csv"
    arguments = ("corpus", "csv", path, "-o", out, "--map", "text=sentence")
    assert run(*arguments, "--map", "valence=v", "--scale", "1:5", "--corpus", "lab").exit_code == 0
    (item,) = read_manifest(out)
    assert (item.corpus, item.text, item.dimensions[0]) == ("lab", "Well.", 0.25)
    refuses(run(*arguments, "--map", "valence"), 2, "--map valence", "OURS=THEIRS")


def test_show_counts_by_corpus_and_split(tmp_path: Path) -> None:
    """A row for each."""
    table = "text,split,category\nYes.,train,happy\nNo.,train,angry\nOh.,test,angry\n"
    lay(tmp_path, {"t.csv": table})
    run("corpus", "csv", tmp_path / "t.csv", "-o", tmp_path / "m.csv")
    lines = [line.split() for line in run("corpus", "show", tmp_path / "m.csv").stdout.splitlines()]
    numbers = {line[1]: line[2:] for line in lines if line[:1] == ["t"]}
    assert numbers == {
        "train": ["2", "2", "0", "2", "0", "1", "0", "1", "0", "0", "0", "0"],
        "test": ["1", "1", "0", "1", "0", "0", "0", "1", "0", "0", "0", "0"],
    }


def test_voices_and_words_are_paired(tmp_path: Path) -> None:
    """Real voices with real words, each voice three times."""
    cremad, words, paired = (tmp_path / name for name in ("v.csv", "w.csv", "p.csv"))
    run("corpus", "cremad", shared_data("cremad_mel"), "-o", cremad, "--votes", "intended")
    run("corpus", "xed", shared_data("text"), "-o", words)
    result = run("corpus", "pair", cremad, words, "-o", paired, "--seed", "1", "--repeats", "3")
    assert result.exit_code == 0, result.stderr
    items = read_manifest(paired)
    assert len(items) == 3 * 4894
    assert all(item.mel and item.text and "+xed-" in item.id for item in items)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("iemocap", "."), "no copy of IEMOCAP"),
        (("meld", "nowhere"), "nowhere does not exist"),
    ],
)
def test_wrong_use_ends_with_one_line(
    tmp_path: Path, arguments: tuple[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and no manifest."""
    monkeypatch.chdir(tmp_path)
    refuses(run("corpus", *arguments, "-o", "m.csv"), 2, said)
    assert not list(tmp_path.iterdir())


def test_a_manifest_that_cannot_be_written_or_leaks_is_refused(tmp_path: Path) -> None:
    """A folder that is not there; a speaker in two splits, with both lines."""
    lay(tmp_path, {"t.csv": "audio,speaker,split\na.wav,1,train\nb.wav,1,test\n"})
    sounds(tmp_path, "a.wav", "b.wav", "wav/03a01Fa.wav")
    out = tmp_path / "none" / "m.csv"
    refuses(run("corpus", "emodb", tmp_path, "-o", out), 2, "cannot be written")
    leak = run("corpus", "csv", tmp_path / "t.csv", "-o", tmp_path / "m.csv")
    refuses(leak, 2, "speaker '1'", "leakage")


def test_the_help_loads_neither_torch_nor_the_readers() -> None:
    """It stays quick."""
    code = (
        "import sys; from streamser.cli.main import app; "
        "sys.exit(any(m.startswith(('torch', 'streamser.training')) for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_corpus_without_splits_is_parted_by_speakers(tmp_path: Path) -> None:
    """Train, dev and test share no speaker; a fold that there is not is refused by name."""
    rows = "".join(f"well {n},{n % 5},sad\n" for n in range(20))
    lay(tmp_path, {"t.csv": f"text,speaker,category\n{rows}"})
    run("corpus", "csv", tmp_path / "t.csv", "-o", tmp_path / "m.csv")
    out = tmp_path / "s.csv"
    parted = run("corpus", "split", tmp_path / "m.csv", "-o", out, "--by", "speaker")
    assert parted.exit_code == 0, parted.stderr
    speakers: dict[str, set[str]] = {}
    for item in read_manifest(out):
        speakers.setdefault(item.split, set()).add(item.speaker)
    assert {split: len(names) for split, names in speakers.items()} == {
        "train": 3,
        "dev": 1,
        "test": 1,
    }
    assert set.union(*speakers.values()) == {"0", "1", "2", "3", "4"}
    refuses(
        run("corpus", "split", tmp_path / "m.csv", "-o", out, "--by", "speaker", "--fold", "9"),
        2,
        "there is no such fold",
        "there are 0, 1",
    )
