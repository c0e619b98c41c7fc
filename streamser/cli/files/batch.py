"""Several files: which, and whose; and their events in that order, many being read at once."""

from __future__ import annotations

import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from streamser.cli.console import clock, complain, counted, tell
from streamser.cli.options import open_file
from streamser.errors import ConfigError, StreamserError
from streamser.events import Event
from streamser.text import printable, read_name, said_by

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
TABLES: Final = {".csv": ",", ".tsv": "\t"}
"""Endings of tables that name recordings, and what is between their cells."""
_NAMING: Final = ("audio", "file", "path")
"""Columns that name a recording; the first is a manifest's, the second audformat's."""
_FOLDER: Final = "folder"


class FileTask(msgspec.Struct, frozen=True):
    """Name a recording, and whose it is where that was said."""

    file: Path
    speaker: str | None = None


def find_tasks(paths: Sequence[Path], speakers_from: str | None = None) -> list[FileTask]:
    """Return the recordings that are named, lie in folders that are, or stand in tables that are.

    Those of a folder come in the order of their names, those of a table (CSV, TSV) in its own,
    each once, by its column ``audio``, ``file`` or ``path``, relative to the table.
    ``speakers_from`` says whose a recording is: a column of the tables, or ``"folder"``, the name
    of the folder that it is in. Raises ``ConfigError`` for a table or a column that does not say
    it, ``StreamserError`` for a folder without recordings.
    """
    by_column = speakers_from if speakers_from != _FOLDER else None
    tasks: list[FileTask] = []
    for path in paths:
        if path.suffix.lower() in TABLES:
            tasks += _read_tasks(path, by_column)
        elif by_column is None:
            tasks += [FileTask(file) for file in _find_recordings(path)]
        else:
            raise ConfigError(
                f"--speakers-from {by_column}: {path} is no table with columns; give a table"
                " (.csv, .tsv) of recordings, or --speakers-from folder."
            )
    if speakers_from != _FOLDER:
        return tasks
    return [FileTask(each.file, _folder_of(each.file)) for each in tasks]


def _folder_of(file: Path) -> str:
    folder = file.absolute().parent
    return read_name(folder.name, f"--speakers-from folder: {folder}")


def _find_recordings(path: Path) -> list[Path]:
    from streamser.export.records import SOUNDS

    if not path.is_dir():
        return [path]
    shown = (each for each in path.rglob("*") if not each.name.startswith("."))
    within = sorted(each for each in shown if each.suffix.lower() in SOUNDS and each.is_file())
    if not within:
        raise StreamserError(
            f"{path}: no recording is in this folder; there are none of the endings"
            f" {', '.join(sorted(SOUNDS))}.",
            code="file_not_found",
        )
    return within


def _read_tasks(table: Path, column: str | None) -> list[FileTask]:
    from streamser.training.corpora.reading import read_rows

    found: dict[Path, FileTask] = {}
    nameless = 0
    wanted = () if column is None else (column,)
    for row in read_rows(table, wanted, delimiter=TABLES[table.suffix.lower()]):
        naming = next((name for name in _NAMING if name in row.cells), None)
        if naming is None:
            raise ConfigError(
                f"{table} does not say which recordings: it has no column {', '.join(_NAMING[:-1])}"
                f" or {_NAMING[-1]}, it has {', '.join(row.cells)}."
            )
        name = said_by(row.cells[naming]).strip()
        if not name:
            nameless += 1
            continue
        said = "" if column is None else said_by(row.cells[column]).strip()
        speaker = read_name(said, f"{table} line {row.line}, {column}") if said else None
        task = FileTask(table.parent / name, speaker)
        if found.setdefault(task.file, task) != task:
            other = found[task.file].speaker
            raise row.fault(f"{name} is of {speaker or 'nobody'}, before it was of {other}")
    if not found:
        raise ConfigError(f"{table} names no recordings.")
    if nameless:
        tell(f"{table}: {counted(nameless, 'row')} without a recording, left out.")
    return list(found.values())


def find_readable(tasks: Sequence[FileTask], track: int | None) -> list[FileTask]:
    """Return the recordings that are there, and tell of the others; none if none can be opened.

    Of those that are returned some may be no sound, which is found out when they are read.
    """
    from streamser.audio.file import FileSource, check_readable

    there: list[FileTask] = []
    faults: list[str] = []
    for task in tasks:
        try:
            check_readable(task.file)
        except StreamserError as fault:
            complain(name_once(task.file, str(fault)))
        else:
            there.append(task)
    for task in there:
        try:
            FileSource(task.file, track=track)
        except StreamserError as fault:
            faults.append(name_once(task.file, str(fault)))
        else:
            return there
    for line in faults:
        complain(line)
    return []


def name_once(file: Path, message: str) -> str:
    """Name the file once, with its own line ends and blanks, which messages do not keep."""
    flat = " ".join(str(file).split())
    if flat and flat in message:
        return message.replace(flat, printable(str(file)), 1)
    return f"{file}: {message}"


class Manner(msgspec.Struct, frozen=True):
    """Say how recordings are read.

    ``jobs`` at a time, each by its sound ``track``; each ``whole`` one is one utterance.
    """

    jobs: int
    track: int | None = None
    whole: bool = False


def analyse_files(
    analyzer: Analyzer, tasks: Sequence[FileTask], manner: Manner, watch: Watcher | None = None
) -> Generator[FileItem]:
    """Yield all events of the first file, then of the second, and so on.

    Up to ``jobs`` files are read at the same time, at most ``2 * jobs`` ahead of the one whose
    events are handed out. What was learnt of a speaker in one file is known in the next that is
    theirs, which waits for it. A file that cannot be read yields its ``StreamserError`` in its
    place. If the iterator is closed, the files being read are let go.
    """
    run = _Run(analyzer, tasks, manner, watch)
    queues: list[queue.SimpleQueue[_Item]] = []
    pool = ThreadPoolExecutor(manner.jobs)
    try:
        for index, task in enumerate(tasks):
            while len(queues) < min(len(tasks), index + 2 * manner.jobs):
                queues.append(queue.SimpleQueue())
                pool.submit(run.read, len(queues) - 1, queues[-1])
            while (item := queues[index].get()) is not None:
                if isinstance(item, BaseException) and not isinstance(item, StreamserError):
                    raise item
                yield task.file, item
    finally:
        run.stop()
        pool.shutdown(wait=False, cancel_futures=True)


class _Run:
    """The files that are being read, so that all can be let go at once."""

    def __init__(
        self,
        analyzer: Analyzer,
        tasks: Sequence[FileTask],
        manner: Manner,
        watch: Watcher | None,
    ) -> None:
        from streamser.pipeline.speaker_state import SpeakerMemory

        self._analyzer = analyzer
        self._tasks = tasks
        self._manner = manner
        self._watch = watch
        self._sources: list[FileSource] = []
        self._stopped = False
        self._memory = SpeakerMemory()
        self._done = [threading.Event() for _ in tasks]
        self._before: list[int | None] = []
        latest: dict[str | None, int] = {}
        for index, task in enumerate(tasks):
            self._before.append(latest.get(task.speaker) if task.speaker is not None else None)
            latest[task.speaker] = index

    def read(self, index: int, out: queue.SimpleQueue[_Item]) -> None:
        """Put a file's events into a queue, then ``None``."""
        task, before = self._tasks[index], self._before[index]
        try:
            if before is not None:
                # It was begun before: whatever waits, waits for one that does not.
                self._done[before].wait()
            source = open_file(task.file, track=self._manner.track)
            self._sources.append(source)
            if self._stopped:
                return
            for event in self._analyzer.stream(
                source,
                speaker=task.speaker,
                on_audio=self._tap(task.file, source),
                whole=self._manner.whole,
                memory=self._memory,
            ):
                if self._stopped:
                    return
                out.put(event)
            self._sources.remove(source)
        except BaseException as fault:
            out.put(fault)
        finally:
            self._done[index].set()
            out.put(None)

    def stop(self) -> None:
        """End all reading soon."""
        self._stopped = True
        for done in self._done:
            done.set()
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
