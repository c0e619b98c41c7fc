"""``--sink``: plug-ins that get every event as it comes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.talk import warn
from streamser.errors import ConfigError
from streamser.events import Event, encode_event

if TYPE_CHECKING:
    from streamser.audio.clip import Samples
    from streamser.export.plugged import SinkThread
    from streamser.server.outgoing import EncodedEvent

__all__ = ["PluggedSinks", "SinkNames", "plugged_sinks"]

SinkNames = Annotated[
    list[str] | None,
    typer.Option(
        "--sink",
        metavar="NAME[=ARGUMENT]",
        help="Give every event to a plug-in that takes them (docs/plugins.md); repeat.",
    ),
]


class PluggedSinks:
    """Hand every event to sinks that are plug-ins."""

    def __init__(self, threads: Sequence[SinkThread]) -> None:
        self._threads = threads

    @property
    def names(self) -> list[str]:
        """Return which plug-ins they are."""
        return [thread.sink_name for thread in self._threads]

    @property
    def complete(self) -> bool:
        """Return whether every sink has taken every event so far, or may still."""
        return all(thread.complete for thread in self._threads)

    def take(self, event: Event) -> None:
        """Take the next event."""
        if self._threads:
            self._put(encode_event(event))

    def deliver(self, event: EncodedEvent) -> None:
        """Take an event as a server's hub gives it."""
        self._put(event.bodies[0])

    def hear(self, samples: Samples) -> None:
        """Need no sound."""

    def close(self) -> None:
        """Let the sinks take what is left, and close them; a second time do nothing."""
        for thread in self._threads:
            thread.close()

    def _put(self, body: bytes) -> None:
        for thread in self._threads:
            thread.put(body)


@contextmanager
def plugged_sinks(values: Sequence[str] | None, *, patient: bool = False) -> Iterator[PluggedSinks]:
    """Make the sinks that ``--sink`` names, and close them when the block ends.

    ``patient``: nothing is live, so slow ones are waited for. Raises ``ConfigError`` for a
    name that no plug-in has, ``ModelError`` where one cannot be made.
    """
    threads = []
    with ExitStack() as stack:
        for value in values or ():
            thread = _opened(value, patient)
            stack.callback(thread.close)
            threads.append(thread)
        yield PluggedSinks(threads)


def _opened(value: str, patient: bool) -> SinkThread:
    from streamser.export.plugged import SinkThread
    from streamser.plugins import SINKS, check_made, make

    name, _, argument = value.partition("=")
    if not name.strip():
        raise ConfigError(f"--sink {value}: write it as NAME or NAME=ARGUMENT.")
    sink = make(SINKS, name, argument)
    check_made(SINKS, name, sink, {"take": None, "close": None})
    return SinkThread(name, sink, warn, patient=patient)
