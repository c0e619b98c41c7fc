"""A client of a server, which costs the generator next to nothing: no task, no queue, no lock.

Sound is one conversation in memory, which every stream enters elsewhere. The protocol is that of
``websockets``; between it and asyncio's transport nothing waits, so that events are dated when
their bytes come, and sound goes out when its time has come even where the server does not read.
What a stream does besides, to stay, to leave, to vanish or to come back, is up to whoever holds
its ``Wire`` and its ``Speaker``.
"""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

import msgspec
import numpy as np
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from streamser.audio.clip import SAMPLE_RATE
from streamser.client.connection import judge_status
from streamser.client.wire import ConnectionLost, redacted
from streamser.errors import StreamserError
from streamser.speech.vad import load_silero
from tools.bench.conversation import Conversation

__all__ = [
    "BLOCK_MS",
    "FINISH",
    "NO_WORDS",
    "Lap",
    "Plan",
    "Speaker",
    "Told",
    "Wire",
    "dial",
    "make_lap",
    "plans",
    "read_told",
]

BLOCK_MS: Final = 100
"""Sound that goes out at once, as live clients send it."""
FINISH: Final = b'{"type":"streamser.finish"}'
NO_WORDS: Final = (
    b'{"type":"session.update","session":{"type":"transcription",'
    b'"audio":{"input":{"transcription":null}}}}'
)

_LAP_S = 120.0
"""A short conversation is repeated, with other pauses, before the lap begins anew."""
_FRAME = 2
_BLOCK = SAMPLE_RATE * BLOCK_MS // 1000 * _FRAME
_SPREAD_S = 1.0
_SPEECH = 0.5
_OPEN_S = 15.0
_MESSAGE_BYTES = 4 * 1024 * 1024
_UNSENT: Final = 256 * 1024
"""Sound that may wait because the server does not read on: 8 s of it."""


class _Window(msgspec.Struct, frozen=True, gc=False):
    end_ms: int


class _Emotion(msgspec.Struct, frozen=True, gc=False):
    window: _Window


class _Error(msgspec.Struct, frozen=True, gc=False):
    code: str = ""
    message: str = ""


class _Session(msgspec.Struct, frozen=True, gc=False):
    models: dict[str, str | None] = {}
    silence_ms: int = 0


class Told(msgspec.Struct, frozen=True, gc=False):
    """Hold of an event what is counted; decoded for every event, so it is little."""

    type: str = ""
    seq: int = 0
    item_id: str = ""
    audio_end_ms: int = 0
    reason: str = ""
    kind: str = ""
    dropped: int = 0
    partials_dropped: int = 0
    received_frames: int = 0
    emotion: _Emotion | None = None
    error: _Error | None = None
    session: _Session | None = None


_decoder = msgspec.json.Decoder(Told)


def read_told(message: bytes) -> Told:
    """Read an event; what is none that we know gives an event without a type."""
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Told()


class Plan(msgspec.Struct, frozen=True):
    """Say when a stream begins, in seconds after the first may, and at which frame of the lap."""

    delay_s: float
    frame: int


class Lap(msgspec.Struct, frozen=True, eq=False):
    """Hold 16-bit mono sound at 16 kHz that is played round and round.

    ``speech_share`` is the share of the speech detector's windows that are speech.
    """

    name: str
    data: bytes
    speech_share: float

    @property
    def seconds(self) -> float:
        """Return how long it lasts."""
        return len(self.data) / _FRAME / SAMPLE_RATE

    def block(self, frame: int, number: int) -> bytes | memoryview:
        """Return a stream's block: it entered at a frame, and blocks count from 0."""
        start = (frame * _FRAME + number * _BLOCK) % len(self.data)
        stop = start + _BLOCK
        if stop <= len(self.data):
            return memoryview(self.data)[start:stop]
        return self.data[start:] + self.data[: stop - len(self.data)]


def make_lap(conversation: Conversation) -> Lap:
    """Render a conversation at 16 kHz, with its pauses, and measure how much of it is speech."""
    sound = conversation.at_rate(SAMPLE_RATE)
    parts: list[Any] = []
    samples = 0
    for number, placed in enumerate(sound.placed()):
        laps, rest = divmod(number, len(sound.turns))
        if laps and not rest and samples >= _LAP_S * SAMPLE_RATE:
            break
        parts += [placed.turn.samples, np.zeros(placed.pause, np.float32)]
        samples += len(placed.turn.samples) + placed.pause
    whole = np.concatenate(parts)
    written = np.clip(np.rint(whole * np.float32(32768.0)), -32768, 32767).astype("<i2")
    return Lap(sound.name, written.tobytes(), _speech_share(whole))


def plans(seed: int, streams: int, lap: Lap) -> list[Plan]:
    """Draw where and when streams begin: of more streams, the first begin as of fewer."""
    chance = random.Random(seed)
    frames = len(lap.data) // _FRAME
    drawn = ((chance.uniform(0.0, _SPREAD_S), chance.randrange(frames)) for _ in range(streams))
    return [Plan(delay, frame) for delay, frame in drawn]


class Speaker:
    """Send the blocks of a stream, each when its last sample has been spoken, by the loop's timer.

    It enters the lap at ``frame``; sound goes ``speed`` times as fast as it was spoken. A
    ``patient`` one waits while the server does not read on, and does not hurry afterwards.
    """

    def __init__(
        self, wire: Wire, lap: Lap, frame: int, *, speed: float = 1.0, patient: bool = False
    ) -> None:
        self._wire = wire
        self._lap = lap
        self._frame = frame
        self._block_s = BLOCK_MS / 1000 / speed
        self._patient = patient
        self._loop = asyncio.get_running_loop()
        self._first = 0.0
        self._number = 0

    def speak(
        self,
        first: float,
        wants: Callable[[int, float], bool],
        note: Callable[[float, float], None] | None = None,
    ) -> asyncio.Future[int]:
        """Speak from a moment on (the loop's time, s); the result is how many blocks were sent.

        ``wants`` is asked of each block, by its number and when it is due, whether it is to be
        sent. ``note`` is told when each went out, and how late that was.
        """
        self._first, self._number = first, 0
        spoken: asyncio.Future[int] = self._loop.create_future()

        def goes_on() -> bool:
            return not self._wire.closed.done() and wants(self._number, self._due())

        def tick() -> None:
            if spoken.done():
                return
            now = self._loop.time()
            if goes_on():
                if self._patient and self._wire.unsent > _UNSENT:
                    self._first = now - self._number * self._block_s
                else:
                    self._send(now, note)
            if goes_on():
                self._loop.call_at(self._due(), tick)
            else:
                spoken.set_result(self._number)

        self._loop.call_at(self._due(), tick)
        return spoken

    def _send(self, now: float, note: Callable[[float, float], None] | None) -> None:
        late = now - self._due()
        self._wire.send(self._lap.block(self._frame, self._number))
        self._number += 1
        if note is not None:
            note(now, late)

    def _due(self) -> float:
        # From the beginning, not from the last: no lateness adds up.
        return self._first + (self._number + 1) * self._block_s


async def dial(url: str, token: str | None, hear: Callable[[float, bytes], None]) -> Wire:
    """Open a socket at a ``ws(s)://`` address; ``hear`` gets each message, and when it came.

    Raises ``StreamserError`` where there is no server, or it refuses us.
    """
    loop = asyncio.get_running_loop()
    uri = parse_uri(url)
    wire = Wire(ClientProtocol(uri, max_size=_MESSAGE_BYTES), token, hear)
    tls = ssl.create_default_context() if uri.secure else None
    try:
        async with asyncio.timeout(_OPEN_S):
            await loop.create_connection(lambda: wire, uri.host, uri.port, ssl=tls)
            await wire.opened
    except InvalidStatus as refused:
        answer = refused.response
        why = judge_status(answer.status_code, None, bytes(answer.body or b""), redacted(url))
        raise (_unreachable(url, why.why) if isinstance(why, ConnectionLost) else why) from refused
    except TimeoutError as fault:
        raise _unreachable(url, f"no answer within {_OPEN_S:.0f} s") from fault
    except ConnectionRefusedError as fault:
        raise _unreachable(url, "nobody listens there (connection refused)") from fault
    except (OSError, WebSocketException) as fault:
        raise _unreachable(url, str(fault) or type(fault).__name__) from fault
    return wire


class Wire(asyncio.Protocol):
    """One connection. ``opened`` is done once the server has let us in, ``closed`` at its end."""

    def __init__(
        self, protocol: ClientProtocol, token: str | None, hear: Callable[[float, bytes], None]
    ) -> None:
        self._protocol = protocol
        self._token = token
        self._hear = hear
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.closed: asyncio.Future[str] = self._loop.create_future()

    def send(self, sound: bytes | memoryview) -> None:
        """Send a block of sound; never waits."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(sound)
            self._flush()

    def ask(self, message: bytes) -> None:
        """Send a message; never waits."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(message)
            self._flush()

    @property
    def unsent(self) -> int:
        """Return how many bytes wait because the server, or the line, takes no more."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def shrink(self, size: int) -> None:
        """Let the system keep no more than so many bytes of what comes and is not read."""
        line = None if self._transport is None else self._transport.get_extra_info("socket")
        if line is not None:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def heed(self, heeding: bool) -> None:
        """Read what comes, or let it wait on the line."""
        if self._transport is None or self._transport.is_closing():
            return
        if heeding:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def close(self) -> None:
        """Say goodbye; never waits."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(1000)
            self._flush()

    def abort(self) -> None:
        """Let the connection vanish."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the server to let us in."""
        self._transport = cast(asyncio.Transport, transport)
        request = self._protocol.connect()
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token}"
        self._protocol.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Hand on what has come."""
        at = self._loop.time()
        self._protocol.receive_data(data)
        self._follow(at)

    def eof_received(self) -> None:
        """Note that nothing more comes."""
        self._protocol.receive_eof()
        self._follow(self._loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        protocol = self._protocol
        if protocol.close_code in (None, 1006):
            why = str(exc) if exc is not None else "the connection broke"
        else:
            why = f"closed with {protocol.close_code} {protocol.close_reason or ''}".rstrip()
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(why))
        if not self.closed.done():
            self.closed.set_result(why)

    def _follow(self, at: float) -> None:
        for event in self._protocol.events_received():
            match event:
                case Response():
                    self._enter()
                case Frame(opcode=Opcode.TEXT | Opcode.CONT):
                    self._take(at, event)
        if self._protocol.handshake_exc is not None:
            self._enter()
        self._flush()

    def _enter(self) -> None:
        refused = self._protocol.handshake_exc
        if self.opened.done():
            return
        if refused is not None:
            self.opened.set_exception(refused)
        else:
            self.opened.set_result(None)

    def _take(self, at: float, frame: Frame) -> None:
        data = bytes(frame.data)
        if frame.fin and not self._parts:
            self._hear(at, data)
            return
        self._parts.append(data)
        if frame.fin:
            whole, self._parts = b"".join(self._parts), []
            self._hear(at, whole)

    def _flush(self) -> None:
        transport: Any = self._transport
        for data in self._protocol.data_to_send():
            if data:
                transport.write(data)
            elif transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()


def _unreachable(url: str, why: str) -> StreamserError:
    return StreamserError(f"{redacted(url)}: {why.rstrip('.')}.", code="server_unreachable")


def _speech_share(samples: Any) -> float:
    vad = load_silero().stream()
    windows = len(samples) // vad.window
    heard = (
        vad.probability(samples[number * vad.window : (number + 1) * vad.window])
        for number in range(windows)
    )
    return round(sum(each >= _SPEECH for each in heard) / max(1, windows), 3)
