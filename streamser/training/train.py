"""Train a fused model: epochs, validation, the best of them, and going on after a stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import torch
from msgspec.structs import replace

from streamser.emotion.fused.build import build_model
from streamser.emotion.fused.checkpoint import load_checkpoint, save_checkpoint
from streamser.emotion.fused.network import FusedModel
from streamser.emotion.fused.running import use_threads
from streamser.emotion.hub_models.torch_models import begin_encoder
from streamser.errors import ConfigError
from streamser.taxonomy import DIMENSIONS
from streamser.training import checkpointing
from streamser.training.batches import (
    BatchLoader,
    Inputs,
    Modality,
    TrainBatch,
    Variety,
    class_weights,
    frozen,
    labels_of,
    masked_modality,
    targets_of,
)
from streamser.training.learner import (
    Learner,
    Loss,
    TaskLosses,
    autocast_dtype,
    build_optimizer,
    pick_device,
    rate_at,
    seed_torch,
    set_rate,
)
from streamser.training.manifest import Item
from streamser.training.settings import TrainSettings
from streamser.training.sounds import Sounds
from streamser.training.validation import DevFigures, Validator, finish


class TrainResult(msgspec.Struct, frozen=True, eq=False):
    """Hold what a training made.

    ``model`` has the weights of ``best_epoch`` (from 1) and lies on the training's device;
    ``directory`` is its checkpoint; ``epochs`` were run. ``sounds`` holds what was read.
    """

    model: FusedModel
    directory: Path
    epochs: int
    best_epoch: int
    history: tuple[checkpointing.EpochRow, ...]
    sounds: Sounds


class Paused(Exception):  # noqa: N818 - nothing went wrong
    """Say that a training was stopped on request; its state has been saved."""


class Report(Protocol):
    """Be told how a training goes."""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Hear how many epochs there are, how many steps each has, how many steps are done."""
        ...

    def step(self) -> None:
        """Hear that one more step is done."""
        ...

    def epoch(self, row: checkpointing.EpochRow, best: bool) -> None:
        """Hear what an epoch gave, and whether it is the best so far."""
        ...

    def note(self, line: str) -> None:
        """Hear something that is good to know."""
        ...


class _Silent:
    """Tell nobody."""

    def begin(self, epochs: int, steps: int, done: int) -> None:
        """Say nothing."""

    def step(self) -> None:
        """Say nothing."""

    def epoch(self, row: checkpointing.EpochRow, best: bool) -> None:
        """Say nothing."""

    def note(self, line: str) -> None:
        """Say nothing."""


SILENT: Report = _Silent()


def train(
    settings: TrainSettings,
    items: Sequence[Item],
    out: Path,
    *,
    report: Report = SILENT,
    begin: checkpointing.Beginning = "resume",
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
    run = checkpointing.open_run(out, settings, [*parts.train, *parts.dev], begin)
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


def _train(
    settings: TrainSettings,
    parts: _Parts,
    run: checkpointing.RunDirectory,
    sounds: Sounds,
    report: Report,
    stop: Callable[[], bool],
    offline: bool,
) -> tuple[FusedModel, checkpointing.Result]:
    """Run what is left of the epochs: learn, validate, keep the best, save the state.

    Returns the model with the weights of its best epoch. Raises ``Paused`` once ``stop`` says so.
    """
    model, optimizer, learner, feed, validator, inputs, device = _prepare(
        settings, parts, run, sounds, offline
    )
    progress = checkpointing.Progress()
    if run.state.exists():
        progress = checkpointing.load_state(run.state, model, optimizer)
        report.note(f"going on in epoch {progress.epoch + 1} at step {progress.step}.")
    heads, epochs, batches = settings.model.heads, settings.optimizer.epochs, len(feed)
    report.begin(epochs, batches, progress.step)
    while progress.epoch < epochs and not _has_stalled(settings, progress):
        epoch, batch, step = progress.epoch, progress.batch, progress.step
        masked = _masked(settings, epoch)
        sums = _LossSums(progress, 1 + len(heads.dimensions), device)
        began = time.monotonic()
        model.train()
        with frozen(model, masked):
            for number, prepared in _batches(feed, epoch, batch, masked, device):
                sums.add(learner.step(prepared, epoch=epoch, number=number, step=step))
                batch, step = number + 1, step + 1
                report.step()
                if stop():
                    break
        lost, counted = sums.read()
        seconds = progress.seconds + time.monotonic() - began
        progress = replace(
            progress, batch=batch, step=step, lost=lost, counted=counted, seconds=seconds
        )
        if batch < batches:
            checkpointing.save_state(run.state, model, optimizer, progress)
            raise Paused
        began = time.monotonic()
        figures = validator.measure(
            model, sounds=sounds, inputs=inputs, autocast=autocast_dtype(settings, device)
        )
        best = max((row.score for row in progress.history), default=-np.inf)
        is_best = not progress.best or figures.score > best
        rate = set_rate(optimizer, rate_at(settings.optimizer, step - 1, batches * epochs))
        row = _row(progress, figures, masked, rate, seconds + time.monotonic() - began)
        progress = checkpointing.Progress(
            epoch=epoch + 1,
            step=step,
            history=(*progress.history, row),
            best=row.epoch if is_best else progress.best,
        )
        if is_best:
            checkpointing.save_weights(run.best(row.epoch), model)
        # The state names the best weights: they must be there before it is.
        checkpointing.save_state(run.state, model, optimizer, progress)
        run.forget_bests(but=progress.best)
        checkpointing.write_log(run.log, progress.history, heads)
        report.epoch(row, is_best)
    checkpointing.write_log(run.log, progress.history, heads)
    checkpointing.load_weights(run.best(progress.best), model)
    model.eval()
    return model, checkpointing.Result(len(progress.history), progress.best, progress.history)


def _has_stalled(settings: TrainSettings, progress: checkpointing.Progress) -> bool:
    patience = settings.optimizer.patience
    return bool(patience) and progress.epoch - progress.best >= patience


def _masked(settings: TrainSettings, epoch: int) -> Modality | None:
    if settings.model.acoustic is None or settings.model.text is None:
        return None
    return masked_modality(
        settings.masking,
        seed=settings.run.seed,
        epoch=epoch,
        epochs=settings.optimizer.epochs,
    )


def _batches(
    feed: BatchLoader, epoch: int, done: int, masked: Modality | None, device: torch.device
) -> Iterator[tuple[int, TrainBatch]]:
    """Yield what is left of an epoch's batches, each with its number."""
    plan = feed.plan(epoch)

    def make(number: int) -> TrainBatch:
        return feed.batch(epoch, number, plan[number], masked)

    numbers = range(done, len(plan))
    if device.type == "cpu":
        for number in numbers:
            yield number, make(number)
        return
    # A GPU must not wait for the CPU: the next batch is made while it computes.
    with ThreadPoolExecutor(1) as maker:
        coming = {number: maker.submit(make, number) for number in numbers[:1]}
        for number in numbers:
            ready = coming.pop(number).result()
            if number + 1 < len(plan):
                coming[number + 1] = maker.submit(make, number + 1)
            yield number, ready


def _row(
    progress: checkpointing.Progress,
    figures: DevFigures,
    masked: Modality | None,
    rate: float,
    seconds: float,
) -> checkpointing.EpochRow:
    means = [
        lost / count if count else None
        for lost, count in zip(progress.lost, progress.counted, strict=True)
    ]
    return checkpointing.EpochRow(
        epoch=progress.epoch + 1,
        step=progress.step,
        learning_rate=rate,
        masked=masked or "",
        train_loss=means[0],
        train=tuple(means[1:]),
        dev_loss=figures.loss,
        dev=figures.tasks,
        dev_uar=figures.uar,
        dev_ccc=figures.ccc,
        score=figures.score,
        seconds=seconds,
    )


class _LossSums:
    """Add up the losses of an epoch where they are made, without waiting for the device."""

    def __init__(self, progress: checkpointing.Progress, tasks: int, device: torch.device) -> None:
        nothing = (0.0,) * (1 + tasks)
        self._lost = torch.tensor(progress.lost or nothing, dtype=torch.float64, device=device)
        self._count = torch.tensor(progress.counted or nothing, dtype=torch.float64, device=device)

    def add(self, losses: TaskLosses) -> None:
        """Add a batch: its total, and each task that it had labels for."""
        total, known = losses.total.detach(), losses.known
        self._lost += torch.cat((total[None], losses.tasks * known)).double()
        self._count += torch.cat((known.any()[None], known)).double()

    def read(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the sums of the losses, and how many batches had them."""
        return tuple(self._lost.tolist()), tuple(self._count.tolist())


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


class _Context(NamedTuple):
    """Hold what a training works with."""

    model: FusedModel
    optimizer: torch.optim.Optimizer
    learner: Learner
    feed: BatchLoader
    validator: Validator
    inputs: Inputs
    device: torch.device


def _prepare(
    settings: TrainSettings,
    parts: _Parts,
    run: checkpointing.RunDirectory,
    sounds: Sounds,
    offline: bool,
) -> _Context:
    """Put together what the epochs work with."""
    heads, device = settings.model.heads, pick_device(settings)
    targets = targets_of(labels_of(parts.train, heads, settings.data.labels))
    balanced = settings.loss.class_weights == "balanced" and bool(heads.categories)
    weights = class_weights(targets) if balanced else None
    validator = Validator(settings, parts.dev, Loss(settings.loss, heads, class_weights=weights))
    model = _model(settings, parts, run, offline).to(device, torch.float32)
    optimizer = build_optimizer(settings.optimizer, model)
    inputs = Inputs(model, sounds)
    feed = BatchLoader(
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
    return _Context(model, optimizer, learner, feed, validator, inputs, device)


def _model(
    settings: TrainSettings, parts: _Parts, run: checkpointing.RunDirectory, offline: bool
) -> FusedModel:
    """Make the model to be trained, or load the one that a stopped training began with."""
    if run.start.exists():
        return load_checkpoint(run.start, offline=True).model
    seed_torch(settings.run.seed)
    texts = (text for item in parts.train for text in (item.text, item.text_asr) if text)
    model = build_model(settings.model, texts=texts, offline=offline, begin=begin_encoder)
    save_checkpoint(run.start, model, calibrations={}, card="The model before its first step.\n")
    return model


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    use_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def taught(settings: TrainSettings, items: Sequence[Item], report: Report) -> TrainSettings:
    """Take the tasks that nothing teaches out of the model, and say so.

    A dimension is taught by two ratings that differ, the categories by any votes, both by a
    weight above 0 in the loss. A head that has learnt nothing would answer by chance, for good;
    a model without it answers ``None``. Raises ``ConfigError`` where nothing is left.
    """
    heads, loss = settings.model.heads, settings.loss
    labels = labels_of(items, heads, settings.data.labels)
    weights = dict(zip(DIMENSIONS, (loss.valence, loss.arousal, loss.dominance), strict=True))
    dimensions = tuple(
        name
        for name, ratings in zip(heads.dimensions, labels.truth.T, strict=True)
        if weights[name] > 0 and len(np.unique(ratings[~np.isnan(ratings)])) > 1
    )
    voted = loss.category > 0 and not np.isnan(labels.votes).all()
    categories = heads.categories if voted else ()
    if not (categories or dimensions):
        raise ConfigError(
            "the train items teach nothing that the model answers"
            f" ({', '.join((*heads.categories, *heads.dimensions))}): give some that have"
            " categories or ratings, and a task of theirs a weight above 0 in [loss]."
        )
    left_out = ["categories"] if heads.categories and not categories else []
    left_out += [name for name in heads.dimensions if name not in dimensions]
    if left_out:
        report.note(
            f"nothing teaches {', '.join(left_out)} (no labels, or no weight in [loss]):"
            " the model will not tell them."
        )
    kept = replace(heads, categories=categories, dimensions=dimensions)
    return replace(settings, model=replace(settings.model, heads=kept))
