"""Train a fused model: epochs, validation, the best of them, and going on after a stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import torch

from streamser.emotion.neural.build import build_model
from streamser.emotion.neural.checkpoint import load_checkpoint, save_checkpoint
from streamser.emotion.neural.network import FusedModel
from streamser.errors import ConfigError
from streamser.training.batches import Feed
from streamser.training.epochs import Epochs, Paused, Workshop
from streamser.training.finish import finish
from streamser.training.inputs import Inputs, Variety
from streamser.training.items import Item
from streamser.training.learner import Learner, pick_device, seed_torch
from streamser.training.log import SILENT, EpochRow, Report, write_log
from streamser.training.losses import Loss
from streamser.training.optimizer import build_optimizer
from streamser.training.resume import Progress, load_state, load_weights
from streamser.training.runs import Beginning, Result, RunDirectory, open_run
from streamser.training.settings import TrainSettings
from streamser.training.sounds import Sounds
from streamser.training.targets import class_weights, labels_of, targets_of
from streamser.training.tasks import taught
from streamser.training.validate import Validator

__all__ = ["Paused", "TrainResult", "train"]


class TrainResult(msgspec.Struct, frozen=True, eq=False):
    """Hold what a training made.

    ``model`` has the weights of ``best_epoch`` (from 1) and lies on the training's device;
    ``directory`` is its checkpoint; ``epochs`` were run. ``sounds`` holds what was read.
    """

    model: FusedModel
    directory: Path
    epochs: int
    best_epoch: int
    history: tuple[EpochRow, ...]
    sounds: Sounds


def train(
    settings: TrainSettings,
    items: Sequence[Item],
    out: Path,
    *,
    report: Report = SILENT,
    begin: Beginning = "resume",
    calibrated: bool = True,
    stop: Callable[[], bool] = lambda: False,
    sounds: Sounds | None = None,
    offline: bool = False,
) -> TrainResult:
    """Train a model on the train items, choose its best epoch on the dev items, save it.

    Items of no or another split are not looked at. ``out`` becomes the training's directory
    (see ``RunDirectory``); after a stop of any kind, killing too, the same call goes on where
    the last state was saved, each epoch at least, and ends with the same weights; a training
    that has ended is only loaded. What the train items do not teach the model does not answer,
    see ``taught``. ``stop`` is asked after each step. ``calibrated`` fits the calibrations on
    the dev items. ``sounds`` keeps what was read before.

    Raises ``ConfigError`` for settings that do not fit the items or a directory that holds
    another training, ``AudioError`` for an unreadable clip where ``data.strict``,
    ``StreamserError`` where the training diverges, ``Paused`` where ``stop`` asked for it.
    """
    if settings.run.seed < 0:
        raise ConfigError(f"run.seed = {settings.run.seed}: give 0 or more.")
    if settings.run.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("run.device = cuda: torch finds no CUDA device here.")
    sounds = sounds or Sounds()
    parts = _parts(settings, items, sounds, report)
    settings = taught(settings, parts.train, report)
    run = open_run(out, settings, [*parts.train, *parts.dev], begin)
    with _threads(settings.run.threads):
        result = run.read_result()
        if result is None:
            model, result = _train(settings, parts, run, sounds, report, stop, offline)
            finish(
                run, model, parts.train, parts.dev, settings, result, sounds, calibrated=calibrated
            )
            run.finish(result)
        else:
            report.note(f"{out} holds this training, ended after {result.epochs} epochs.")
            model = load_checkpoint(run.model, offline=True).model.to(pick_device(settings))
    return TrainResult(
        model=model,
        directory=run.model,
        epochs=result.epochs,
        best_epoch=result.best_epoch,
        history=result.history,
        sounds=sounds,
    )


class _Parts(msgspec.Struct, frozen=True):
    train: tuple[Item, ...]
    dev: tuple[Item, ...]


def _parts(
    settings: TrainSettings, items: Sequence[Item], sounds: Sounds, report: Report
) -> _Parts:
    """Take the items of both splits that the model can use."""
    found: dict[str, tuple[Item, ...]] = {}
    for split in ("train", "dev"):
        chosen = [item for item in items if item.split == split]
        if not chosen:
            raise ConfigError(
                f"no item of the split {split!r}: a training needs train and dev; "
                "`streamser corpus` can make them."
            )
        data = settings.data
        if settings.model.acoustic is not None:
            readable = sounds.readable(chosen, min_seconds=data.min_seconds, strict=data.strict)
            for count, what in (
                (readable.unreadable, "cannot be read"),
                (readable.too_short, f"are shorter than {data.min_seconds:g} s"),
            ):
                if count:
                    report.note(f"{split}: {count} of {len(chosen)} clips {what} and are left out.")
            chosen = list(readable.items)
        found[split] = tuple(chosen)
        _check_modalities(settings, chosen, split)
    return _Parts(found["train"], found["dev"])


def _check_modalities(settings: TrainSettings, items: Sequence[Item], split: str) -> None:
    if settings.model.acoustic is not None and not any(item.has_sound for item in items):
        raise ConfigError(
            f"no {split} item has a sound that can be used; --set model.acoustic=none "
            "makes a model of the words alone."
        )
    wants = {"gold": ("text",), "asr": ("text_asr",), "mixed": ("text", "text_asr")}
    names = wants[settings.data.text]
    if settings.model.text is not None and not any(
        getattr(item, name) for item in items for name in names
    ):
        raise ConfigError(
            f"no {split} item has {' or '.join(names)} (data.text = {settings.data.text}); "
            "--set model.text=none makes a model of the voice alone."
        )


def _train(
    settings: TrainSettings,
    parts: _Parts,
    run: RunDirectory,
    sounds: Sounds,
    report: Report,
    stop: Callable[[], bool],
    offline: bool,
) -> tuple[FusedModel, Result]:
    shop = _workshop(settings, parts, run, sounds, offline)
    progress = Progress()
    if run.state.exists():
        progress = load_state(run.state, shop.model, shop.optimizer)
        report.note(f"going on in epoch {progress.epoch + 1} at step {progress.step}.")
    progress = Epochs(shop).run(progress, report, stop)
    write_log(run.log, progress.history, settings.model.heads)
    load_weights(run.best(progress.best), shop.model)
    shop.model.eval()
    return shop.model, Result(len(progress.history), progress.best, progress.history)


def _workshop(
    settings: TrainSettings, parts: _Parts, run: RunDirectory, sounds: Sounds, offline: bool
) -> Workshop:
    """Put together what the epochs work with."""
    heads, device = settings.model.heads, pick_device(settings)
    targets = targets_of(labels_of(parts.train, heads, settings.data.labels))
    balanced = settings.loss.class_weights == "balanced" and bool(heads.categories)
    weights = class_weights(targets) if balanced else None
    validator = Validator(settings, parts.dev, Loss(settings.loss, heads, class_weights=weights))
    model = _model(settings, parts, run, offline).to(device, torch.float32)
    optimizer = build_optimizer(settings.optimizer, model)
    inputs = Inputs(model, sounds)
    feed = Feed(
        settings,
        parts.train,
        targets,
        inputs=inputs,
        sounds=sounds,
        variety=Variety(settings.augment, [item.text for item in parts.train if item.text]),
    )
    learner = Learner(
        settings,
        model,
        optimizer,
        Loss(settings.loss, heads, class_weights=weights, device=device),
        steps=len(feed) * settings.optimizer.epochs,
        device=device,
    )
    return Workshop(
        settings, model, optimizer, learner, feed, validator, inputs, sounds, run, device
    )


def _model(settings: TrainSettings, parts: _Parts, run: RunDirectory, offline: bool) -> FusedModel:
    """Make the model to be trained, or load the one that a stopped training began with."""
    if run.start.exists():
        return load_checkpoint(run.start, offline=True).model
    seed_torch(settings.run.seed)
    texts = (text for item in parts.train for text in (item.text, item.text_asr) if text)
    model = build_model(settings.model, texts=texts, offline=offline)
    save_checkpoint(run.start, model, calibrations={}, card="The model before its first step.\n")
    return model


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
