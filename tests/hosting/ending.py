"""Wait for processes that are not ours to end."""

from __future__ import annotations

import os
import select

_GIVE_UP_S = 60


def wait_until_gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        waiting = select.poll()
        waiting.register(handle, select.POLLIN)
        assert waiting.poll(1000 * _GIVE_UP_S), "it goes on"
    finally:
        os.close(handle)
