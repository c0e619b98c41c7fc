"""Whole connections in both dialects: messages to a real session, events told back."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
from msgspec.structs import replace

from streamser.audio.reader import Resampler
from streamser.audio.source import SoundDecoder, rate_of, usable
from streamser.pipeline.build import endpointer_settings
from streamser.pipeline.emitter import RefusedError
from streamser.pipeline.session import Output, Session
from streamser.pipeline.session_config import SessionConfig
from streamser.server.dialects.commands import (
    Append,
    Clear,
    Command,
    Commit,
    Configure,
    Dialect,
    Finish,
    Hangup,
    Mark,
    Refuse,
)
from streamser.server.handshake import ConnectRequest, SendGrant
from tests.fuzz.examples import REALTIME, TARGETS
from tests.fuzz.messages import HANDSHAKE
from tests.fuzz.mutation import spoil_json, spoil_lines, spoil_text
from tests.fuzz.target import Target, forbidding, require
from tests.pipeline.doubles import answer_all, make_session

__all__ = ["TARGET"]

_LOUD, _QUIET = "\2" + "0@x9" * 8, "\2" + "\0" * 32
_LONGEST = 65_536
_FINALS = ("TranscriptionCompleted", "TranscriptionFailed")


def _with_sound(messages: list[str]) -> list[str]:
    """Let somebody speak between any two messages."""
    return [each for message in messages for each in (message, _LOUD, _QUIET)]


_SEEDS = [
    "\n".join([target, *_with_sound(messages)])
    for target, messages in [
        *(("/v1/realtime?rate=16000", each) for each in REALTIME),
        *((each[0], each[5:]) for each in TARGETS if each[0].startswith(("/v1/rea", "/v1/li"))),
    ]
]


class _Connection:
    """Do what a server's stream does with actions, on doubles of the models."""

    def __init__(self, dialect: Dialect, sending: SendGrant) -> None:
        self._dialect = dialect
        self._session: Session = make_session(ordered=sending.asked.ordered)
        self._profile: SessionConfig = self._session._config
        self._configure(Configure(sending.asked))
        self.told: list[str] = []
        self.over = False
        self._seq = 0
        self._tell(self._session.begin())

    def take(self, action: Command) -> None:
        """Follow an action, or have it refused."""
        with suppress(RefusedError):
            self._take(action)

    def _take(self, action: Command) -> None:
        match action:
            case Append(data=data):
                samples = self._intake.feed(self._decoder.decode(data))
                self._tell(self._session.push(np.asarray(samples, np.float32)))
            case Commit(event_id=event_id, lenient=lenient):
                self._tell(self._session.commit(event_id, lenient=lenient))
            case Clear():
                self._tell(self._session.clear())
            case Mark(id=marker):
                self._tell(self._session.mark(marker))
            case Refuse():
                # Told to the client alone: the session knows nothing of it.
                return
            case Configure():
                self._configure(action)
                self._tell(self._session.configure(self._profile))
            case Finish() | Hangup():
                self.end()

    def end(self) -> None:
        """Let the sound end."""
        if not self.over:
            self.over = True
            self._tell(self._session.flush())

    def _configure(self, action: Configure) -> None:
        asked = action.settings
        self._decoder = SoundDecoder(usable(asked.format))
        self._intake = Resampler(rate_of(usable(asked.format)), 1)
        self._profile = replace(
            self._profile, endpointing=endpointer_settings(asked.endpointing), ordered=asked.ordered
        )

    def _tell(self, output: list[Output]) -> None:
        for event in answer_all(self._session, output):
            self._seq += 1
            require(event.seq == self._seq, "events are numbered without a gap")
            for message in self._dialect.encode(event):
                said = json.loads(message)
                require(isinstance(said, dict), "what is told is an object")
            self.told.append(type(event).__name__)


def _converse(lines: list[str]) -> str:
    target, *messages = lines
    target = target.encode("utf-8", "replace").decode("ascii", "surrogateescape")
    decision = HANDSHAKE.decide(
        ConnectRequest(target=target, host="localhost"), "visit", "2026-01-01T00:00:00Z"
    )
    if not isinstance(decision, SendGrant):
        return type(decision).__name__
    connection = _Connection(decision.dialect, decision)
    for line in messages[:60]:
        message: str | bytes = line
        if line[:1] in ("\1", "\2"):
            raw = line[1:].encode("utf-8", "surrogateescape")
            message = raw if line[0] == "\1" else (raw * 1024)[:_LONGEST]
        for action in decision.dialect.receive(message):
            connection.take(action)
        if connection.over:
            break
    connection.end()
    told = connection.told
    committed = told.count("Committed")
    require(sum(map(told.count, _FINALS)) == committed, "a final for each utterance")
    require(told.count("SessionClosed") == 1, "one end")
    return f"{decision.asked.format.type}: {min(committed, 3)} finals"


def _mutate(data: bytes, rng: Random) -> bytes:
    text = data.decode("utf-8", "surrogateescape")
    if rng.random() < 0.3:
        return spoil_lines(text, rng, _SEEDS).encode("utf-8", "surrogatepass")
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        spoil = spoil_json if lines[at].startswith("{") else spoil_text
        lines[at] = spoil(lines[at], rng)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _check(data: bytes, folder: Path) -> str:
    with forbidding():
        return _converse(data.decode("utf-8", "surrogateescape").split("\n"))


TARGET = Target(
    name="dialects",
    seeds=lambda folder: [text.encode("utf-8", "surrogatepass") for text in _SEEDS],
    mutate=_mutate,
    check=_check,
    seconds=10.0,
)
