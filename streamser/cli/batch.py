"""Analyse several files at once and hand out their events in the order of the files."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from streamser.errors import StreamserError
from streamser.events import Event

if TYPE_CHECKING:
    from streamser import Analyzer
    from streamser.audio.clip import Samples
    from streamser.audio.file import FileSource

__all__ = ["FileItem", "Watcher", "analyse_files"]

FileItem: TypeAlias = tuple[Path, Event | StreamserError]
"""A file with an event of its session, or with the fault that ended it."""

Watcher: TypeAlias = Callable[[Path, float | None, float], None]
"""Gets a file, its length in seconds where known, and the seconds just read; from any thread."""

_Item: TypeAlias = Event | BaseException | None


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
        from streamser.cli.tracks import open_file

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
