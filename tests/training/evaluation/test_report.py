"""The report says what was measured, on what, by what, and how sure it is."""

from __future__ import annotations

import io

import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console

from streamser.training.evaluation.bootstrap import Estimate
from streamser.training.evaluation.report import (
    Condition,
    Entry,
    Evaluation,
    Provenance,
    encode,
    markdown,
    plain,
    summary,
)
from streamser.training.evaluation.scores import judge, score
from tests.training.planted import voices

PROVENANCE = Provenance(
    manifest="corpus.csv",
    manifest_sha256="0123456789abcdef",
    split="test split",
    items=400,
    speakers=20,
    skipped=0,
    checkpoint="runs/compact/model",
    weights_sha256="fedcba9876543210",
    calibrations={"audio": "dev split; 90 utterances of 4 speakers"},
    seed=5,
    replicates=200,
    noise="",
    command="streamser evaluate runs/compact/model corpus.csv --seed 5",
    cpu="Some CPU",
    threads=2,
    device="CPU",
    versions={"torch": "2.13.0"},
)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    """Return an evaluation of planted answers: clean, and in noise that spoils them."""
    clean = score([judge(voices(0))], replicates=200)
    noisy = score([judge(voices(0, clearness=0.3))], replicates=200)
    entries = (
        Entry(Condition(modalities="audio"), clean),
        Entry(Condition(modalities="audio", snr_db=5.0), noisy),
    )
    return Evaluation(provenance=PROVENANCE, entries=entries)


def test_json_holds_everything(evaluation: Evaluation) -> None:
    """What is written can be read again as the same typed record."""
    assert msgspec.json.decode(encode(evaluation), type=Evaluation) == evaluation


def test_markdown_names_where_figures_come_from(evaluation: Evaluation) -> None:
    """Data with its hash, checkpoint, calibration, command, machine, versions, seed."""
    text = markdown(evaluation)
    for named in (
        "corpus.csv (SHA-256 0123456789abcdef), test split: 400 utterances, 20 speakers",
        "runs/compact/model (weights SHA-256 fedcba9876543210)",
        "calibration of audio: dev split; 90 utterances of 4 speakers",
        "`streamser evaluate runs/compact/model corpus.csv --seed 5`",
        "Some CPU, 2 threads, CPU",
        "torch 2.13.0",
        "200 draws of speakers with replacement (seed 5)",
    ):
        assert named in text


def test_markdown_shows_each_condition_and_the_details_of_clean_ones(
    evaluation: Evaluation,
) -> None:
    """Every condition has its row; only those without noise have a section."""
    lines = markdown(evaluation).splitlines()
    rows = [line for line in lines if line.startswith(("| audio |", "| audio, 5 dB SNR |"))]
    assert len(rows) == 2
    overall = evaluation.entries[0].result.overall
    assert overall.classes is not None
    assert f"| 400 | 20 | {plain(overall.classes.uar, percent=True)} |" in rows[0]
    assert [line for line in lines if line.startswith("## ")] == ["## Conditions", "## Audio"]
    assert sum(line.startswith("| made/s") for line in lines) == 20


def test_every_table_is_rectangular(evaluation: Evaluation) -> None:
    """Rows of a table have as many cells as its head."""
    table: list[int] = []
    for line in markdown(evaluation).splitlines():
        if line.startswith("|"):
            table.append(line.count("|"))
        else:
            assert len(set(table)) <= 1, table
            table = []


def test_few_speakers_are_pointed_out(evaluation: Evaluation) -> None:
    """Below twenty speakers the report warns of its own intervals."""
    few = score([judge(voices(0, speakers=5))], replicates=50)
    small = replace(evaluation, entries=(Entry(Condition(modalities="audio"), few),))
    assert "**5 speakers only: the intervals are rough" in markdown(small)
    assert "only: the intervals are rough" not in markdown(evaluation)


def test_what_was_left_out_is_said(evaluation: Evaluation) -> None:
    """Unreadable clips, missing calibrations and missing intervals are not passed over."""
    bare = replace(PROVENANCE, skipped=3, calibrations={}, replicates=0, noise="white noise")
    text = markdown(replace(evaluation, provenance=bare))
    assert "3 unreadable, left out" in text
    assert "holds no calibration" in text
    assert "no intervals" in text
    assert "noise: white noise" in text


def test_a_model_of_the_program_is_measured_as_it_is_told(evaluation: Evaluation) -> None:
    """Its calibration is part of its answers, and has no raw figures beside it."""
    told = replace(PROVENANCE, told=True, calibrations={"audio": "some voices"})
    text = markdown(replace(evaluation, provenance=told))
    assert "calibration of audio: some voices" in text
    assert "Answers are measured as the program tells them" in text
    assert "holds no calibration" not in text


def test_the_commonest_category_is_the_figure_to_beat(evaluation: Evaluation) -> None:
    """Beside a WAR stands that of always answering the commonest category."""
    counts = evaluation.entries[0].result.overall.classes
    assert counts is not None
    most = max(sum(row) for row in counts.confusion) / 4
    assert f"commonest category would be a WAR of {most:.1f} and a UAR of 25.0" in markdown(
        evaluation
    )


def test_folds_have_mean_and_deviation(evaluation: Evaluation) -> None:
    """Several folds add a table of their spread."""
    folds = [judge(voices(seed, speakers=3)) for seed in range(3)]
    several = score(folds, replicates=0)
    text = markdown(replace(evaluation, entries=(Entry(Condition(modalities="audio"), several),)))
    spread = several.folds["UAR"]
    assert spread.sd is not None
    assert f"| UAR | {100 * spread.mean:.1f} | {100 * spread.sd:.1f} | 3 |" in text


def test_pictures_are_shown(evaluation: Evaluation) -> None:
    """Each picture is linked by its file name."""
    assert "![Confusion](confusion.png)" in markdown(evaluation, [("Confusion", "confusion.png")])


@pytest.mark.parametrize(
    ("estimate", "percent", "text"),
    [
        (Estimate(0.75812, 0.731, 0.78), True, "75.8 [73.1, 78.0]"),
        (Estimate(0.7484, 0.72, 0.7711), False, "0.748 [0.720, 0.771]"),
        (Estimate(0.0, 0.0, 0.0), False, "0.000 [0.000, 0.000]"),
        (Estimate(0.5), True, "50.0"),
        (Estimate(None), False, "–"),
    ],
)
def test_figures_are_written_with_their_intervals(
    estimate: Estimate, percent: bool, text: str
) -> None:
    """An interval stands in brackets where there is one; what is not defined is a dash."""
    assert plain(estimate, percent=percent) == text


def test_the_terminal_shows_a_row_for_each_condition(evaluation: Evaluation) -> None:
    """The table has the headline figures and nothing else."""
    out = io.StringIO()
    Console(file=out, width=200).print(summary(evaluation))
    lines = [line for line in out.getvalue().splitlines() if " 400 " in line]
    assert len(lines) == 2
    assert "CCC arousal" in out.getvalue()
