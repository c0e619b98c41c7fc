"""The files a report is asked for: refused before the work, written after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from streamser.errors import ConfigError, StreamserError
from streamser.saving import writing

__all__ = ["JsonFile", "MarkdownFile", "check_folder", "check_writable", "is_same", "save_report"]

JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the report as JSON.", readable=False),
]
MarkdownFile = Annotated[
    Path | None,
    typer.Option(
        "--markdown", metavar="FILE", help="Write the report as Markdown.", readable=False
    ),
]


def check_writable(option: str, file: Path) -> None:
    """Refuse a file that cannot be written, before minutes are spent on it: ``ConfigError``."""
    target = Path(os.path.realpath(file))
    why = None
    try:
        if target.is_dir():
            why = "it is a folder; name a file."
        elif not target.parent.is_dir():
            why = "its folder does not exist; make it first."
        elif not os.access(target if target.exists() else target.parent, os.W_OK):
            why = "it cannot be written; name another file."
    except OSError as error:
        why = f"{error.strerror}."
    if why is not None:
        raise ConfigError(f"{option} {file}: {why}")


def is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to the same file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def check_folder(option: str, folder: Path) -> None:
    """Refuse a folder that cannot be written or made, before the work: ``ConfigError``."""
    try:
        nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    except OSError as error:
        raise ConfigError(f"{option} {folder}: {error.strerror}.") from None
    if not nearest.is_dir():
        raise ConfigError(f"{option} {folder}: {nearest} is a file; name a folder.")
    if not os.access(nearest, os.W_OK):
        raise ConfigError(f"{option} {folder}: {nearest} cannot be written; name another folder.")


def save_report(option: str, file: Path, content: bytes) -> None:
    """Write a file whole; raise ``StreamserError`` where that fails after all."""
    try:
        with writing(file) as out:
            out.write(content)
    except OSError as error:
        why = error.strerror or error
        raise StreamserError(f"{option} {file}: {why}.", code="output_failed") from None
