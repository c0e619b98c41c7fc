"""One place at the table of a soak: one session after another, each ending in its own way."""

from __future__ import annotations

import asyncio
import random
import uuid
from contextlib import suppress
from typing import Final

import msgspec

from streamser.bench.load_log import BLOCK_MS
from streamser.bench.load_sound import Lap
from streamser.bench.load_wire import Wire, dial
from streamser.bench.soak_ledger import Ledger
from streamser.client.wire import REALTIME, endpoint
from streamser.errors import StreamserError

__all__ = ["Ground", "Talker", "Tally", "wait_for"]

_RATE: Final = 16_000
_UNSENT: Final = 256 * 1024
"""Sound that may wait because the server does not read on: 8 s of it."""
_TICK_S: Final = 0.02
_GOODBYE_S: Final = 90.0
_RESUME_S: Final = 15.0
_AGAIN_S: Final = 1.0
_PATIENCE_MIN: Final = 0.5
"""Who is to vanish in the middle of an utterance waits so long, in audio, for one to begin."""
_FINISH: Final = b'{"type":"streamser.finish"}'
_NONSENSE: Final = b'{"type":"soak.nonsense","event_id":"nonsense"}'
_NO_WORDS: Final = (
    b'{"type":"session.update","session":{"type":"transcription",'
    b'"audio":{"input":{"transcription":null}}}}'
)
_ENDINGS: Final = ("finish", "vanish", "resume")


class Ground(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Hold what all clients of a soak share; sound goes ``speed`` times as fast as it was spoken.

    A session, and a listener's visit, lasts ``renew_min`` minutes of audio, half more or less.
    """

    url: str
    token: str | None
    wordless: bool
    lap: Lap
    speed: float
    renew_min: float

    def seconds(self, minutes: float) -> float:
        """Return how long so many minutes of audio take."""
        return 60 * minutes / self.speed


class Tally(msgspec.Struct, kw_only=True):
    """Count what clients did, and what became of it; ``left_out`` are deltas and partials."""

    sessions: int = 0
    finished: int = 0
    vanished: int = 0
    resumed: int = 0
    listeners: int = 0
    listeners_vanished: int = 0
    pauses: int = 0
    too_slow: int = 0
    events: int = 0
    left_out: int = 0
    failed: int = 0
    lost_events: int = 0
    lost_finals: int = 0
    broken: int = 0
    refused: int = 0


class Talker:
    """Hold session after session until told to stop; ``number`` counts talkers from 0.

    Sessions end in turn: finished well; gone in the middle of an utterance; gone in the middle
    of an utterance, taken up again where the server says, and finished well.
    """

    def __init__(self, number: int, ground: Ground, tally: Tally, seed: int) -> None:
        self._number = number
        self._ground = ground
        self._tally = tally
        self._chance = random.Random(f"{seed} talker {number}")
        self._turn = number
        self.models: dict[str, str | None] = {}
        self.fault: StreamserError | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Talk until told to stop; then everything is finished well."""
        while not stop.is_set():
            ending = _ENDINGS[self._turn % len(_ENDINGS)]
            self._turn += 1
            ledger = Ledger()
            try:
                await self._session(ledger, ending, stop)
            except StreamserError as refused:
                self._tally.refused += 1
                self.fault = refused
                await wait_for(stop, _AGAIN_S)
            self._count(ledger)

    async def _session(self, ledger: Ledger, ending: str, stop: asyncio.Event) -> None:
        ground = self._ground
        secret = uuid.UUID(int=self._chance.getrandbits(128)).hex if ending == "resume" else None
        frame = self._chance.randrange(_RATE * max(1, int(ground.lap.seconds)))
        minutes = ground.renew_min * self._chance.uniform(0.5, 1.5)
        wire = await self._dial(ledger, secret)
        self._tally.sessions += 1
        try:
            if ground.wordless:
                wire.ask(_NO_WORDS)
            wire.ask(_NONSENSE)
            half = minutes / 2 if ending == "resume" else minutes
            said = await self._speak(wire, frame, half, stop)
            if ending != "finish" and not stop.is_set():
                await self._speak(wire, frame + said, _PATIENCE_MIN, stop, ledger)
                if not wire.closed.done() and not stop.is_set():
                    wire.abort()
                    if ending == "vanish":
                        self._tally.vanished += 1
                        return
                    wire = await self._resume(ledger, secret)
                    await self._speak(wire, frame + (ledger.received or 0), half, stop)
            await self._finish(wire, ledger)
        finally:
            wire.abort()

    async def _dial(self, ledger: Ledger, secret: str | None) -> Wire:
        # Every fourth talks outside of any meeting.
        meeting = None if self._number % 4 == 3 else f"soak {self._number % 2}"
        query = {
            "intent": "transcription",
            "rate": str(_RATE),
            "encoding": "s16le",
            "speaker": f"speaker {self._number}",
            "meeting": meeting,
            "stream": secret,
            "after": str(ledger.last) if ledger.last else None,
        }
        url = endpoint(self._ground.url, REALTIME, query)
        return await dial(url, self._ground.token, lambda at, message: ledger.take(message))

    async def _resume(self, ledger: Ledger, secret: str | None) -> Wire:
        wire = await self._dial(ledger, secret)
        try:
            async with asyncio.timeout(_RESUME_S):
                while ledger.received is None and not wire.closed.done():
                    await asyncio.sleep(_TICK_S)
            self._tally.resumed += ledger.received is not None
        except TimeoutError:
            # A session that begins anew is no fault to end for, but one to be seen: none resumed.
            pass
        return wire

    async def _speak(
        self,
        wire: Wire,
        frame: int,
        minutes: float,
        stop: asyncio.Event,
        until: Ledger | None = None,
    ) -> int:
        """Send sound for so long, or, with a ledger, until an utterance is open in it.

        Returns how many frames were sent.
        """
        ground = self._ground
        loop = asyncio.get_running_loop()
        block_s = BLOCK_MS / 1000 / ground.speed
        blocks = max(1, round(60_000 * minutes / BLOCK_MS))
        due, number = loop.time(), 0
        while number < blocks and not wire.closed.done() and not stop.is_set():
            if until is not None and until.speaking:
                break
            if wire.unsent > _UNSENT:
                # Who is not read from waits, and does not hurry afterwards.
                due = loop.time()
            while number < blocks and due <= loop.time():
                wire.send(ground.lap.block(frame, number))
                number += 1
                due += block_s
            await asyncio.sleep(max(_TICK_S, due - loop.time()))
        return number * _RATE * BLOCK_MS // 1000

    async def _finish(self, wire: Wire, ledger: Ledger) -> None:
        wire.ask(_FINISH)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(wire.closed), _GOODBYE_S)
        tally = self._tally
        if not ledger.closed:
            tally.broken += 1
        else:
            tally.finished += 1
        tally.lost_events += ledger.lost_events
        tally.lost_finals += ledger.lost_finals

    def _count(self, ledger: Ledger) -> None:
        self.models = ledger.models or self.models
        self._tally.events += ledger.events
        self._tally.left_out += ledger.left_out
        self._tally.failed += ledger.failed


async def wait_for(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until told to stop."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
