"""Take a person out of a folder of recordings: what is to be done to each file, and doing it."""

from __future__ import annotations

import html
import re
import shutil
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from streamser.errors import StreamserError
from streamser.export.forget import Person, Traces
from streamser.export.formats import ExportFormat, is_held, render, safe_part, save
from streamser.export.read import EventFile, read_recording
from streamser.export.records import SOUNDS

_EVENTS: Final = (".jsonl", ".ndjson")
_MADE: Final = {
    ".csv": ExportFormat.CSV,
    ".srt": ExportFormat.SRT,
    ".vtt": ExportFormat.VTT,
    ".emotionml": ExportFormat.EMOTIONML,
    ".emotionml.xml": ExportFormat.EMOTIONML,
    ".textgrid": ExportFormat.TEXTGRID,
    ".eaf": ExportFormat.EAF,
    ".rttm": ExportFormat.RTTM,
    ".audformat": ExportFormat.AUDFORMAT,
}
_PAGE: Final = ".html"
_PLOTS: Final = ("timeline", "plane", "categories", "uncertainty", "latency")
_PART: Final = 2**24
"""Bytes that are looked at for a name at once."""
_OVERLAP: Final = 2**12
"""Bytes that are looked at twice: no name, however it is escaped, is longer."""


class Deed(msgspec.Struct, frozen=True):
    """Say what becomes of a file: ``rewrite`` and ``remake`` may give it another name.

    ``keep``: it cannot be reached, ``why`` says why. ``origin`` are the events it is made of.
    """

    path: Path
    what: Literal["rewrite", "remake", "remove", "keep"]
    why: str
    to: Path
    origin: Path | None = None


def plan(folder: Path, person: Person) -> tuple[list[Deed], list[str]]:
    """Return what is to be done so that nobody finds a person in a folder, and notes on it.

    Nothing where they are in none of its recordings. Raises ``StreamserError`` where the folder
    cannot be read, or a recording of theirs is still being written.
    """
    deeds: list[Deed] = []
    notes: list[str] = []
    try:
        files = sorted(_files(folder))
        taken: set[Path] = set()
        for path in files:
            if path.suffix.lower() in _EVENTS and not path.is_symlink():
                deeds += _plan_recording(path, person, notes, taken)
        if deeds:
            deeds += _plan_plots(files, person)
    except OSError as error:
        raise _unreadable(folder, error) from None
    return deeds, notes


def apply(deed: Deed, person: Person) -> Deed:
    """Do it; return what was done, which is ``keep`` where it could not be made again.

    Raises ``OSError``; then the file is as it was.
    """
    match deed.what:
        case "rewrite":
            _rewrite(deed, person)
        case "remake":
            assert deed.origin is not None
            try:
                _remake(deed, deed.origin)
            except StreamserError as error:
                _remove(deed.path)
                why = f"it cannot be made again: {error}"
                return msgspec.structs.replace(deed, what="remove", why=why)
        case "remove":
            _remove(deed.path)
            parent = deed.path.parent
            if deed.path.stem in _PLOTS and safe_part(person.speaker) in _parts(parent.name):
                with suppress(OSError):
                    parent.rmdir()
    return deed


def leftovers(folder: Path, person: Person, deeds: Iterable[Deed]) -> tuple[list[Deed], list[Path]]:
    """Return what still has their name and is made of no events here; and recordings that do.

    The latter, and what is made of them, has it in the words of others, or is of another
    meeting. Raises ``StreamserError`` where the folder cannot be read.
    """
    done = {deed.path for deed in deeds if deed.what != "keep"}
    told = {deed.path for deed in deeds if deed.what == "keep"}
    pattern, part = _pattern(person.speaker), safe_part(person.speaker)
    foreign: list[Deed] = []
    known: list[Path] = []
    try:
        foreign += [
            _kept(path, "a folder that is called after them")
            for path in folder.rglob("*")
            if path.is_dir() and path not in done and part and part in _parts(path.name)
        ]
        files = [path for path in sorted(_files(folder)) if path not in done | told]
        stems = {_stem(path) for path in files if path.suffix.lower() in _EVENTS}
        for path in files:
            if any(parent in done for parent in path.parents):
                continue
            named = bool(part) and part in _parts(path.name)
            if path.suffix.lower() in _EVENTS and not path.is_symlink() and not _is_readable(path):
                if named or _has(path, pattern):
                    foreign.append(_kept(path, "it has the name, and no events can be read in it"))
                continue
            if path.is_symlink():
                if named:
                    foreign.append(_kept(path, "a link, which is not followed"))
            elif _stem(path) in stems or _stem(path.parent) in stems:
                if _has(path, pattern):
                    known.append(path)
            elif named or _has(path, pattern):
                foreign.append(_kept(path, "it has the name, and is made of no events here"))
    except OSError as error:
        raise _unreadable(folder, error) from None
    return foreign, known


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def _plan_recording(
    path: Path, person: Person, notes: list[str], taken: set[Path]
) -> Iterator[Deed]:
    file, traces = EventFile(path), Traces(person)
    try:
        for line in file:
            traces.learn(line)
    except StreamserError:
        return
    if not traces.found:
        yield from _plan_stale(path, person)
        return
    if is_held(path):
        raise StreamserError(
            f"{path}: it is being written; end the server or the session that writes it, then"
            " try again. Nothing was changed.",
            code="output_failed",
        )
    notes += file.notes
    left = any(traces.rest(line) is not None for line in file)
    beside = _beside(path)
    stem = _free_stem(path, [path, *beside], person, taken) if left else path.stem
    to = path.with_name(stem + path.suffix)
    count = traces.utterances
    said = f"{count} utterance{'' if count == 1 else 's'} of theirs"
    if left:
        yield Deed(path, "rewrite", said, to)
    former = _former(path, beside, person)
    for other in beside:
        ending = other.name[len(path.stem) :]
        if other.stem == path.stem and other.suffix.lower() in _EVENTS:
            continue
        if other in former:
            yield _renew(other, path, person) if left else Deed(other, "remove", said, other)
        elif other.name.startswith(path.stem) and _is_made(ending):
            what: Literal["remake", "remove"] = "remake" if left else "remove"
            yield Deed(other, what, f"made of {path.name}", other.with_name(stem + ending), to)
        elif _is_sound(other, path):
            yield _kept(other, "their voice may be in this sound: remove it by hand")
        elif other.stem == path.stem:
            yield _kept(other, f"it may be made of {path.name}, nobody here knows how")
    if not left:
        # The last to go: who is stopped before it can begin again.
        yield Deed(path, "remove", said, to)


def _plan_stale(path: Path, person: Person) -> Iterator[Deed]:
    """Make anew what has their name and is made of events that do not: somebody was stopped."""
    pattern = _pattern(person.speaker)
    if _has(path, pattern):
        return
    beside = _beside(path)
    former = _former(path, beside, person)
    for other in beside:
        made = other.name.startswith(path.stem) and _is_made(other.name[len(path.stem) :])
        if other in former or (made and _has(other, pattern)):
            yield _renew(other, path, person)


def _former(path: Path, beside: Iterable[Path], person: Person) -> list[Path]:
    """Return what was made of a recording while their name was in its own."""
    found = []
    for other in beside:
        name = _renamed(other.name, person)
        ending = name[len(path.stem) :]
        if name == other.name or not name.startswith(path.stem) or not _is_made(ending):
            continue
        origin = other.name.removesuffix(ending)
        if not any(other.with_name(origin + each).exists() for each in _EVENTS):
            found.append(other)
    return found


def _renew(other: Path, path: Path, person: Person) -> Deed:
    """Make a file of a recording anew, under its name without theirs where that is free."""
    to = other.with_name(_renamed(other.name, person))
    why = f"made of {path.name} when {safe_part(person.speaker) or 'they'} spoke in it"
    if to != other and _is_taken(to, set()):
        return Deed(other, "remove", why, other)
    return Deed(other, "remake", why, to, path)


def _beside(path: Path) -> list[Path]:
    others = sorted(path.parent.iterdir())
    return [other for other in others if other != path and not other.is_symlink()]


def _is_made(ending: str) -> bool:
    return ending.lower() in _MADE or ending.lower() == _PAGE


def _is_readable(path: Path) -> bool:
    try:
        return any(True for _ in EventFile(path))
    except StreamserError:
        return False


def _is_sound(other: Path, events: Path) -> bool:
    beside = events.name == "session.jsonl" and other.stem == "audio"
    return other.suffix.lower() in SOUNDS and (beside or other.stem == events.stem)


def _plan_plots(files: Iterable[Path], person: Person) -> Iterator[Deed]:
    """Remove all pictures of a set where one has the name: whose points are in it, none says."""
    pictures = [
        path
        for path in files
        if path.stem in _PLOTS and path.suffix in (".svg", ".png") and not path.is_symlink()
    ]
    pattern = _pattern(person.speaker)
    named = {path.parent for path in pictures if path.suffix == ".svg" and _has(path, pattern)}
    for path in pictures:
        if path.parent in named:
            yield Deed(path, "remove", "a picture of a set that has the name", path)


def _rewrite(deed: Deed, person: Person) -> None:
    file, traces = EventFile(deed.path), Traces(person)
    for line in file:
        traces.learn(line)
    left = [kept.decode() for line in file if (kept := traces.rest(line)) is not None]
    # Its name first: who is stopped then finds one recording of theirs, and not two.
    deed.path.rename(deed.to)
    try:
        save("".join(left), deed.to)
    except OSError:
        deed.to.rename(deed.path)
        raise


def _remake(deed: Deed, origin: Path) -> None:
    recording = read_recording(origin)
    if deed.path.suffix.lower() == _PAGE:
        from streamser.report.figures import figures_of
        from streamser.report.page import render_page

        save(render_page(figures_of(recording, title=origin.stem), []), deed.to)
    else:
        save(render(_MADE[_ending(deed.path)], recording), deed.to)
    if deed.to != deed.path:
        _remove(deed.path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _kept(path: Path, why: str) -> Deed:
    return Deed(path, "keep", why, path)


def _ending(path: Path) -> str:
    return next(end for end in sorted(_MADE, key=len) if path.name.lower().endswith(end))


def _stem(path: Path) -> Path:
    return Path(str(path).removesuffix(".xml")).with_suffix("") if path.name else path


def _parts(name: str) -> list[str]:
    return unicodedata.normalize("NFC", name).partition(".")[0].split("_")


def _renamed(name: str, person: Person) -> str:
    """Return a file's name without theirs, where it is a part of it as in kept files."""
    head, dot, tail = unicodedata.normalize("NFC", name).partition(".")
    part = safe_part(person.speaker)
    if not part or part not in head.split("_"):
        return name
    return "_".join(each for each in head.split("_") if each != part) + dot + tail


def _free_stem(path: Path, files: list[Path], person: Person, taken: set[Path]) -> str:
    """Return a recording's name without theirs and its ending: nothing else is called so."""
    plain = Path(_renamed(path.name, person)).stem
    if plain == path.stem:
        return plain
    endings = [each.name[len(path.stem) :] for each in files if each.name.startswith(path.stem)]
    stem, number = plain, 1
    while any(_is_taken(path.with_name(stem + ending), taken) for ending in endings):
        number += 1
        stem = f"{plain}-{number}"
    taken.update(path.with_name(stem + ending) for ending in endings)
    return stem


def _is_taken(path: Path, taken: set[Path]) -> bool:
    return path in taken or path.is_symlink() or path.exists()


def _pattern(speaker: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(speaker)}(?!\w)")


def _has(path: Path, pattern: re.Pattern[str]) -> bool:
    """Return whether a file of text has a name in it, however it is composed or escaped.

    Of a folder, whether one of its files has.
    """
    if path.is_dir():
        return any(_has(each, pattern) for each in path.iterdir() if not each.is_symlink())
    if path.suffix.lower() in SOUNDS or path.suffix == ".png" or not path.is_file():
        return False
    before = b""
    with path.open("rb") as file:
        while part := file.read(_PART):
            text = unicodedata.normalize("NFC", (before + part).decode("utf-8", "replace"))
            if pattern.search(text) or pattern.search(html.unescape(text)):
                return True
            before = part[-_OVERLAP:]
    return False


def _unreadable(folder: Path, error: OSError) -> StreamserError:
    why = error.strerror or error
    return StreamserError(f"{error.filename or folder}: {why}.", code="file_not_found")
