"""A report as people read it: Markdown."""

from __future__ import annotations

from tools import reporting
from tools.compact_report.records import (
    Cell,
    Figure,
    Provenance,
    Report,
    Section,
    Table,
    verdicts,
)

__all__ = ["markdown"]

_DASH = "–"


def markdown(report: Report) -> str:
    """Render a report; the model that ships is shown apart where there are several."""
    several = len(report.provenance.models) > 1
    lines = ["# Figures of the bundled model", "", *_head(report.provenance), ""]
    for section in report.sections.values():
        lines += _section(section, several)
    return "\n".join(lines).rstrip() + "\n"


def _head(provenance: Provenance) -> list[str]:
    machine = provenance.machine
    models = provenance.models
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    shown = (
        f"- figures: mean over {len(models)} seeds of the same training [95 % interval], then, "
        "after ·, the model that ships"
        if len(models) > 1
        else "- figures: one model [95 % interval]"
    )
    return [
        f"- made by: `{provenance.command}`",
        f"- data: {provenance.data}" + (" (quick: a small part of it)" if provenance.quick else ""),
        *(
            f"- model {place}: {model.name}{' (ships)' if place == 1 and len(models) > 1 else ''}; "
            + ", ".join(f"{name} {digest[:16]}" for name, digest in model.parts.items())
            for place, model in enumerate(models, 1)
        ),
        f"- machine: {machine.cpu}, {machine.cores} cores, {machine.system}, {machine.python}; "
        f"streamser {machine.streamser}, {packages}",
        shown
        + f": percentiles of {provenance.replicates} draws of speakers with replacement. With "
        "fewer than 20 speakers, as in EmoDB (10) and RAVDESS (12), they are rather too narrow",
        f"- every speaker's clips are heard in {provenance.stream_seeds} random "
        f"order{'s' if provenance.stream_seeds > 1 else ''}; cold: the first four utterances of a "
        "stream, warm: from the eleventh on; chance is .25",
        "- the interval of an ECE lies rather high: drawing speakers adds scatter, and ECE counts "
        "scatter as error",
        "- everything went through `CompactModel` and its listener, probabilities calibrated, "
        "as they ship; the likeliest category counts also where the reading is `unsure`",
        "- RAVDESS is CC BY-NC-SA 4.0: evaluation only; nothing was fitted on it here",
    ]


def _section(section: Section, several: bool) -> list[str]:
    said = verdicts(section.tables)
    missed = [each for each in said if not each.endswith(": met")]
    lines = [f"## {section.title}", "", section.text]
    if said:
        met = len(said) - len(missed)
        lines[-1] += f" Goals met: {met} of {len(said)}"
        lines[-1] += f"; {'; '.join(missed)}." if missed else "."
    lines.append("")
    for table in section.tables:
        if table.title:
            lines += [f"{table.title}:", ""]
        lines += [*_table(table, several), ""]
    return lines


def _table(table: Table, several: bool) -> list[str]:
    rows = tuple(tuple(_cell(cell, several) for cell in row) for row in table.rows)
    columns = zip(*table.rows, strict=True) if table.rows else ((),) * len(table.heads)
    # Words on the left, numbers on the right.
    align = "".join("l" if all(isinstance(c, str) for c in column) else "r" for column in columns)
    return reporting.table_lines(reporting.Table(table.heads, rows, align=align))


def _cell(cell: Cell, several: bool) -> str:
    if not isinstance(cell, Figure):
        return str(cell)
    if cell.value is None:
        return _DASH
    text = _number(cell.value)
    if cell.low is not None and cell.high is not None:
        text += f" [{_number(cell.low)}, {_number(cell.high)}]"
    if several and cell.ships is not None:
        text += f" · {_number(cell.ships)}"
    beside = []
    if cell.goal is not None:
        beside.append(f"goal {'≤ ' if cell.at_most else ''}{_short(cell.goal)}")
    if cell.floor is not None:
        beside.append(f"floor {_short(cell.floor)}")
    return f"{text} ({', '.join(beside)})" if beside else text


def _number(value: float) -> str:
    """Write ``.731``, ``-.04``, ``12.3``."""
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"


def _short(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:g}"
