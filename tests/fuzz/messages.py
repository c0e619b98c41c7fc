"""What clients and servers say to each other: every message, address, header and event."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec
import numpy as np

from streamser.audio.source import SoundDecoder, frame_bytes, usable
from streamser.client.connection import judge_close, judge_status
from streamser.client.resend import FinalsLost, ResendBuffer, UnknownSession
from streamser.client.wire import ConnectionLost, Envelope, SoundFormat, read_event
from streamser.events import AudioFormat, ErrorBody, Event
from streamser.pipeline.build import endpointer_settings
from streamser.server.dialects.commands import (
    Append,
    Configure,
    Dialect,
    Hangup,
    Refuse,
    StreamSettings,
)
from streamser.server.dialects.openai_realtime import RealtimeDialect
from streamser.server.handshake import (
    ConnectRequest,
    Handshake,
    IngestGrant,
    ListenGrant,
    Principal,
    SendGrant,
    Tokens,
)
from streamser.server.ingest.attendee import read_attendee
from streamser.server.ingest.messages import BotParticipant, BotSound, UnusableError
from streamser.server.ingest.participants import LONGEST_GAP_S, ParticipantClock, Roster
from streamser.server.ingest.recall import read_recall
from streamser.server.limits import Admission, Refusal
from streamser.server.meetings.meeting import MeetingMood
from streamser.settings import EndpointingSettings, PartialSettings, ServerSettings
from tests.fuzz.examples import ANSWERS, BOTS, EVENTS, FORMATS, REALTIME, TARGETS
from tests.fuzz.mutation import spoil_bytes, spoil_json, spoil_lines, spoil_text
from tests.fuzz.target import Target, forbidding, require
from tests.server.recalled import recall

__all__ = ["HANDSHAKE", "TARGET"]

_USUAL = StreamSettings(
    format=AudioFormat(type="audio/pcm", rate=24_000),
    endpointing=EndpointingSettings(),
    partial=PartialSettings(),
)
_ROLES = frozenset({"send", "listen"})
_ADMISSION = Admission(ServerSettings())
_ADMISSION.ready = True
_GATES = [
    Handshake(Tokens(known), _ADMISSION, _USUAL, ("https://example.com",), ())
    for known in ({}, {"a-long-enough-token": Principal("anna", _ROLES)})
]
HANDSHAKE = _GATES[0]
_LONGEST_ERROR = 8000
_ENCODER = msgspec.json.Encoder()


def _converse(lines: list[str]) -> str:
    """Let a dialect read messages; what it makes of them must be whole and small."""
    return _hear(RealtimeDialect(_USUAL), lines)


def _hear(dialect: Dialect, lines: list[str]) -> str:
    decoder = SoundDecoder(_USUAL.format)
    outcome = "nothing"
    for line in lines:
        message = line[1:].encode("utf-8", "surrogateescape") if line[:1] == "\1" else line
        for action in dialect.receive(message):
            outcome = type(action).__name__
            match action:
                case Refuse(error=error):
                    _check_error(error)
                case Hangup(reason=reason):
                    require(len(reason.encode()) <= 123, "a reason fits a close frame")
                case Configure(settings=settings):
                    endpointer_settings(settings.endpointing)
                    _ENCODER.encode(settings)
                    decoder = SoundDecoder(usable(settings.format))
                case Append(data=data):
                    frames = decoder.decode(data)
                    require(frames.shape[1:] == (1,) and frames.dtype == np.float32, "frames")
                case _:
                    _ENCODER.encode(action)
    return outcome


def _knock(lines: list[str]) -> str:
    """Let the gate decide about a call, as websockets hands it over, and speak to what it gives."""
    target, host, origin, authorization, offered, *messages = [*lines, "", "", "", "", ""]
    # Request lines and headers are ASCII; other bytes come as half surrogates.
    target, host, origin, authorization, offered = (
        text.encode("utf-8", "replace").decode("ascii", "surrogateescape")
        for text in (target, host, origin, authorization, offered)
    )
    request = ConnectRequest(
        target=target,
        host=host or None,
        origin=origin or None,
        authorization=authorization or None,
        subprotocols=tuple(part.strip() for part in offered.split(",") if part.strip()),
    )
    for handshake in _GATES:
        decision = handshake.decide(request, "visit", "2026-01-01T00:00:00Z")
        match decision:
            case Refusal():
                require(len(decision.reason.encode()) <= 123, "a reason fits a close frame")
                _check_error(decision.error)
                require(400 <= decision.status < 600, "an HTTP status")
            case ListenGrant():
                _ENCODER.encode(decision)
            case IngestGrant(asked=asked):
                _ENCODER.encode((asked, decision.kind, decision.meeting))
            case SendGrant(dialect=dialect, asked=asked):
                _ENCODER.encode((asked, decision.meeting, decision.secret, decision.after))
                usable(asked.format)
                endpointer_settings(asked.endpointing)
                _hear(dialect, messages)
    return type(decision).__name__


def _bring(lines: list[str]) -> str:
    """Let a bot send anything: what is heard of it has a name, and a place in bounded time."""
    roster, clock = Roster(), ParticipantClock()
    outcome = "nothing"
    for line in lines:
        for read in (read_attendee, read_recall):
            try:
                told = read(line)
            except UnusableError as refused:
                outcome = refused.code
                require(len(str(refused)) < 500, "a reason is short")
                continue
            match told:
                case BotSound(participant=participant, name=name):
                    outcome = "sound"
                    require(0 < len(roster.call(participant or "", name)) <= 80, "a name")
                    before = clock.heard_s
                    placed = clock.place(told)
                    require(0 <= placed.silence_s <= LONGEST_GAP_S, "silence is bounded")
                    heard_s = 0.0 if placed.late else placed.silence_s + told.seconds
                    require(abs(clock.heard_s - before - heard_s) < 1e-6, "all is counted")
                case BotParticipant(participant=participant, name=name):
                    outcome = "participant"
                    roster.call(participant, name)
    return outcome


def _check_error(error: ErrorBody) -> None:
    require(len(_ENCODER.encode(error)) <= _LONGEST_ERROR, "an error is short")


def _decode(lines: list[str]) -> str:
    """Decode sound cut anywhere: as much, and the same, as in one piece."""
    form = FORMATS[ord((lines[0] or " ")[0]) % len(FORMATS)]
    pieces = [line.encode("utf-8", "surrogateescape") for line in lines[1:]]
    decoder, whole = SoundDecoder(form), SoundDecoder(form)
    found = [decoder.decode(piece) for piece in pieces]
    data = b"".join(pieces)
    joined = np.concatenate(found) if found else np.zeros((0, 1), np.float32)
    require(len(joined) == len(data) // frame_bytes(form), "all whole frames are decoded")
    require(joined.tobytes() == whole.decode(data).tobytes(), "cuts do not matter")
    return "sound"


def _follow(lines: list[str]) -> str:
    """Let the client's keeper follow a server that says anything at all."""
    sound = SoundFormat(rate=8000)
    buffer = ResendBuffer(sound, keep_s=2.0)
    buffer.request("session.update", {"session": {"audio": {"input": {"turn_detection": None}}}})
    outcome = "nothing"
    for number, line in enumerate(lines):
        buffer.push_audio(bytes(2 * 1600))
        if number % 4 == 3:
            buffer.request("input_audio_buffer.commit")
        if number % 5 == 1:
            buffer.disconnected()
        event = read_event(line)
        outcome = type(event).__name__ if event is not None else "no event"
        if isinstance(event, Envelope):
            buffer.skip(event.session_id, event.seq)
        elif isinstance(event, Event):
            try:
                for told in buffer.on_event(event):
                    _ENCODER.encode(told.event)
            except UnknownSession:
                buffer.disconnected()
                buffer.forget_session()
            except FinalsLost:
                buffer.restart_stream()
                buffer.disconnected()
        _drain(buffer, sound)
    buffer.request("streamser.finish")
    _drain(buffer, sound)
    buffer.release()
    return outcome


def _drain(buffer: ResendBuffer, sound: SoundFormat) -> None:
    require(buffer.lost >= 0, "no less than nothing is lost")
    require(buffer._limit <= 2 * 600 * sound.rate, "what is kept is bounded")
    for _ in range(100 + 2 * buffer._buffer.end):
        message = buffer.next_message()
        if message is None:
            return
        if isinstance(message, bytes):
            require(0 < len(message) <= 32_768, "sound is sent in pieces")
            require(not len(message) % sound.width, "whole frames are sent")
        else:
            json.loads(message)
    raise AssertionError("the client has always something to send")


def _judge(lines: list[str]) -> str:
    """Let the client make up its mind about an answer that is no websocket, and about an end."""
    number, retry_after, reason, *body = [*lines, "", "", ""]
    status = int(number) if number.isdecimal() and len(number) < 6 else 1013
    text = "\n".join(body).encode("utf-8", "surrogateescape")
    verdicts = [
        judge_status(status, retry_after or None, text, "ws://h"),
        judge_close(status, reason, None, "ws://h"),
    ]
    for verdict in verdicts:
        if isinstance(verdict, ConnectionLost) and verdict.retry_after is not None:
            require(0 <= verdict.retry_after <= 3600, "a wait is neither negative nor endless")
    return type(verdicts[0]).__name__


def _replay(lines: list[str]) -> str:
    """Recall a recording of events, and let a meeting follow them."""
    meeting = MeetingMood("m")
    outcome = "events"
    events = recall(line for line in lines if line)
    at = 0
    while True:
        try:
            event, at = next(events)
        except StopIteration:
            break
        except msgspec.DecodeError:
            outcome = "refused"
            break
        for told in meeting.take(event, at):
            _ENCODER.encode(told)
    _ENCODER.encode(meeting.state(at))
    return outcome


_ENTRIES: tuple[tuple[str, Callable[[list[str]], str], list[list[str]]], ...] = (
    ("realtime", _converse, REALTIME),
    ("gate", _knock, TARGETS),
    ("sound", _decode, [[" ", "abc", "", "\udc80\udcff12345"], ["!", "abcdefg" * 9, "x"]]),
    ("client", _follow, EVENTS),
    ("recall", _replay, EVENTS),
    ("verdict", _judge, ANSWERS),
    ("bots", _bring, BOTS),
)
_LINES = [["\n".join(lines) for lines in seeds] for _, _, seeds in _ENTRIES]


def _seeds(folder: Path) -> list[bytes]:
    return [_case(number, text) for number, texts in enumerate(_LINES) for text in texts]


def _case(entry: int, text: str) -> bytes:
    # Escaped bytes stay what they are; other halves of surrogate pairs are written as such.
    escaped = text.encode("utf-8", "surrogatepass").replace(b"\xed\xb3", b"\xff")
    return bytes([entry]) + escaped


def _mutate(data: bytes, rng: Random) -> bytes:
    entry = data[0] % len(_ENTRIES) if data else 0
    if rng.random() < 0.1:
        return bytes([entry]) + spoil_bytes(data[1:], rng)
    text = data[1:].decode("utf-8", "surrogateescape" if rng.random() < 0.5 else "replace")
    if rng.random() < 0.3:
        return _case(entry, spoil_lines(text, rng, _LINES[entry]))
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(lines))
        spoil = spoil_json if lines[at].startswith("{") else spoil_text
        lines[at] = spoil(lines[at], rng)
    return _case(entry, "\n".join(lines))


def _check(data: bytes, folder: Path) -> str:
    name, entry, _ = _ENTRIES[data[0] % len(_ENTRIES)] if data else _ENTRIES[0]
    text = data[1:].decode("utf-8", "surrogateescape")
    with forbidding():
        return f"{name}: {entry(text.split(chr(10)))}"


TARGET = Target(
    name="messages",
    seeds=_seeds,
    mutate=_mutate,
    check=_check,
    seconds=10.0,
)
