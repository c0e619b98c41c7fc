"""The report of ``streamser bench model`` as people read it: on a terminal, or as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamser.bench.model import ModelCase, ModelReport

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["model_markdown", "print_model_report"]

_HEADS = (
    "mode",
    "batch",
    "s a step",
    "s an utterance",
    "of its length",
    "peak memory",
    "GFLOP",
    "products alone",
    "ratio",
)
_NAMES = {"infer": "answer", "train": "learn"}


def print_model_report(report: ModelReport, console: Console) -> None:
    """Print the report as a table, what it was measured on first."""
    from rich import box
    from rich.table import Table

    for line in _preamble(report):
        console.print(line, markup=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    for head in _HEADS:
        table.add_column(head, justify="left" if head == "mode" else "right", overflow="fold")
    for case in report.cases:
        table.add_row(*_cells(report, case))
    console.print(table)
    for line in _missing(report):
        console.print(line, markup=False, soft_wrap=True)


def model_markdown(report: ModelReport) -> str:
    """Write the report as Markdown."""
    lines = ["# streamser bench model", "", *(f"- {line}" for line in _preamble(report)), ""]
    lines += [_row(*_HEADS), _row(*("---" for _ in _HEADS))]
    lines += [_row(*_cells(report, case)) for case in report.cases]
    missing = _missing(report)
    lines += ["", *(f"- {line}" for line in missing)] if missing else []
    return "\n".join(lines) + "\n"


def _preamble(report: ModelReport) -> list[str]:
    machine = report.machine
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    kept = "recomputed" if report.checkpointing else "kept"
    lines = [
        f"{machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}",
        f"streamser {machine.streamser}; {packages}",
        f"{report.config}: {report.acoustic} + {report.text}, {report.fusion}; random weights",
        f"Utterances of {report.seconds:g} s and {report.tokens} tokens; a step to answer is "
        "the forward pass, one to learn is forward, loss, backward, clip and update, "
        f"activations {kept}",
        "Memory: the most that the process held, or on CUDA the device reserved. Products "
        "alone: the step's matrix products, convolutions and attention as such, on random "
        "numbers of the same shape, type and layout. Ratio: the step over its products",
    ]
    found = next((case.measured for case in report.cases if case.measured is not None), None)
    if found is not None:
        where = found.device if found.device != "cpu" else f"cpu, {found.threads} threads"
        lines.append(
            f"{where}, {found.precision}; {found.parameters / 1e6:.1f} M weights, of which "
            f"{found.learning / 1e6:.1f} M learn"
        )
    return lines


def _cells(report: ModelReport, case: ModelCase) -> tuple[str, ...]:
    name, size, found = _NAMES[case.mode], str(case.batch), case.measured
    if found is None:
        return (name, size, "did not fit", *("–" for _ in _HEADS[3:]))
    each = found.median_s / case.batch
    return (
        name,
        size,
        f"{found.median_s:.3g} (n={len(found.times_s)})",
        f"{each:.3g}",
        f"{each / report.seconds:.1%}",
        f"{found.peak_mib / 1024:.2f} GiB",
        f"{found.gflop:,.0f}" if found.gflop >= 10 else f"{found.gflop:.3g}",
        f"{found.products_s:.3g} s",
        f"{found.ratio:.2f}",
    )


def _missing(report: ModelReport) -> list[str]:
    return [
        f"{_NAMES[case.mode]}, batch {case.batch}: {case.why}"
        for case in report.cases
        if case.measured is None
    ]


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
