"""A progress bar for long files, on stderr."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from streamser.cli.batch import Watcher
from streamser.cli.talk import clock
from streamser.visible import printable

__all__ = ["LONG_S", "watching"]

LONG_S = 60.0
"""Files shorter than this are done before anybody wonders."""


@contextlib.contextmanager
def watching(*, shown: bool) -> Iterator[Watcher | None]:
    """Show how far each long file has been read while the block runs."""
    if not shown:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TextColumn("{task.fields[place]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
        # What goes to the same terminal must pass above the bar; what goes elsewhere, untouched.
        redirect_stdout=sys.stdout.isatty(),
    )
    tasks: dict[Path, TaskID] = {}
    lock = threading.Lock()

    def watch(file: Path, duration: float | None, seconds: float) -> None:
        if duration is None or duration < LONG_S:
            return
        with lock:
            task = tasks.get(file)
            if task is None:
                task = tasks[file] = progress.add_task(
                    printable(file.name), total=duration, place=""
                )
            done = progress.tasks[progress.task_ids.index(task)].completed + seconds
            place = f"{clock(done * 1000)} of {clock(duration * 1000)}"
            progress.update(task, completed=done, place=place, visible=done < duration - 1)

    with progress:
        yield watch
