from __future__ import annotations

import math
import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from streamser.errors import AudioError, ConfigError, ModelError
from streamser.taxonomy import CATEGORIES
from streamser.training.crossval import (
    Cell,
    CrossvalPlan,
    check_labels,
    fingerprint,
    pending,
    read_cell,
    run_cells,
    systems,
)
from streamser.training.folds import folds
from streamser.training.grid import markdown, measure, origin_of, write_grid
from streamser.training.manifest import Item, MelSpan, write_manifest
from streamser.training.settings import TrainSettings, load_train_settings

WORDS = {
    "neutral": "the meeting begins at nine in the morning",
    "happy": "what a wonderful lovely surprise thank you",
    "sad": "i miss them so much and i cried all night",
    "angry": "how dare you this is an outrage get out",
}
SPEAKERS = ("ann", "ben", "cat", "dan", "eve", "fay")


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Six speakers who say each emotion four times, in voices and words that tell."""
    rng = np.random.default_rng(0)
    archive = tmp_path_factory.mktemp("corpus") / "mel.npz"
    rows, made = [], []
    for number, (speaker, category, _take) in enumerate(
        (s, c, t) for s in SPEAKERS for c in CATEGORIES for t in range(4)
    ):
        tilt = CATEGORIES.index(category) * 12
        bands = 120 + tilt + rng.normal(0, 20, (20, 64))
        rows.append(np.clip(bands, 0, 255).astype(np.uint8))
        vote = tuple(float(category == name) for name in CATEGORIES)
        words = WORDS[category].split()
        random.Random(number).shuffle(words)
        made.append(
            Item(
                id=f"{speaker}-{number}",
                corpus="planted",
                speaker=speaker,
                session=f"s{SPEAKERS.index(speaker) // 2}",
                mel=MelSpan(archive, number * 20, 20),
                text=" ".join(words),
                votes=vote,
                dimensions=(0.2 + 0.2 * CATEGORIES.index(category), 0.5 + rng.normal(0, 0.1), 0.5),
            )
        )
    np.savez(archive, mel=np.concatenate(rows))
    return made


@pytest.fixture
def settings() -> TrainSettings:
    """Return the grid's preset, made tiny."""
    return load_train_settings(
        "ablation",
        [
            "model.acoustic.width=16",
            "model.acoustic.heads=2",
            "model.acoustic.layers=1",
            "model.text.width=16",
            "model.text.heads=2",
            "model.fusion.width=16",
            "model.fusion.heads=2",
            "optimizer.epochs=1",
            "run.threads=1",
        ],
    )


def plan_of(items: list[Item], settings: TrainSettings, out: Path, *rows: str) -> CrossvalPlan:
    """Lay out two folds and two seeds of some multi-task rows."""
    return CrossvalPlan(
        systems=tuple(systems(settings, rows, ("both",))),
        folds=tuple(folds(items, "groups", k=3)[:2]),
        seeds=(0, 1),
        out=out,
    )


def finish(plan: CrossvalPlan, *, jobs: int = 1) -> list[Cell]:
    """Run what is left of a plan; return the cells in the order in which they ended."""
    done: list[Cell] = []
    run_cells(plan, pending(plan), jobs=jobs, report=lambda cell, _seconds: done.append(cell))
    return done


def test_every_cell_is_trained_and_tested_once(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """System x fold x seed; each test item is answered in each condition."""
    plan = plan_of(items, settings, tmp_path, "bridge-tokens", "voice")
    assert len(finish(plan)) == 2 * 2 * 2
    assert pending(plan) == []
    for cell in plan.cells():
        answers = read_cell(plan, cell)
        two = cell.system.row == "bridge-tokens"
        assert set(answers) == ({"both", "audio", "text"} if two else {"audio"})
        for table in answers.values():
            assert set(table.ids) == {item.id for item in cell.fold.test}
            assert not {item.speaker for item in cell.fold.train} & set(table.speakers)
            assert np.isfinite(table.logits).all()


def test_an_experiment_goes_on_where_it_stopped(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """Finished cells are kept; one whose receipt is missing is made anew, the same."""
    plan = plan_of(items, settings, tmp_path, "concat")
    first = plan.cells()[0]
    run_cells(plan, [first], jobs=1, report=lambda *_: None)
    before = read_cell(plan, first)["both"].logits
    assert len(pending(plan)) == len(plan.cells()) - 1
    (plan.folder(first) / "receipt.json").unlink()
    assert pending(plan)[0] == first
    run_cells(plan, [first], jobs=1, report=lambda *_: None)
    np.testing.assert_array_equal(read_cell(plan, first)["both"].logits, before)


def test_processes_side_by_side_find_the_same(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """Two jobs answer as one does."""
    plan = replace(plan_of(items, settings, tmp_path / "two", "words"), seeds=(0,))
    alone = replace(plan, out=tmp_path / "one")
    finish(plan, jobs=2)
    finish(alone)
    for cell in plan.cells():
        np.testing.assert_allclose(
            read_cell(plan, cell)["text"].logits, read_cell(alone, cell)["text"].logits, atol=1e-5
        )


def test_results_of_other_settings_are_not_taken_for_these(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """A folder that holds another experiment is refused in one line."""
    plan = plan_of(items, settings, tmp_path, "words")
    run_cells(plan, plan.cells()[:1], jobs=1, report=lambda *_: None)
    other = replace(settings, optimizer=replace(settings.optimizer, learning_rate=0.5))
    with pytest.raises(ConfigError, match="made with other settings or items"):
        pending(plan_of(items, other, tmp_path, "words"))


def test_a_missing_result_is_named(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """The report is never made of a part of the grid."""
    plan = plan_of(items, settings, tmp_path, "words")
    with pytest.raises(ModelError, match="holds no predictions"):
        measure(plan, bootstrap=100)


def test_the_report_gives_every_system_and_what_differs(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """With intervals, seeds, folds, and the data and command that made it."""
    plan = plan_of(items, settings, tmp_path / "out", "bridge-tokens", "voice")
    finish(plan)
    manifest = tmp_path / "planted.csv"
    write_manifest(items, manifest)
    grid = measure(plan, bootstrap=200)
    origin = origin_of(plan, manifest, protocol="groups", command="streamser crossval ...")
    text = write_grid(grid, origin, settings, plan.out).read_text(encoding="utf-8")
    assert text == markdown(grid, origin)
    assert "| + bridge tokens | multi-task | 0." in text
    assert "| voice only | multi-task |" in text
    assert "are both better than the voice?" in text
    assert "planted.csv" in text
    assert str(tmp_path) not in text
    whole = msgspec.json.decode((plan.out / "report.json").read_bytes())
    assert whole["origin"]["seeds"] == 2

    tested = {(each.row, each.condition) for each in grid.systems}
    assert ("bridge-tokens", "text") in tested
    assert ("voice", "audio") in tested
    assert ("voice", "both") not in tested
    for each in grid.systems:
        assert [figure.name for figure in each.figures] == [
            "UAR",
            "WAR",
            "CCC valence",
            "CCC arousal",
        ]
        for figure in each.figures:
            assert figure.seed_sd is not None
            assert figure.fold_sd is not None
            assert figure.paper is None


def test_the_papers_figures_stand_beside_those_of_its_corpus(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """Only where every item is IEMOCAP's, and only for what the paper tested."""
    renamed = [replace(item, corpus="iemocap") for item in items]
    plan = replace(plan_of(renamed, settings, tmp_path, "bridge-tokens"), seeds=(0,))
    finish(plan)
    found = {each.condition: each.figures for each in measure(plan, bootstrap=100).systems}
    assert [figure.paper for figure in found["both"]] == pytest.approx(
        [0.7571, 0.746, 0.748, 0.677]
    )
    assert {figure.paper for figure in found["audio"]} == {None}


def test_what_a_cell_is_made_of_tells_it_from_others(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """Seed, augmentation, noise and labels count; threads and the manifest's place do not."""
    cell = plan_of(items, settings, tmp_path, "words").cells()[0]

    def print_of(changed: TrainSettings) -> str:
        return fingerprint(replace(cell, system=replace(cell.system, settings=changed)))

    own = cell.system.settings
    noisy = replace(own, augment=replace(own.augment, noise=0.5))
    elsewhere = replace(noisy, augment=replace(noisy.augment, noise_folder="cafe"))
    relabelled = [replace(cell.fold.train[0], votes=None), *cell.fold.train[1:]]
    recognised = [replace(cell.fold.train[0], text_asr="hm"), *cell.fold.train[1:]]
    others = [
        print_of(noisy),
        print_of(elsewhere),
        fingerprint(replace(cell, seed=7)),
        *(
            fingerprint(replace(cell, fold=replace(cell.fold, train=tuple(part))))
            for part in (relabelled, recognised)
        ),
    ]
    assert len({fingerprint(cell), *others}) == 1 + len(others)
    moved = replace(own, data=replace(own.data, manifest="elsewhere/made.csv"))
    assert print_of(replace(moved, run=replace(moved.run, threads=8))) == fingerprint(cell)


def test_a_fold_named_by_an_odd_speaker_stays_below_the_experiment(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """Speakers may be called anything; two of them never share a folder."""
    plan = plan_of(items, settings, tmp_path, "words")
    folders = {
        plan.folder(replace(plan.cells()[0], fold=replace(plan.folds[0], name=name)))
        for name in ("../../up", "..", "a/b", "a_b", "a b", "anna")
    }
    assert len(folders) == 6
    assert {folder.parent.parent.parent for folder in folders} == {tmp_path / "cells"}


def test_a_fault_names_the_training_it_is_of(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """In the program's own process and in another one."""
    broken = [replace(item, mel=None, audio=tmp_path / "gone.wav") for item in items]
    strict = replace(settings, data=replace(settings.data, strict=True))
    plan = replace(plan_of(broken, strict, tmp_path, "voice"), seeds=(0,))
    for jobs in (1, 2):
        with pytest.raises(AudioError, match=r"^voice\.both/group1/seed0: .*gone\.wav"):
            run_cells(plan, plan.cells()[:1], jobs=jobs, report=lambda *_: None)


def test_a_test_clip_that_cannot_be_read_is_left_out_for_all(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """Words alone could answer it, but systems are compared on the same items; it is counted."""
    plan = plan_of(items, settings, tmp_path, "voice", "words")
    lost = plan.folds[0].test[0]
    broken = [
        replace(item, mel=None, audio=tmp_path / "gone.wav") if item.id == lost.id else item
        for item in items
    ]
    plan = replace(plan_of(broken, settings, tmp_path, "voice", "words"), seeds=(0,))
    finish(plan)
    for cell in plan.cells()[:2]:
        for answers in read_cell(plan, cell).values():
            assert set(answers.ids) == {item.id for item in cell.fold.test} - {lost.id}
    assert measure(plan, bootstrap=100).skipped == 1


def test_a_fold_without_a_label_is_no_part_of_the_mean_over_folds(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """A corpus may have ratings of some speakers only."""
    plan = replace(plan_of(items, settings, tmp_path, "words"), seeds=(0,))
    who = {item.speaker for item in plan.folds[0].test}
    # The speakers of one fold teach another.
    first = replace(plan.folds[0], test=tuple(_unrated(each) for each in plan.folds[0].test))
    assert not who & {item.speaker for item in first.train}
    plan = replace(plan, folds=(first, plan.folds[1]))
    finish(plan)
    figures = {each.name: each for each in measure(plan, bootstrap=100).systems[0].figures}
    assert figures["CCC valence"].fold_mean is not None
    assert figures["CCC valence"].fold_sd is None
    assert figures["UAR"].fold_sd is not None


def test_a_fold_that_teaches_no_ratings_tells_none(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """Its categories are measured with those of the others, its ratings are not."""
    plan = replace(plan_of(items, settings, tmp_path, "words"), seeds=(0,))
    first = replace(plan.folds[0], train=tuple(_unrated(each) for each in plan.folds[0].train))
    plan = replace(plan, folds=(first, plan.folds[1]))
    finish(plan)
    told = read_cell(plan, plan.cells()[0])["text"]
    assert told.names == ("valence", "arousal")
    assert np.isnan(told.truth).all()
    assert (told.labels >= 0).all()
    figures = {each.name: each for each in measure(plan, bootstrap=100).systems[0].figures}
    assert figures["CCC valence"].fold_mean is not None
    assert figures["CCC valence"].fold_sd is None
    assert figures["UAR"].fold_sd is not None


def _unrated(item: Item) -> Item:
    return replace(item, dimensions=(math.nan,) * 3)


def test_what_nobody_has_rated_is_refused_before_hours_of_training(
    items: list[Item], settings: TrainSettings, tmp_path: Path
) -> None:
    """The line says what to ask for instead."""
    check_labels(plan_of(items, settings, tmp_path, "words"))
    unrated = [replace(item, dimensions=(math.nan, 0.5, 0.5)) for item in items]
    with pytest.raises(ConfigError, match=r"rating of valence; take --set .*=arousal\."):
        check_labels(plan_of(unrated, settings, tmp_path, "words"))
    bare = [replace(item, dimensions=(math.nan,) * 3) for item in items]
    with pytest.raises(ConfigError, match="take --tasks category"):
        check_labels(plan_of(bare, settings, tmp_path, "words"))
    nameless = [replace(item, votes=None) for item in items]
    with pytest.raises(ConfigError, match="take --tasks dimension"):
        check_labels(plan_of(nameless, settings, tmp_path, "words"))
