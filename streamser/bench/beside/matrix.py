"""The share of the machine's matrix-product rate that an encoder reaches, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

from streamser.bench.beside.report import Comparison, Contender, Ratio
from streamser.bench.beside.tasks import MatrixTask
from streamser.bench.model import ModelBench, run_model_bench
from streamser.training.settings import load_train_settings

__all__ = ["compare_products"]


def compare_products(task: MatrixTask, tell: Callable[[str], None]) -> Comparison:
    """Time a preset's model with random weights, and its matrix products alone.

    Raises what ``run_model_bench`` raises, ``ConfigError`` for a preset that is none.
    """
    settings = load_train_settings(task.preset, ["run.device=cpu", "run.precision=float32"])
    bench = ModelBench(
        config=task.preset,
        settings=settings,
        modes=("infer",),
        batches=task.batches,
        seconds=task.seconds,
        repeats=3,
        budget_s=15.0,
    )
    report = run_model_bench(bench, lambda line: tell(f"matrix: {line}"))
    found = {case.batch: case.measured for case in report.cases if case.measured is not None}
    shares = {batch: each.products_s / each.median_s for batch, each in found.items()}
    return Comparison(
        part="matrix",
        title="what an encoder makes of the machine",
        conditions=(
            f"preset {task.preset}: {report.acoustic}, {report.text}; random weights, float32, on"
            f" the processor; utterances of {task.seconds:g} s and {report.tokens} tokens",
            "rate of the machine: that of the same matrix products alone, one after another",
        ),
        contenders=tuple(
            Contender(
                f"batch of {batch}",
                {
                    "s a step": round(each.median_s, 3),
                    "GFLOP/s": round(each.gflop / each.median_s, 1),
                    "GFLOP/s, products alone": round(each.gflop / each.products_s, 1),
                    "share": round(shares[batch], 3),
                },
            )
            for batch, each in found.items()
        ),
        ratios=(
            Ratio(
                name="share of the matrix-product rate at the best batch",
                value=round(max(shares.values()), 3) if shares else None,
            ),
        ),
    )
