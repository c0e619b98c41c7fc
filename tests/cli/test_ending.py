"""What ends the program, wherever the signal was delivered and whatever is waited for."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_PATIENCE_S = 60

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

# The main thread waits without end; the signal goes to another thread, as the kernel may do.
_ELSEWHERE = """
import signal, sys, threading
from streamser.cli.console import Stopped, {block} as block
def elsewhere():
    signal.pthread_kill(threading.get_ident(), signal.{name})
try:
    with block():
        threading.Timer(0.2, elsewhere).start()
        threading.Event().wait()
except Stopped as stopped:
    sys.exit(stopped.code)
"""


@contextmanager
def _process(code: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", code], text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@posix
@pytest.mark.parametrize(
    ("block", "name"),
    [
        ("leaving_at_once", "SIGINT"),
        ("leaving_at_once", "SIGTERM"),
        ("ending_soon", "SIGINT"),
        ("ending_soon", "SIGTERM"),
    ],
)
def test_a_signal_that_another_thread_took_ends_it_too(block: str, name: str) -> None:
    """Which thread is interrupted is up to the kernel; the main thread would wait for ever."""
    with _process(_ELSEWHERE.format(block=block, name=name)) as process:
        assert process.wait(_PATIENCE_S) == 128 + getattr(signal, name)


@posix
def test_an_event_loop_that_is_woken_already_stays_so() -> None:
    """Its own descriptor is neither replaced nor lost."""
    code = """
import asyncio, signal
from streamser.cli.console import leaving_at_once
async def main():
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, told.set)
    with leaving_at_once():
        pass
    signal.raise_signal(signal.SIGUSR1)
    await told.wait()
asyncio.run(main())
"""
    with _process(code) as process:
        assert process.wait(_PATIENCE_S) == 0
