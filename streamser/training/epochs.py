"""The epochs of a training: learn, validate, keep the best, save the state, stop on request."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec
import numpy as np
import torch

from streamser.emotion.neural.network import FusedModel
from streamser.training.batches import Batch, Feed
from streamser.training.inputs import Inputs
from streamser.training.learner import Learner, autocast_dtype
from streamser.training.log import EpochRow, Report, write_log
from streamser.training.losses import Losses
from streamser.training.masking import Modality, frozen, masked_modality
from streamser.training.optimizer import rate_at, set_rate
from streamser.training.resume import Progress, save_state, save_weights
from streamser.training.runs import RunDirectory
from streamser.training.settings import TrainSettings
from streamser.training.sounds import Sounds
from streamser.training.validate import Figures, Validator

__all__ = ["Epochs", "Paused", "Workshop"]


class Paused(Exception):  # noqa: N818 - nothing went wrong
    """Say that a training was stopped on request; its state has been saved."""


class Workshop(NamedTuple):
    """Hold what a training works with."""

    settings: TrainSettings
    model: FusedModel
    optimizer: torch.optim.Optimizer
    learner: Learner
    feed: Feed
    validator: Validator
    inputs: Inputs
    sounds: Sounds
    run: RunDirectory
    device: torch.device


class Epochs:
    """Run the epochs of one training."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._steps = len(shop.feed) * shop.settings.optimizer.epochs

    def run(self, progress: Progress, report: Report, stop: Callable[[], bool]) -> Progress:
        """Run what is left of the epochs; raise ``Paused`` once ``stop`` says so."""
        settings = self._shop.settings.optimizer
        report.begin(settings.epochs, len(self._shop.feed), progress.step)
        while progress.epoch < settings.epochs and not self._has_stalled(progress):
            masked = self._masked(progress.epoch)
            with frozen(self._shop.model, masked):
                progress = self._learn(progress, masked, report, stop)
            if progress.batch < len(self._shop.feed):
                save_state(self._shop.run.state, self._shop.model, self._shop.optimizer, progress)
                raise Paused
            progress = self._close(progress, masked, report)
        return progress

    def _has_stalled(self, progress: Progress) -> bool:
        patience = self._shop.settings.optimizer.patience
        return bool(patience) and progress.epoch - progress.best >= patience

    def _masked(self, epoch: int) -> Modality | None:
        model = self._shop.settings.model
        if model.acoustic is None or model.text is None:
            return None
        return masked_modality(
            self._shop.settings.masking,
            seed=self._shop.settings.run.seed,
            epoch=epoch,
            epochs=self._shop.settings.optimizer.epochs,
        )

    def _learn(
        self, progress: Progress, masked: Modality | None, report: Report, stop: Callable[[], bool]
    ) -> Progress:
        """Learn from what is left of an epoch; return early once ``stop`` says so."""
        began = time.monotonic()
        self._shop.model.train()
        sums = _Sums(
            progress, len(self._shop.settings.model.heads.dimensions) + 1, self._shop.device
        )
        batch, step = progress.batch, progress.step
        for number, prepared in self._batches(progress.epoch, progress.batch, masked):
            sums.add(
                self._shop.learner.step(prepared, epoch=progress.epoch, number=number, step=step)
            )
            batch, step = number + 1, step + 1
            report.step()
            if stop():
                break
        lost, counted = sums.read()
        return msgspec.structs.replace(
            progress,
            batch=batch,
            step=step,
            lost=lost,
            counted=counted,
            seconds=progress.seconds + time.monotonic() - began,
        )

    def _batches(
        self, epoch: int, done: int, masked: Modality | None
    ) -> Iterator[tuple[int, Batch]]:
        feed = self._shop.feed
        plan = feed.plan(epoch)

        def make(number: int) -> Batch:
            return feed.batch(epoch, number, plan[number], masked)

        numbers = range(done, len(plan))
        if self._shop.device.type == "cpu":
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

    def _close(self, progress: Progress, masked: Modality | None, report: Report) -> Progress:
        """Validate after an epoch, keep the best weights, save the state."""
        began = time.monotonic()
        figures = self._shop.validator.measure(
            self._shop.model,
            sounds=self._shop.sounds,
            inputs=self._shop.inputs,
            autocast=autocast_dtype(self._shop.settings, self._shop.device),
        )
        best = max((row.score for row in progress.history), default=-np.inf)
        is_best = not progress.best or figures.score > best
        row = self._row(progress, figures, masked, progress.seconds + time.monotonic() - began)
        progress = Progress(
            epoch=progress.epoch + 1,
            step=progress.step,
            history=(*progress.history, row),
            best=row.epoch if is_best else progress.best,
        )
        if is_best:
            save_weights(self._shop.run.best(row.epoch), self._shop.model)
        # The state names the best weights: they must be there before it is.
        save_state(self._shop.run.state, self._shop.model, self._shop.optimizer, progress)
        self._shop.run.forget_bests(but=progress.best)
        write_log(self._shop.run.log, progress.history, self._shop.settings.model.heads)
        report.epoch(row, is_best)
        return progress

    def _row(
        self, progress: Progress, figures: Figures, masked: Modality | None, seconds: float
    ) -> EpochRow:
        rate = rate_at(self._shop.settings.optimizer, progress.step - 1, self._steps)
        means = [
            lost / count if count else None
            for lost, count in zip(progress.lost, progress.counted, strict=True)
        ]
        return EpochRow(
            epoch=progress.epoch + 1,
            step=progress.step,
            learning_rate=set_rate(self._shop.optimizer, rate),
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


class _Sums:
    """Add up the losses of an epoch where they are made, without waiting for the device."""

    def __init__(self, progress: Progress, tasks: int, device: torch.device) -> None:
        nothing = (0.0,) * (1 + tasks)
        self._lost = torch.tensor(progress.lost or nothing, dtype=torch.float64, device=device)
        self._count = torch.tensor(progress.counted or nothing, dtype=torch.float64, device=device)

    def add(self, losses: Losses) -> None:
        """Add a batch: its total, and each task that it had labels for."""
        total, known = losses.total.detach(), losses.known
        self._lost += torch.cat((total[None], losses.tasks * known)).double()
        self._count += torch.cat((known.any()[None], known)).double()

    def read(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the sums of the losses, and how many batches had them."""
        return tuple(self._lost.tolist()), tuple(self._count.tolist())
