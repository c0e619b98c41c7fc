"""How the program ends when somebody has had enough of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["BROKEN_PIPE", "INTERRUPTED", "leave_at_once", "leaving_at_once"]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
BROKEN_PIPE = 141
"""Exit code where the reader of our output has gone, as shells have it."""


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """End the process where Ctrl-C or a broken pipe ends the block.

    For the inside of ``with Analyzer``, whose own end would finish what is in work, or wait
    for a model that is on its way, though nobody wants the result any more.
    """
    try:
        yield
    except KeyboardInterrupt:
        leave_at_once(INTERRUPTED)
    except BrokenPipeError:
        leave_at_once(BROKEN_PIPE)


def leave_at_once(code: int) -> None:
    """End the process and wait for nothing: no lock, no thread, no model."""
    if sys.stdout.isatty():
        # The live view hides the cursor.
        os.write(sys.stdout.fileno(), b"\x1b[?25h\n")
    os._exit(code)
