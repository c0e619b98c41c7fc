"""``streamser bench compact``: what the model that comes with the program costs."""

from __future__ import annotations

import typer

from streamser.cli.options import MarkdownFile, check_writable, save_report

__all__ = ["compact"]


def compact(
    markdown_file: MarkdownFile = None,
) -> None:
    """Measure the bundled emotion model: bytes, start, memory, time an utterance; one core.

    Takes about half a minute.
    """
    if markdown_file is not None:
        check_writable("--markdown", markdown_file)
    from streamser.bench.compact import compact_markdown, measure_compact
    from streamser.cli.console import tell

    report = compact_markdown(measure_compact(tell))
    typer.echo(report)
    if markdown_file is not None:
        save_report("--markdown", markdown_file, report.encode())
