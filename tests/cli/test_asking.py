"""What is asked of an event loop by signals, also where its loop knows none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from streamser.cli.console import EndRequest

_WITHOUT = """
import asyncio, signal, sys
from streamser.cli.console import on_signal

def no(*arguments):
    raise NotImplementedError

async def main():
    loop, asked = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler = no
    on_signal("SIGTERM", asked.set)
    loop.call_soon(signal.raise_signal, signal.SIGTERM)
    await asked.wait()

asyncio.run(main())
print("ended well", flush=True)
signal.raise_signal(signal.SIGTERM)
print("still here", flush=True)
"""


def test_an_echo_of_a_signal_is_no_second_wish() -> None:
    """`timeout` sends two at once; only who asks again later does not want to wait."""
    times = iter((10.0, 10.001, 10.99, 11.01))
    wish = EndRequest(lambda: next(times))
    assert [wish.heard() for _ in range(4)] == ["first", "echo", "echo", "again"]


@pytest.mark.skipif(sys.platform == "win32", reason="raises SIGTERM, which Windows does not catch")
def test_a_loop_that_knows_no_signals_is_asked_all_the_same() -> None:
    """As those of Windows; once it is over, the program ends at once."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "ended well\n", done.stderr
    assert done.returncode == 130
    assert done.stderr == ""
