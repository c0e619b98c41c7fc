"""What a hostile server may send: to the client's stream, a listener, and a terminal."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from random import Random

from streamser.cli.live.follow import Tally
from streamser.cli.live.live_view import render
from streamser.cli.live.sinks import JsonLines, PlainLines
from streamser.cli.live.view_state import Level, ViewState, update
from streamser.client.listener import ListenPosition
from streamser.client.resend import FinalsLost, ResendBuffer, UnknownSession
from streamser.client.wire import Envelope, SoundFormat, read_event
from streamser.events import Event
from streamser.export.utterances import read_utterance
from streamser.text import visible
from tests.fuzz.examples import EVENTS
from tests.fuzz.mutation import spoil_json, spoil_lines
from tests.fuzz.target import Target, forbidding, require

__all__ = ["TARGET"]

_CONTROLS = frozenset(map(chr, (*range(10), *range(11, 32), *range(127, 160), 0x202D, 0x202E)))
_EVIL = "\x1b]52;c;eA==\x07\x9b2J\u202e[red]"
_LINES = ["\n".join(lines) for lines in EVENTS]


def _listen(lines: list[str]) -> None:
    """Follow everything as a listener does; what was told is not told again."""
    place = ListenPosition(None, by_seq=False)
    for line in lines:
        place.accept(line)


def _show(lines: list[str]) -> str:
    """Send sound, and show on a terminal what comes back."""
    buffer = ResendBuffer(SoundFormat(rate=8000))
    buffer.push_audio(bytes(16_000))
    plain, machine, said = io.StringIO(), io.StringIO(), io.StringIO()
    sinks = (PlainLines(plain), JsonLines(machine))
    state, tally, outcome = ViewState(source="x"), Tally(), "nothing"
    with contextlib.redirect_stderr(said):
        for line in lines:
            event = read_event(line)
            if isinstance(event, Envelope):
                buffer.skip(event.session_id, event.seq)
            if not isinstance(event, Event):
                continue
            try:
                told = buffer.on_event(event)
            except UnknownSession:
                buffer.disconnected()
                buffer.forget_session()
                continue
            except FinalsLost:
                buffer.restart_stream()
                buffer.disconnected()
                continue
            for each in told:
                outcome = type(each.event).__name__
                for sink in sinks:
                    sink.take(each.event)
                state = update(state, visible(each.event))
                render(state, Level(), 100)
                if (spoken := read_utterance(each.event, transcribed=True)) is not None:
                    tally.add(spoken)
    for out in (plain, said):
        require(not set(out.getvalue()) & _CONTROLS, "nothing is obeyed by a terminal")
    return outcome


def _check(data: bytes, folder: Path) -> str:
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    with forbidding():
        _listen(lines)
        return _show(lines)


def _mutate(data: bytes, rng: Random) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    if rng.random() < 0.2:
        return spoil_lines(text, rng, _LINES).encode("utf-8", "surrogatepass")
    lines = text.split("\n")
    for _ in range(rng.choice((1, 2, 5))):
        at = rng.randrange(len(lines))
        lines[at] = spoil_json(lines[at], rng)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _hostile(text: str) -> str:
    """Let every word and name of a conversation be one that a terminal would obey."""
    return text.replace("Anna", _escaped(_EVIL)).replace("rules", _escaped(_EVIL))


def _escaped(text: str) -> str:
    return "".join(f"\\u{ord(sign):04x}" for sign in text)


TARGET = Target(
    name="client",
    seeds=lambda folder: [
        each.encode("utf-8", "surrogatepass") for text in _LINES for each in (text, _hostile(text))
    ],
    mutate=_mutate,
    check=_check,
    seconds=10.0,
)
