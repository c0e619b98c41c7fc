"""One measurement of a model, in a process of its own: a batch size, to learn or to answer."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch

from streamser.audio.clip import SAMPLE_RATE
from streamser.bench.architectures import random_model, vocabulary_of
from streamser.bench.products import products_of, time_products
from streamser.bench.spread import percentile
from streamser.emotion.fused.interfaces import AcousticEncoder, FusedInput, TextBatch
from streamser.emotion.fused.network import FusedModel
from streamser.errors import StreamserError
from streamser.training.batches import Batch, Targets
from streamser.training.learner import Learner, Loss, autocast_dtype, build_optimizer, pick_device
from streamser.training.settings import TrainSettings

__all__ = ["CaseTask", "Failed", "Measured", "NoRoom", "Word", "measure"]

Mode = Literal["infer", "train"]


class CaseTask(msgspec.Struct, frozen=True, kw_only=True):
    """Say what to measure; ``budget_s`` bounds the repeats, not the least of one."""

    settings: TrainSettings
    mode: Mode
    batch: int
    seconds: float
    tokens: int
    repeats: int = 5
    budget_s: float = 60.0


class Measured(msgspec.Struct, frozen=True, kw_only=True, tag="measured"):
    """Hold what one case took.

    ``times_s`` are the steps; ``peak_mib`` is the most memory until then, of the process, or
    on CUDA of the device; ``products_s`` is the time of the matrix products of one step alone,
    ``gflop`` their work.
    """

    parameters: int
    learning: int
    build_s: float
    times_s: tuple[float, ...]
    peak_mib: float
    products_s: float
    gflop: float
    products: int
    threads: int
    device: str
    precision: str

    @property
    def median_s(self) -> float:
        """Return the median time of a step."""
        return percentile(self.times_s, 0.5)

    @property
    def ratio(self) -> float:
        """Return the time of a step over that of its matrix products alone."""
        return self.median_s / self.products_s


class NoRoom(msgspec.Struct, frozen=True, tag="no_room"):
    """Say that the memory did not suffice."""

    message: str


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Say what went wrong."""

    message: str


Word = Measured | NoRoom | Failed


def measure(task: CaseTask) -> Measured:
    """Build the model with random weights and time its steps on noise and random tokens.

    ``train`` is the step of ``streamser train``: forward, loss, backward, clip, update;
    ``infer`` the forward pass alone. The first step is not timed: its matrix products are
    counted. Raises ``ModelError`` where an architecture cannot be had.
    """
    device = pick_device(task.settings)
    if task.settings.run.threads:
        torch.set_num_threads(task.settings.run.threads)
    torch.manual_seed(task.settings.run.seed)
    began = time.perf_counter()
    model = random_model(task.settings.model).to(device)
    built = time.perf_counter() - began
    inputs = _inputs(model, task)
    prepare = _learn if task.mode == "train" else _answer
    step = prepare(model, inputs, task, device)
    products = products_of(step)
    times = _times(step, task, device)
    peak = _peak_mib(device)
    weights = list(model.parameters())
    dtype = autocast_dtype(task.settings, device)
    return Measured(
        parameters=sum(weight.numel() for weight in weights),
        learning=sum(weight.numel() for weight in weights if weight.requires_grad),
        build_s=round(built, 3),
        times_s=times,
        peak_mib=round(peak, 1),
        products_s=time_products(products, device, budget_s=task.budget_s),
        gflop=sum(product.flops * count for product, count in products.items()) / 1e9,
        products=sum(products.values()),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        precision="float32" if dtype is None else str(dtype).removeprefix("torch."),
    )


def _inputs(model: FusedModel, task: CaseTask) -> FusedInput:
    rng = np.random.default_rng(task.settings.run.seed)
    there = torch.ones(task.batch, dtype=torch.bool)
    audio = text = None
    if isinstance(model.acoustic, AcousticEncoder):
        samples = round(task.seconds * SAMPLE_RATE)
        clips = 0.1 * rng.standard_normal((task.batch, samples), dtype=np.float32)
        audio = model.acoustic.prepare(list(clips))
    if model.text is not None:
        ids = rng.integers(vocabulary_of(model.text), size=(task.batch, task.tokens))
        mask = torch.ones(task.batch, task.tokens, dtype=torch.bool)
        text = TextBatch(torch.from_numpy(ids), mask)
    return FusedInput(
        audio,
        text,
        there if audio is not None else ~there,
        there if text is not None else ~there,
    )


def _learn(
    model: FusedModel, inputs: FusedInput, task: CaseTask, device: torch.device
) -> Callable[[], object]:
    heads = task.settings.model.heads
    votes = torch.softmax(torch.randn(task.batch, len(heads.categories)), dim=1)
    truth = torch.rand(task.batch, len(heads.dimensions))
    labelled = torch.full((task.batch,), bool(heads.categories))
    targets = Targets(votes, labelled, truth, torch.ones_like(truth, dtype=torch.bool))
    batch = Batch(inputs, targets)
    model.train()
    learner = Learner(
        task.settings,
        model,
        build_optimizer(task.settings.optimizer, model),
        Loss(task.settings.loss, heads, device=device),
        steps=1000,
        device=device,
    )
    return lambda: learner.step(batch, epoch=0, number=0, step=0)


def _answer(
    model: FusedModel, inputs: FusedInput, task: CaseTask, device: torch.device
) -> Callable[[], object]:
    model.eval()
    dtype = autocast_dtype(task.settings, device)

    def step() -> object:
        enabled = dtype is not None
        with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=enabled):
            return model(inputs.to(device)).category_logits.cpu()

    return step


def _times(step: Callable[[], object], task: CaseTask, device: torch.device) -> tuple[float, ...]:
    times: list[float] = []
    while not times or (len(times) < task.repeats and sum(times) < task.budget_s):
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return tuple(times)


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, KiB elsewhere.
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _main() -> None:
    # Ctrl-C reaches the whole group of processes; whoever started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where memory runs out, this process is the one to end.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    task = msgspec.json.decode(sys.stdin.buffer.read(), type=CaseTask)
    word: Word
    try:
        word = measure(task)
    except StreamserError as error:
        word = Failed(str(error))
    except torch.OutOfMemoryError as error:
        word = NoRoom(str(error).splitlines()[0])
    except RuntimeError as error:
        # The allocator of the CPU has no error of its own.
        if "allocate memory" not in str(error):
            raise
        word = NoRoom(str(error).splitlines()[0])
    sys.stdout.buffer.write(msgspec.json.encode(word) + b"\n")


if __name__ == "__main__":
    _main()
