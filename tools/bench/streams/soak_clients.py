"""All clients of a soak: who talks and ends in every way, who listens, who reads slowly."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from contextlib import suppress
from typing import Final

import msgspec

from streamser.client.wire import EVENTS, REALTIME, endpoint
from streamser.errors import StreamserError
from tools.bench.streams.client import (
    BLOCK_MS,
    FINISH,
    NO_WORDS,
    Lap,
    Speaker,
    Told,
    Wire,
    dial,
    read_told,
)

__all__ = ["Ground", "Ledger", "Tally", "Traffic", "listeners_for"]

_RATE: Final = 16_000
_TICK_S: Final = 0.02
_GOODBYE_S: Final = 90.0
_RESUME_S: Final = 15.0
_AGAIN_S: Final = 1.0
_PATIENCE_MIN: Final = 0.5
"""Who is to vanish in the middle of an utterance waits so long, in audio, for one to begin."""
_NONSENSE: Final = b'{"type":"soak.nonsense","event_id":"nonsense"}'
_ENDINGS: Final = ("finish", "vanish", "resume")
_SMALL: Final = 4096
"""What the kernel may hold for a slow listener: the least it knows."""
_PAUSE: Final = 2.0
"""How long the slow one does not read, over how long a session lasts."""
_LEAVE_S: Final = 5.0


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


class Ledger:
    """Follow a session's events over all of its connections, in little memory.

    ``last`` is the highest number of an event. ``speaking`` says whether an utterance is open,
    ``closed`` whether goodbye was said. ``received`` is where to send on, in frames, once the
    session has been resumed.
    """

    def __init__(self) -> None:
        self._missing = 0
        self._waiting: dict[str, set[str]] = {}
        self._wanted = {"emotion"}
        self.models: dict[str, str | None] = {}
        self.events = 0
        self.last = 0
        self.failed = 0
        self.left_out = 0
        self.speaking = False
        self.closed = False
        self.received: int | None = None

    @property
    def lost_events(self) -> int:
        """Return how many numbers are missing that nobody answers for."""
        return max(0, self._missing)

    @property
    def lost_finals(self) -> int:
        """Return how many utterances still lack a final."""
        return len(self._waiting)

    def take(self, told: Told) -> None:
        """Take in an event; what is none that we know only counts."""
        self.events += 1
        if told.seq > self.last:
            self._missing += told.seq - self.last - 1
            self.last = told.seq
        match told.type:
            case "session.created" | "session.updated" if told.session is not None:
                self.models = told.session.models
                self._wanted = {"emotion"} | ({"words"} if self.models.get("asr") else set())
            case "input_audio_buffer.speech_started":
                self.speaking = True
            case "input_audio_buffer.speech_stopped":
                self.speaking = False
            case "input_audio_buffer.committed":
                self._waiting[told.item_id] = set(self._wanted)
            case "streamser.emotion.completed":
                self._answer(told.item_id, "emotion")
            case "conversation.item.input_audio_transcription.completed":
                self._answer(told.item_id, "words")
            case "conversation.item.input_audio_transcription.failed":
                self.failed += 1
                self._waiting.pop(told.item_id, None)
            case "streamser.overload" if told.kind == "deltas":
                # It has the number of the last event that it stands for.
                self._missing -= told.dropped - 1
                self.left_out += told.dropped
            case "streamser.session.resumed":
                self.received = told.received_frames
            case "streamser.session.closed":
                self.closed = True

    def _answer(self, item_id: str, what: str) -> None:
        waiting = self._waiting.get(item_id)
        if waiting is not None:
            waiting.discard(what)
            if not waiting:
                del self._waiting[item_id]


def listeners_for(streams: int) -> int:
    """Return how many listeners come and go beside so many streams; the slow one not counted."""
    return max(2, streams // 2)


class Traffic:
    """Let clients come and go; between ``start`` and ``rest`` there are always as many streams."""

    def __init__(self, ground: Ground, streams: int, seed: int) -> None:
        self._ground = ground
        self._seed = seed
        self.tally = Tally()
        self._talkers = [_Talker(each, ground, self.tally, seed) for each in range(streams)]
        self._visitors = listeners_for(streams)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def models(self) -> dict[str, str | None]:
        """Return the server's models, as it has introduced them."""
        return next((each.models for each in self._talkers if each.models), {})

    def start(self) -> None:
        """Let everybody come."""
        self._stop.clear()
        works = [talker.run(self._stop) for talker in self._talkers]
        works += [self._visit(number) for number in range(self._visitors)]
        works.append(self._dawdle())
        self._tasks = [asyncio.create_task(work) for work in works]

    def check(self) -> None:
        """Raise what has ended a client, or ``StreamserError`` where nobody was ever let in."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (fault := task.exception()) is not None:
                raise fault
        faults = [talker.fault for talker in self._talkers if talker.fault is not None]
        if faults and not self.tally.sessions:
            raise faults[0]

    async def rest(self) -> None:
        """Let everybody leave: sessions are finished well, listeners say goodbye."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        self._tasks = []

    async def leave(self) -> None:
        """Break everything off."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _visit(self, number: int) -> None:
        """Join and leave again and again; every other time without a word."""
        chance = random.Random(f"{self._seed} visitor {number}")
        ground, tally = self._ground, self.tally
        places: list[dict[str, str | None]] = [{"meeting": f"soak {number % 2}"}, {"all": ""}]
        for turn in itertools.count():
            if self._stop.is_set():
                return
            query = places[turn % len(places)]
            wire = await self._listen(query)
            if wire is not None:
                try:
                    stay = ground.renew_min * chance.uniform(0.25, 0.75)
                    await _wait_for(self._stop, ground.seconds(stay))
                    if query is places[0] or self._stop.is_set():
                        await _leave(wire)
                    else:
                        tally.listeners_vanished += 1
                finally:
                    wire.abort()

    async def _dawdle(self) -> None:
        """Listen to everything, but for long times read nothing; come again when sent away."""
        ground, tally = self._ground, self.tally
        while not self._stop.is_set():
            wire = await self._listen({"all": ""})
            if wire is None:
                continue
            try:
                wire.shrink(_SMALL)
                while not self._stop.is_set() and not wire.closed.done():
                    wire.heed(False)
                    tally.pauses += 1
                    await _wait_for(self._stop, ground.seconds(_PAUSE * ground.renew_min))
                    wire.heed(True)
                    await _wait_for(self._stop, ground.seconds(ground.renew_min / 2))
                if wire.closed.done():
                    tally.too_slow += 1
                else:
                    await _leave(wire)
            finally:
                wire.abort()

    async def _listen(self, query: dict[str, str | None]) -> Wire | None:
        ground = self._ground
        try:
            wire = await dial(endpoint(ground.url, EVENTS, query), ground.token, _ignore)
        except StreamserError:
            self.tally.refused += 1
            await _wait_for(self._stop, _AGAIN_S)
            return None
        self.tally.listeners += 1
        return wire


class _Talker:
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
                await _wait_for(stop, _AGAIN_S)
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
                wire.ask(NO_WORDS)
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
        return await dial(
            url, self._ground.token, lambda at, message: ledger.take(read_told(message))
        )

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
        blocks = max(1, round(60_000 * minutes / BLOCK_MS))

        def wants(number: int, due: float) -> bool:
            listened = until is not None and until.speaking
            return number < blocks and not listened and not stop.is_set()

        speaker = Speaker(wire, ground.lap, frame, speed=ground.speed, patient=True)
        sent = await speaker.speak(asyncio.get_running_loop().time(), wants)
        return sent * _RATE * BLOCK_MS // 1000

    async def _finish(self, wire: Wire, ledger: Ledger) -> None:
        wire.ask(FINISH)
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


async def _wait_for(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until told to stop."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _ignore(at: float, message: bytes) -> None:
    """Hear an event and think nothing of it."""


async def _leave(wire: Wire) -> None:
    wire.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(wire.closed), _LEAVE_S)
