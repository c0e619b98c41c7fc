"""Several files at once: their events in the order of the files, and how far each has come."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from streamser.cli.console import clock
from streamser.cli.options import open_file
from streamser.errors import StreamserError
from streamser.events import Event
from streamser.text import printable

if TYPE_CHECKING:
    from streamser import Analyzer
    from streamser.audio.clip import Samples
    from streamser.audio.file import FileSource

FileItem: TypeAlias = tuple[Path, Event | StreamserError]
"""A file with an event of its session, or with the fault that ended it."""

Watcher: TypeAlias = Callable[[Path, float | None, float], None]
"""Gets a file, its length in seconds where known, and the seconds just read; from any thread."""

_Item: TypeAlias = Event | BaseException | None
LONG_S = 60.0
"""Files shorter than this are done before anybody wonders."""


def analyse_files(
    analyzer: Analyzer,
    files: Sequence[Path],
    jobs: int,
    watch: Watcher | None = None,
    track: int | None = None,
) -> Generator[FileItem]:
    """Yield all events of the first file, then of the second, and so on.

    Up to ``jobs`` files are read at the same time, at most ``2 * jobs`` ahead of the one whose
    events are handed out. A file that cannot be read yields its ``StreamserError`` in its
    place. ``track`` is the sound track to hear of each. If the iterator is closed, the files
    being read are let go.
    """
    run = _Run(analyzer, watch, track)
    queues: list[queue.SimpleQueue[_Item]] = []
    pool = ThreadPoolExecutor(jobs)
    try:
        for index, file in enumerate(files):
            while len(queues) < min(len(files), index + 2 * jobs):
                queues.append(queue.SimpleQueue())
                pool.submit(run.read, files[len(queues) - 1], queues[-1])
            while (item := queues[index].get()) is not None:
                if isinstance(item, BaseException) and not isinstance(item, StreamserError):
                    raise item
                yield file, item
    finally:
        run.stop()
        pool.shutdown(wait=False, cancel_futures=True)


class _Run:
    """The files that are being read, so that all can be let go at once."""

    def __init__(self, analyzer: Analyzer, watch: Watcher | None, track: int | None) -> None:
        self._analyzer = analyzer
        self._track = track
        self._watch = watch
        self._sources: list[FileSource] = []
        self._stopped = False

    def read(self, file: Path, out: queue.SimpleQueue[_Item]) -> None:
        """Put a file's events into a queue, then ``None``."""
        try:
            source = open_file(file, track=self._track)
            self._sources.append(source)
            if self._stopped:
                return
            for event in self._analyzer.stream(source, on_audio=self._tap(file, source)):
                if self._stopped:
                    return
                out.put(event)
            self._sources.remove(source)
        except BaseException as fault:
            out.put(fault)
        finally:
            out.put(None)

    def stop(self) -> None:
        """End all reading soon."""
        self._stopped = True
        for source in self._sources.copy():
            source.stop()

    def _tap(self, file: Path, source: FileSource) -> Callable[[Samples], None] | None:
        watch = self._watch
        if watch is None:
            return None
        return lambda samples: watch(file, source.duration, len(samples) / 16_000)


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
