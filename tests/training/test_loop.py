from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import torch
from msgspec.structs import replace

from streamser.emotion.fused.checkpoint import load_checkpoint
from streamser.errors import AudioError, ConfigError
from streamser.taxonomy import CATEGORIES
from streamser.training.batches import masked_modality
from streamser.training.checkpointing import EpochRow, columns
from streamser.training.evaluation.metrics import uar
from streamser.training.evaluation.predictions import predict
from streamser.training.manifest import Item
from streamser.training.settings import AugmentSettings, MaskingSettings, TrainSettings
from streamser.training.train import Paused, TrainResult, train
from tests.training import tiny


class Notes:
    """Remember what a training tells."""

    def __init__(self) -> None:
        self.steps = 0
        self.rows: list[EpochRow] = []
        self.lines: list[str] = []

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Remember nothing."""

    def step(self) -> None:
        """Count steps."""
        self.steps += 1

    def epoch(self, row: EpochRow, best: bool) -> None:
        """Keep the row."""
        self.rows.append(row)

    def note(self, line: str) -> None:
        """Keep the line."""
        self.lines.append(line)


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Write 32 tones with words that tell the same."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    return tiny.items(folder)


def _stops_after(steps: int) -> Callable[[], bool]:
    counted = iter(range(1, steps + 1))
    return lambda: next(counted, steps) == steps


def _rows(result: TrainResult) -> list[EpochRow]:
    return [replace(row, seconds=0.0) for row in result.history]


def _same_weights(first: TrainResult, second: TrainResult) -> bool:
    one, other = first.model.state_dict(), second.model.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_training_learns_to_tell_the_categories(tmp_path: Path) -> None:
    """From voice and words together, on speakers that it has not heard."""
    items = tiny.items(tmp_path, train=64, dev=16)
    settings = tiny.settings(epochs=8, dropout=0.0)
    result = train(settings, items, tmp_path / "out")
    assert result.history[-1].train_loss is not None
    assert result.history[0].train_loss is not None
    assert result.history[-1].train_loss < 0.7 * result.history[0].train_loss
    dev = [item for item in items if item.split == "dev"]
    answers = predict(result.model, dev)
    assert uar(answers.labels, answers.logits.argmax(axis=1), len(CATEGORIES)) > 0.9


def test_what_is_saved_is_the_best_epoch(items: list[Item], tmp_path: Path) -> None:
    """As a checkpoint that answers like the model that was trained."""
    result = train(tiny.settings(epochs=3), items, tmp_path / "out")
    best = max(result.history, key=lambda row: row.score)
    assert result.best_epoch == best.epoch
    saved = load_checkpoint(result.directory)
    dev = [item for item in items if item.split == "dev"]
    answers = predict(saved.model, dev)
    assert (answers.logits == predict(result.model, dev).logits).all()
    assert uar(answers.labels, answers.logits.argmax(axis=1), 4) == best.dev_uar


def test_the_end_leaves_a_log_a_card_and_nothing_to_go_on_from(
    items: list[Item], tmp_path: Path
) -> None:
    """One row for each epoch."""
    settings = tiny.settings(epochs=2)
    train(settings, items, tmp_path / "out")
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left == {"log.csv", "model", "result.json", "settings.json"}
    lines = (tmp_path / "out" / "log.csv").read_text().splitlines()
    assert lines[0] == ",".join(columns(settings.model.heads))
    assert [line.split(",")[0] for line in lines[1:]] == ["1", "2"]
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    for part in ("24 of tones", "streamser evaluate", "Intended use", "Seed: 0", "at work"):
        assert part in card


def test_the_same_seed_trains_the_same_model(items: list[Item], tmp_path: Path) -> None:
    """To the last bit on one thread; another seed another one."""
    settings = tiny.settings(epochs=1)
    first, second = (train(settings, items, tmp_path / name) for name in "ab")
    assert _same_weights(first, second)
    other = replace(settings, run=replace(settings.run, seed=1))
    assert not _same_weights(first, train(other, items, tmp_path / "c"))


@pytest.mark.parametrize("steps", [1, 3, 4, 8])
def test_a_stopped_training_goes_on_as_if_nothing_had_happened(
    items: list[Item], tmp_path: Path, steps: int
) -> None:
    """Within an epoch, at its end, at the very end: same losses, same weights, bit by bit."""
    settings = replace(
        tiny.settings(epochs=3),
        masking=MaskingSettings(mode="item"),
        augment=AugmentSettings(noise=0.5, word_drop=0.2, spec_time=0.2),
    )
    whole = train(settings, items, tmp_path / "whole")
    with pytest.raises(Paused):
        train(settings, items, tmp_path / "parts", stop=_stops_after(steps))
    parts = train(settings, items, tmp_path / "parts")
    assert _rows(parts) == _rows(whole)
    assert _same_weights(parts, whole)


def test_a_killed_training_loses_the_running_epoch_alone(items: list[Item], tmp_path: Path) -> None:
    """It goes on from the state that the epoch before has left, and ends the same."""
    settings = replace(tiny.settings(epochs=3), masking=MaskingSettings(mode="epoch", least=0.0))
    whole = train(settings, items, tmp_path / "whole")

    def kill() -> bool:
        raise SystemExit

    calls = iter([lambda: False] * 4 + [kill])
    with pytest.raises(SystemExit):
        train(settings, items, tmp_path / "parts", stop=lambda: next(calls)())
    notes = Notes()
    parts = train(settings, items, tmp_path / "parts", report=notes)
    assert [row.epoch for row in notes.rows] == [2, 3]
    assert "epoch 2" in notes.lines[0]
    assert _rows(parts) == _rows(whole)
    assert _same_weights(parts, whole)


def test_a_training_that_has_ended_is_loaded_not_repeated(
    items: list[Item], tmp_path: Path
) -> None:
    """With the same weights and rows."""
    settings = tiny.settings(epochs=1)
    first = train(settings, items, tmp_path / "out")
    notes = Notes()
    again = train(settings, items, tmp_path / "out", report=notes)
    assert notes.steps == 0
    assert _same_weights(first, again)
    assert again.history == first.history


def test_another_training_may_not_go_on_in_the_same_place(
    items: list[Item], tmp_path: Path
) -> None:
    """The line names what differs; --fresh begins anew."""
    settings = tiny.settings(epochs=1)
    train(settings, items, tmp_path / "out")
    other = replace(settings, optimizer=replace(settings.optimizer, learning_rate=0.02))
    with pytest.raises(ConfigError, match=r"learning_rate = 0\.01, not 0\.02.*--fresh"):
        train(other, items, tmp_path / "out")
    with pytest.raises(ConfigError, match="other items or labels"):
        train(settings, [*items[1:], replace(items[0], text="else")], tmp_path / "out")
    with pytest.raises(ConfigError, match="--resume"):
        train(settings, items, tmp_path / "out", begin="new")
    threads = replace(settings, run=replace(settings.run, threads=2))
    assert train(threads, items, tmp_path / "out").epochs == 1
    notes = Notes()
    train(other, items, tmp_path / "out", report=notes, begin="fresh")
    assert notes.steps == 3


def test_an_epoch_that_hides_a_modality_says_so(items: list[Item], tmp_path: Path) -> None:
    """And the branch of that modality has learnt nothing in it."""
    masking = MaskingSettings(mode="epoch", probability=1.0, cosine=False, text_share=1.0)
    settings = replace(tiny.settings(epochs=1), masking=masking)
    result = train(settings, items, tmp_path / "out")
    assert [row.masked for row in result.history] == ["text"]
    untouched = train(
        replace(settings, optimizer=replace(settings.optimizer, learning_rate=1e-30)),
        items,
        tmp_path / "untouched",
    )
    for modality, same in (("text", True), ("audio", False)):
        assert modality in ("audio", "text")
        pairs = zip(
            result.model.branch_parameters(modality),  # type: ignore[arg-type]
            untouched.model.branch_parameters(modality),  # type: ignore[arg-type]
            strict=True,
        )
        assert all(torch.equal(one, other) for one, other in pairs) is same


def test_masked_epochs_are_those_that_were_drawn(items: list[Item], tmp_path: Path) -> None:
    """The log can be checked against the rule."""
    settings = replace(tiny.settings(epochs=4, batch=24), masking=MaskingSettings(mode="epoch"))
    result = train(settings, items, tmp_path / "out")
    drawn = [masked_modality(settings.masking, seed=0, epoch=e, epochs=4) for e in range(4)]
    assert [row.masked for row in result.history] == [masked or "" for masked in drawn]
    assert any(drawn)


def test_a_training_ends_early_once_nothing_gets_better(items: list[Item], tmp_path: Path) -> None:
    """After as many epochs as its patience allows."""
    settings = tiny.settings(epochs=9)
    hopeless = replace(settings.optimizer, learning_rate=1e-30, patience=2)
    result = train(replace(settings, optimizer=hopeless), items, tmp_path / "out")
    assert (result.epochs, result.best_epoch) == (3, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: replace(model, text=None),
        lambda model: replace(model, acoustic=None),
        lambda model: replace(model, heads=replace(model.heads, dimensions=())),
        lambda model: replace(model, heads=replace(model.heads, categories=())),
    ],
    ids=["voice", "words", "categories", "dimensions"],
)
def test_models_of_one_modality_or_one_task_train_too(
    items: list[Item],
    tmp_path: Path,
    change: Callable[[msgspec.Struct], msgspec.Struct],
) -> None:
    """With the masking of both modalities asked for, which then is none."""
    settings = tiny.settings(epochs=1)
    masking = MaskingSettings(mode="epoch", probability=1.0, cosine=False)
    settings = replace(settings, model=change(settings.model), masking=masking)
    result = train(settings, items, tmp_path / "out")
    one_modality = settings.model.text is None or settings.model.acoustic is None
    assert (result.history[0].masked == "") == one_modality
    assert torch.isfinite(next(iter(result.model.parameters()))).all()


def test_validation_speakers_calibrate_each_set_of_modalities(tmp_path: Path) -> None:
    """Those that the model takes and the items have."""
    items = tiny.items(tmp_path, train=24, dev=24)
    result = train(tiny.settings(epochs=1), items, tmp_path / "out")
    assert set(load_checkpoint(result.directory).calibrations) == {"audio", "text", "audio+text"}
    silent = [replace(item, audio=None) for item in items]
    settings = tiny.settings(epochs=1)
    words = replace(settings, model=replace(settings.model, acoustic=None))
    result = train(words, silent, tmp_path / "words")
    assert set(load_checkpoint(result.directory).calibrations) == {"text"}
    result = train(words, silent, tmp_path / "raw", calibrated=False)
    assert not load_checkpoint(result.directory).calibrations


def test_clips_that_cannot_be_used_are_left_out_and_counted(
    items: list[Item], tmp_path: Path
) -> None:
    """Or end the training where it is strict, naming the file."""
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF....")
    items = [replace(items[0], id="broken", audio=broken), *items]
    notes = Notes()
    settings = tiny.settings(epochs=1)
    train(settings, items, tmp_path / "out", report=notes)
    assert notes.lines == ["train: 1 of 25 clips cannot be read and are left out."]
    strict = replace(settings, data=replace(settings.data, strict=True))
    with pytest.raises(AudioError, match=r"broken\.wav"):
        train(strict, items, tmp_path / "strict")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda item: replace(item, split="train"), "no item of the split 'dev'"),
        (lambda item: replace(item, text=None), r"no train item has text.*model\.text=none"),
        (lambda item: replace(item, audio=None), r"no train item has a sound.*acoustic=none"),
        (
            lambda item: replace(item, votes=None, dimensions=(float("nan"),) * 3),
            r"train items teach nothing that the model answers \(neutral",
        ),
        (
            lambda item: (
                replace(item, votes=None, dimensions=(float("nan"),) * 3)
                if item.split == "dev"
                else item
            ),
            r"run\.select = score: no item of the dev split has any label",
        ),
    ],
)
def test_items_that_do_not_fit_are_refused_in_one_line(
    items: list[Item], tmp_path: Path, change: Callable[[Item], Item], reason: str
) -> None:
    """That says what is missing."""
    with pytest.raises(ConfigError, match=reason):
        train(tiny.settings(), [change(item) for item in items], tmp_path / "out")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [("seed", -1, "run.seed = -1"), ("device", "cuda", "no CUDA device")],
)
def test_settings_that_cannot_be_met_are_refused(
    items: list[Item], tmp_path: Path, key: str, value: object, reason: str
) -> None:
    """Before anything is read."""
    if value == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    settings: TrainSettings = tiny.settings()
    with pytest.raises(ConfigError, match=reason):
        train(replace(settings, run=replace(settings.run, **{key: value})), items, tmp_path / "out")


def test_a_training_that_diverges_says_so(items: list[Item], tmp_path: Path) -> None:
    """Rather than save a model of nan."""
    settings = tiny.settings(epochs=2)
    wild = replace(settings.optimizer, learning_rate=1e30, weight_decay=0.0)
    from streamser.errors import StreamserError

    with pytest.raises(StreamserError, match=r"diverged.*learning_rate"):
        train(replace(settings, optimizer=wild), items, tmp_path / "out")
