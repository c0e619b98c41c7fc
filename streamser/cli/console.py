"""How the program speaks with people: lines on stderr, its standard streams, and how it ends.

It ends when somebody has had enough of it, or when nothing can be written any more.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import queue
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias

import typer

from streamser.logs import JsonStream
from streamser.text import printable

if TYPE_CHECKING:
    import socket

_ESCAPING = "streamser-escape"

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
BROKEN_PIPE = 141
"""Exit code where the reader of our output has gone, as shells have it."""

_GRACE_S = 0.5
_DEADLY = ("SIGTERM", "SIGHUP")
# Nobody sends it to us: it says that a peer's urgent data came, and is ignored by default.
_POKE: int | None = getattr(signal, "SIGURG", None)
_POKES = 5
_POKE_EVERY_S = 0.1

_Handler: TypeAlias = Callable[[int, FrameType | None], None]
_ECHO_S = 1.0
"""On a machine with much to do the two of one wish are so far apart at times."""


def tell(line: str) -> None:
    """Say something that is good to know; dim on a terminal."""
    _say(logging.INFO, line, dim=True)


def warn(line: str) -> None:
    """Say that something is not as it should be, while the work goes on."""
    _say(logging.WARNING, line, "streamser: ", fg="yellow")


def complain(line: str) -> None:
    """Say why the work cannot be done."""
    _say(logging.ERROR, line, "streamser: error: ", fg="red")


def clock(ms: float) -> str:
    """Write a place in the audio, in ms, as ``m:ss.t`` or ``h:mm:ss.t``."""
    tenths = int(ms) // 100
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{seconds}" if hours else f"{minutes}:{seconds}"


def signed(value: float | None) -> str:
    """Write a value in [-1, 1] with its sign and two digits; a dash if it was not measured."""
    # Adding 0.0 turns -0.0 into 0.0.
    return "–" if value is None else f"{round(value, 2) + 0.0:+.2f}"


def counted(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 utterance``, ``2 utterances``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def coloured(stream: TextIO) -> bool:
    """Tell whether colours may be written: to a terminal that has them, unless NO_COLOR is set."""
    refused = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not refused


def _say(level: int, line: str, before: str = "", **style: Any) -> None:
    if isinstance(sys.stderr, JsonStream):
        sys.stderr.say(level, line)
        return
    # Not typer.secho: it writes past the proxy by which a live display keeps out of the way.
    line = printable(before + line)
    if sys.stderr.isatty():
        # A terminal breaks rows wherever they end; what is longer than one stays to be copied.
        width = max(1, shutil.get_terminal_size().columns)
        line = "\n".join(textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False))
    said = typer.style(line, **style) if coloured(sys.stderr) else line
    try:
        print(said, file=sys.stderr, flush=True)
    except OSError:
        # Nobody is left to be told; the work itself may still be wanted.
        mute(sys.stderr)


def mend_streams() -> None:
    """Replace streams that the caller has closed, and let no character be unprintable."""
    # In this order: each takes the lowest free descriptor, which is the one that is missing.
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    codecs.register_error(_ESCAPING, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPING)


def for_json(out: TextIO) -> TextIO:
    """Make a stream take JSON as UTF-8, whatever code page the system has; return it.

    Where that is another, letters beyond ASCII are escaped, which is UTF-8, too, and which also
    survives a shell that reads what it redirects in its own code page, as PowerShell 5 does.
    """
    if isinstance(out, io.TextIOWrapper) and not _is_utf8(out):
        codecs.register_error(_ESCAPING, _escape)
        out.reconfigure(encoding="ascii", errors=_ESCAPING, newline="\n")
    return out


def as_utf8(out: TextIO) -> TextIO:
    """Make a stream take text as UTF-8, whatever code page the system has; return it."""
    if isinstance(out, io.TextIOWrapper) and not _is_utf8(out):
        out.reconfigure(encoding="utf-8", errors="backslashreplace", newline="\n")
    return out


def print_json(value: Any) -> None:
    """Print a value as JSON that people can read, too."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    for_json(sys.stdout).write(text + "\n")


def _is_utf8(out: io.TextIOWrapper) -> bool:
    return codecs.lookup(out.encoding).name == "utf-8"


def _escape(fault: UnicodeError) -> tuple[str, int]:
    """Escape what an encoding lacks as JSON does, so that JSON lines stay JSON."""
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    import json

    return json.dumps(fault.object[fault.start : fault.end])[1:-1], fault.end


class Stopped(KeyboardInterrupt):
    """Unwind the program as Ctrl-C does, because a signal asks for its end."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


@contextmanager
def catching(handler: _Handler, *names: str) -> Iterator[None]:
    """Handle signals by name while the block runs, where the platform has them.

    Does nothing outside the main thread. A SIGHUP that is ignored (nohup) stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    ignored = {number for number in numbers if signal.getsignal(number) is signal.SIG_IGN}
    before = {
        number: signal.signal(number, handler)
        for number in numbers
        if not (number in ignored and number == getattr(signal, "SIGHUP", None))
    }
    try:
        with _waking():
            yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def _waking() -> Iterator[None]:
    """Interrupt what the main thread waits for, whenever a signal comes.

    A signal that another thread takes, or that comes between the interpreter's last look and
    the wait for a lock, is otherwise handled only when that wait is over: perhaps never. Does
    nothing where an event loop is woken already, or the platform cannot do it.
    """
    if _POKE is None:
        yield
        return
    import socket

    reader, writer = socket.socketpair()
    with writer:
        writer.setblocking(False)
        others = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if others != -1:
            signal.set_wakeup_fd(others)
            reader.close()
            yield
            return
        old = signal.signal(_POKE, _go_on)
        threading.Thread(
            target=_poke, args=(reader, threading.get_ident(), _POKE), name="wake", daemon=True
        ).start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(_POKE, old)
            # Ends the thread, whose wait a mere close would not end.
            writer.shutdown(socket.SHUT_WR)


def _poke(reader: socket.socket, thread: int, number: int) -> None:
    with reader:
        while numbers := reader.recv(64):
            if set(numbers) == {number}:
                continue
            # One alone could come too early, just as the signal did.
            for _ in range(_POKES):
                signal.pthread_kill(thread, number)
                time.sleep(_POKE_EVERY_S)


def _go_on(number: int, frame: FrameType | None) -> None:
    pass


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """End the process where Ctrl-C, SIGTERM, SIGHUP or a broken pipe ends the block.

    For the inside of ``with Analyzer``, whose own end would finish what is in work, or wait
    for a model that is on its way, though nobody wants the result any more. What lies inside
    the block is unwound, so that files which are not complete are taken away.
    """
    try:
        with catching(_unwind, *_DEADLY):
            yield
    except Stopped as stopped:
        leave_at_once(stopped.code)
    except KeyboardInterrupt:
        leave_at_once(INTERRUPTED)
    except BrokenPipeError:
        leave_at_once(BROKEN_PIPE)


@contextmanager
def ending_soon() -> Iterator[None]:
    """End the process half a second after a signal, whatever the block still waits for.

    Until then it is unwound, so that the processes it has started can be ended.
    """
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()

    def end() -> None:
        code = asked.get()
        time.sleep(_GRACE_S)
        leave_at_once(code)

    def stop(number: int, frame: FrameType | None) -> None:
        stopped = Stopped(number)
        asked.put(stopped.code)
        raise stopped

    threading.Thread(target=end, name="end soon", daemon=True).start()
    with catching(stop, "SIGINT", *_DEADLY):
        yield


def leave_at_once(code: int) -> None:
    """End the process and wait for nothing: no lock, no thread, no model."""
    with suppress(OSError, ValueError):
        if sys.stdout.isatty():
            # The live view hides the cursor.
            os.write(sys.stdout.fileno(), b"\x1b[?25h\n")
    os._exit(code)


def mute(stream: TextIO) -> None:
    """Lead a stream to nowhere, so that the interpreter's end does not try it again."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _unwind(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


class EndRequest:
    """Tell a second wish for the end from an echo of the first; ``now`` is a clock in s.

    ``timeout`` sends its signal to a program and to the group that it is in; what a terminal sends
    to all is sent once more by programs that run others.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._first: float | None = None

    def heard(self) -> Literal["first", "echo", "again"]:
        """Take a signal; return what it means."""
        if self._first is None:
            self._first = self._now()
            return "first"
        return "echo" if self._now() - self._first < _ECHO_S else "again"


def on_signal(name: str, act: Callable[[], None]) -> None:
    """Call a function on the running loop whenever a signal of that name comes.

    In the main thread alone. After the loop has ended the signal ends the program at once.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    number = getattr(signal, name)

    def ask(number: int, frame: FrameType | None) -> None:
        try:
            loop.call_soon_threadsafe(act)
        except RuntimeError:
            leave_at_once(INTERRUPTED)

    try:
        loop.add_signal_handler(number, act)
    except NotImplementedError:
        # The loops of Windows know no signals; they are woken by them all the same.
        signal.signal(number, ask)
