"""``streamser evaluate`` measures a checkpoint, or says in one line why it cannot."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec.structs import replace

from streamser.emotion.fused.config import FusedConfig
from streamser.training.evaluation.report import Evaluation
from streamser.training.manifest import Item, write_manifest
from tests.cli.running import refuses, run
from tests.emotion.compact.bundles import tiny_bundle
from tests.emotion.fused.checkpoints import TINY, VOICE_ONLY, tiny_checkpoint
from tests.plugged import write_package
from tests.training.tiny import items


class Place:
    """A folder with utterances of two splits, and what belongs to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        made = items(folder, train=4, dev=8)
        self.items = [replace(item, split="test" if item.split == "dev" else "") for item in made]

    def manifest(self, some: list[Item] | None = None) -> Path:
        """Write a manifest of utterances."""
        write_manifest(self.items if some is None else some, self.folder / "made.csv")
        return self.folder / "made.csv"

    def checkpoint(self, config: FusedConfig = TINY) -> Path:
        """Save a tiny random model."""
        return tiny_checkpoint(self.folder / "model", config)

    def words(self, some: list[Item] | None = None) -> list[str]:
        """Return the command that measures a tiny random model on utterances."""
        places = (self.checkpoint(), self.manifest(some), "--out", self.out)
        return ["evaluate", *map(str, places)]

    def evaluation(self) -> Evaluation:
        """Read what was written."""
        return msgspec.json.decode((self.out / "evaluation.json").read_bytes(), type=Evaluation)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Return a folder with utterances."""
    return Place(tmp_path)


def test_a_checkpoint_is_measured(place: Place) -> None:
    """Record, text and pictures are written, a table is printed, all of the test split."""
    result = run(*place.words(), "--snr", "20,0", "--bootstrap", "50", "--seed", "3")
    assert result.exit_code == 0, result.stderr
    assert sorted(path.name for path in place.out.iterdir()) == [
        "confusion.png",
        "dimensions.png",
        "evaluation.json",
        "evaluation.md",
        "noise.png",
        "reliability.png",
    ]
    found = place.evaluation()
    assert [entry.condition.title for entry in found.entries] == [
        "audio + text, transcripts",
        "audio",
        "text, transcripts",
        "audio + text, transcripts, 20 dB SNR",
        "audio + text, transcripts, 0 dB SNR",
        "audio, 20 dB SNR",
        "audio, 0 dB SNR",
    ]
    for entry in found.entries:
        assert entry.result.overall.items == 8
        assert entry.result.overall.speakers == 2
        assert entry.result.overall.classes is not None
        assert entry.result.overall.classes.uar.value is not None
        assert set(entry.result.overall.dimensions) == {"valence", "arousal"}
    assert (found.provenance.split, found.provenance.items) == ("test split", 8)
    assert (found.provenance.seed, found.provenance.replicates) == (3, 50)
    assert "audio + text" in result.stdout
    assert "CCC valence" in result.stdout


def test_the_report_names_no_place_of_this_machine(place: Place) -> None:
    """Files go by their names, so that a report can be shown; the command can be typed again."""
    run(*place.words(), "--bootstrap", "20")
    text = (place.out / "evaluation.md").read_text(encoding="utf-8")
    assert "`streamser evaluate model made.csv --out out --bootstrap 20`" in text
    for file in ("evaluation.md", "evaluation.json"):
        assert str(place.folder) not in (place.out / file).read_text(encoding="utf-8")


def test_the_same_command_gives_the_same_record(place: Place) -> None:
    """Answers, noise and draws follow from the seed alone."""
    words = [*place.words(), "--snr", "10", "--modality", "audio", "--bootstrap", "50"]
    run(*words)
    first = place.evaluation()
    run(*words)
    assert place.evaluation() == first


def test_a_split_can_be_chosen(place: Place) -> None:
    """The default is test; all means the unmarked ones as well; unmarked manifests go whole."""
    words = [*place.words(), "--bootstrap", "0", "--modality", "text"]
    run(*words, "--split", "all")
    assert place.evaluation().provenance.items == 12
    place.manifest([replace(item, split="") for item in place.items])
    run(*words)
    assert place.evaluation().provenance.items == 12
    assert place.evaluation().entries[0].result.overall.classes is not None


def test_a_split_that_nobody_is_in_is_refused(place: Place) -> None:
    """One line names the split and those that there are."""
    words = place.words()
    refuses(run(*words, "--split", "dev"), 2, "made.csv", "dev", "it has test", "--split")


def test_a_manifest_without_labels_is_refused(place: Place) -> None:
    """One line says which labels the model would need."""
    bare = [replace(item, votes=None, dimensions=(math.nan,) * 3) for item in place.items]
    words = place.words(bare)
    refuses(run(*words), 2, "made.csv", "has a label", "neutral, happy, sad, angry, valence")


def test_a_model_that_cannot_read_is_not_asked_about_words(place: Place) -> None:
    """Neither on words alone nor where words are asked for."""
    words = [replace(item, audio=None) for item in place.items]
    checkpoint = place.checkpoint(VOICE_ONLY)
    text_only = run("evaluate", checkpoint, place.manifest(words), "--out", place.out)
    refuses(text_only, 2, "no utterance has what is needed: audio")
    both = run("evaluate", checkpoint, place.manifest(), "--modality", "text", "--out", place.out)
    refuses(both, 2, "the model takes no text", "--modality")


def test_a_single_task_model_is_measured_in_its_task(place: Place) -> None:
    """A model of arousal alone has no confusion matrix."""
    checkpoint = place.checkpoint(VOICE_ONLY)
    result = run("evaluate", checkpoint, place.manifest(), "--out", place.out, "--bootstrap", "0")
    assert result.exit_code == 0, result.stderr
    overall = place.evaluation().entries[0].result.overall
    assert overall.classes is None
    assert set(overall.dimensions) == {"arousal"}
    assert not (place.out / "confusion.png").exists()


def test_unreadable_clips_are_left_out_and_counted(place: Place) -> None:
    """A damaged clip is skipped with a warning; --strict makes it the end."""
    damaged = place.items[-1].audio
    assert damaged is not None
    damaged.write_bytes(b"no sound")
    words = [*place.words(), "--bootstrap", "0", "--modality", "audio"]
    result = run(*words)
    assert result.exit_code == 0
    assert "1 clip of made.csv could not be read" in result.stderr
    assert place.evaluation().provenance.skipped == 1
    assert place.evaluation().entries[0].result.overall.items == 7
    refuses(run(*words, "--strict"), 1, damaged.name)


def test_nothing_readable_is_refused(place: Place) -> None:
    """Where no clip is left, one line says so."""
    for item in place.items:
        assert item.audio is not None
        item.audio.unlink()
    refuses(run(*place.words()), 1, "not one clip", "made.csv")
    refuses(run("evaluate", "rules", place.manifest()), 1, "not one clip", "made.csv")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--snr", "loud"], ("--snr loud", "20,10,5,0")),
        (["--snr", "nan"], ("--snr nan",)),
        (["--noise", "nowhere"], ("--noise", "--snr")),
        (["--noise", "nowhere", "--snr", "10"], ("nowhere",)),
        (["--text", "asr"], ("recognised words",)),
        (["--out", "made.csv/out"], ("--out", "is a file")),
    ],
)
def test_wrong_use_is_told_in_one_line(
    place: Place, options: list[str], parts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be meant is refused before anything is measured."""
    monkeypatch.chdir(place.folder)
    for model in (place.checkpoint(), "compact"):
        result = run("evaluate", model, place.manifest(), "--modality", "both", *options)
        refuses(result, 2, *parts)


def test_missing_files_are_told_in_one_line(place: Place) -> None:
    """Neither a manifest nor a checkpoint that is not there ends in a traceback."""
    nowhere = place.folder / "nowhere"
    checkpoint, out = place.checkpoint(), place.out
    refuses(run("evaluate", checkpoint, f"{nowhere}.csv", "--out", out), 2, "nowhere.csv")
    (place.folder / "empty").mkdir()
    empty = run("evaluate", place.folder / "empty", place.manifest(), "--out", out)
    refuses(empty, 1, "is no checkpoint of streamser")


@pytest.mark.parametrize("name", ["compct", "Compact"])
def test_a_slip_of_the_pen_is_told_with_the_name_that_was_meant(place: Place, name: str) -> None:
    """And is not looked for on the hub."""
    result = run("evaluate", name, place.manifest(), "--out", place.out)
    refuses(result, 2, f"no emotion model is called '{name}'", "did you mean compact?")


def test_help_needs_no_torch() -> None:
    """The command can be looked up where only the runtime is installed."""
    code = (
        "import sys\n"
        "from streamser.cli.main import app\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(app, ['evaluate', '--help']).exit_code == 0\n"
        "assert not {'torch', 'matplotlib', 'sklearn', 'streamser.training'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_manifest_that_is_none_is_told_before_torch_comes(tmp_path: Path) -> None:
    """It takes seconds, and may not be installed."""
    code = (
        "import sys\n"
        "from streamser.cli.main import app\n"
        "from typer.testing import CliRunner\n"
        f"done = CliRunner().invoke(app, ['evaluate', 'compact', {str(tmp_path / 'no.csv')!r}])\n"
        "assert (done.exit_code, 'no.csv cannot be read' in done.stderr) == (2, True)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_results_go_where_their_model_and_manifest_are_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without --out: another model, or another manifest, does not overwrite them."""
    monkeypatch.chdir(place.folder)
    trained = tiny_checkpoint(place.folder / "compact-0" / "model", TINY)
    result = run("evaluate", trained, place.manifest(), "--bootstrap", "0")
    assert result.exit_code == 0, result.stderr
    assert (place.folder / "runs" / "evaluate-compact-0-made" / "evaluation.md").is_file()


def test_the_model_that_comes_with_the_program_is_measured(place: Place) -> None:
    """As a trained one is; utterances without a label are not counted."""
    unlabelled = replace(place.items[-1], votes=None, dimensions=(math.nan,) * 3)
    manifest = place.manifest([*place.items[:-1], unlabelled])
    done = run("evaluate", "compact", manifest, "--out", place.out, "--bootstrap", "20")
    assert done.exit_code == 0, done.stderr
    measured = place.evaluation()
    assert measured.provenance.checkpoint == "compact"
    assert measured.provenance.items == 7
    assert "no label: 1" in done.stderr
    assert [each.condition.modalities for each in measured.entries] == [
        "audio+text",
        "audio",
        "text",
    ]
    classes = measured.entries[0].result.overall.classes
    assert classes is not None
    assert (classes.labelled, classes.raw) == (7, classes.calibrated)
    text = (place.out / "evaluation.md").read_text(encoding="utf-8")
    assert "- calibration of audio: validation speakers of CREMA-D" in text
    assert "holds no calibration" not in text


def test_a_bundle_of_ones_own_is_told_by_the_weights_that_it_has(place: Place) -> None:
    """Its hash changes with them; it runs on one thread of the processor, whatever is asked for."""
    manifest = place.manifest(place.items[-2:])
    hashes = []
    for seed in (0, 1):
        mine = tiny_bundle(place.folder / f"mine-{seed}", seed)
        words = ("evaluate", mine, manifest, "--out", place.out, "--modality", "text")
        done = run(*words, "--bootstrap", "0")
        assert done.exit_code == 0, done.stderr
        found = place.evaluation().provenance
        assert (found.threads, found.device, found.origin) == (1, "CPU", "")
        hashes.append(found.weights_sha256)
        assert f"mine-{seed} (weights SHA-256 {hashes[-1]})" in (
            place.out / "evaluation.md"
        ).read_text(encoding="utf-8")
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in hashes)
    assert hashes[0] != hashes[1]
    refuses(run(*words, "--device", "cuda"), 2, "mine-1 runs on the CPU alone", "--device")


def test_a_corpus_that_taught_the_model_is_pointed_out(place: Place) -> None:
    """In a line and in the report, but for speakers that the model does not know."""
    german, known, unknown, other = (
        replace(item, corpus=corpus, speaker=speaker)
        for item, corpus, speaker in zip(
            place.items[-4:],
            ("emodb", "cremad", "cremad", "ravdess"),
            ("03", "1001", "1007", "1007"),
            strict=True,
        )
    )
    words = ("--out", place.out, "--modality", "text", "--bootstrap", "0")
    done = run("evaluate", "compact", place.manifest([german, known, unknown, other]), *words)
    line = "2 of 4 utterances are of what the model was taught (emodb, cremad)"
    assert done.exit_code == 0, done.stderr
    assert sum(line in said for said in done.stderr.splitlines()) == 1
    assert f"- **{line}" in (place.out / "evaluation.md").read_text(encoding="utf-8")
    done = run("evaluate", "compact", place.manifest([unknown, other]), *words)
    assert "was taught" not in done.stderr
    assert "was taught" not in (place.out / "evaluation.md").read_text(encoding="utf-8")


def test_a_plugin_is_told_by_its_package(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows its weights or threads; it is asked to run where --device says."""
    code = (
        "from streamser.emotion.rules import RulesModel\n"
        "def make(settings, *, offline):\n"
        "    assert settings.device == 'cpu', settings.device\n"
        "    return RulesModel()\n"
    )
    point = {"emotion_models/theirs": "their_rules:make"}
    package = write_package(place.folder / "site", "their-rules", point, code, version="2.5")
    monkeypatch.syspath_prepend(str(package))
    words = ("evaluate", "theirs", place.manifest(place.items[-2:]), "--out", place.out)
    done = run(*words, "--modality", "text", "--bootstrap", "0", "--device", "cpu")
    assert done.exit_code == 0, done.stderr
    found = place.evaluation().provenance
    assert (found.origin, found.weights_sha256, found.threads) == (
        "plug-in their-rules 2.5",
        "",
        None,
    )
    report = (place.out / "evaluation.md").read_text(encoding="utf-8")
    assert "- checkpoint: theirs (plug-in their-rules 2.5)\n" in report
    assert "cpu, as far as the plug-in heeds it" in report


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_there_is_not_is_refused_of_other_models_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a checkpoint."""
    point = {"emotion_models/theirs": "their_rules:make"}
    monkeypatch.syspath_prepend(str(write_package(place.folder / "site", "their-rules", point)))
    result = run("evaluate", "theirs", place.manifest(), "--out", place.out, "--device", "cuda")
    refuses(result, 2, "no CUDA device", "--device cpu")
