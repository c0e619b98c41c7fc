"""Keep what was made of the utterances of a meeting, a file a meeting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

__all__ = ["KeptRecords"]

Record = TypeVar("Record", bound=msgspec.Struct)


class KeptRecords(Generic[Record]):
    """Keep records of a ``kind`` in a folder, if there is one; ``what`` is in the files' names."""

    def __init__(self, folder: Path | None, what: str, kind: type[Record]) -> None:
        self._folder = folder
        self._what = what
        self._kind = kind

    def read(self, name: str) -> list[Record]:
        """Return what was kept under a name; nothing where nothing was."""
        file = self._file(name)
        if file is None or not file.exists():
            return []
        return [
            msgspec.convert(each, self._kind) for each in msgspec.msgpack.decode(file.read_bytes())
        ]

    def write(self, name: str, kept: Sequence[Record]) -> None:
        """Keep records under a name."""
        file = self._file(name)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(msgspec.msgpack.encode(kept))

    def _file(self, name: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{name.replace(' ', '-')}.{self._what}.msgpack"
