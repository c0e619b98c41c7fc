"""Save files whole, and through nobody's link; imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Yield a new file that takes the name ``path`` when the block ends well.

    For names that we make up. It is written beside under a name that nobody can know before:
    no link is followed, and no half of a file takes the place of an old one. Whatever is
    called ``path`` is replaced, a link itself, not what it leads to. ``private``: for its
    owner's eyes only. Raises ``OSError``.
    """
    import secrets

    part = path.with_name(f".{secrets.token_hex(8)}.part")
    mode = 0o600 if private else 0o666
    try:
        with open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, *, private: bool = False) -> Iterator[BinaryIO]:
    """Yield a file to write where a user has named ``path``, whole as by ``replacing``.

    Who names a link may mean it: what it leads to is replaced. What is there but is no file (a
    named pipe, a device) is written as it is. Raises ``OSError``.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as there:
            yield there
        return
    with replacing(Path(os.path.realpath(path)), private=private) as file:
        yield file


def remove_parts(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder that nobody else writes to."""
    for part in folder.glob(f".{'[0-9a-f]' * 16}.part"):
        part.unlink(missing_ok=True)
