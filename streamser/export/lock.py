"""Files that are being written say so, for as long as their writer lives."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["hold", "is_held"]


def hold(file: IO[Any]) -> None:
    """Mark an open file as being written, until it is closed or its process ends.

    Windows refuses to replace open files by itself; some disks of networks know no marks.
    """
    if sys.platform == "win32":
        return
    import fcntl

    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def is_held(path: Path) -> bool:
    """Return whether somebody is writing a file; raises ``OSError`` where it cannot be read."""
    if sys.platform == "win32":
        return False
    import fcntl

    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False
