"""Conversations in real time to a server, all from one thread, and what it answers."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import msgspec
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from streamser.audio.clip import SAMPLE_RATE
from tools.bench_peers.clients import PeerClient
from tools.bench_peers.conversation import FLOOR, Conversation
from tools.bench_peers.errors import BenchError
from tools.bench_peers.log import StreamLog

__all__ = ["Patience", "talk"]


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """Say how long a stream waits, in seconds.

    ``ready_s``: to be let in, for which a model may have to be loaded. After its conversation it
    is silent until no stream's text has changed for ``calm_s`` (a server that is behind may come
    to each in turn), for ``longest_s`` at most; for the last answer to its goodbye it waits
    ``goodbye_s``.
    """

    ready_s: float = 180.0
    calm_s: float = 10.0
    longest_s: float = 60.0
    goodbye_s: float = 60.0


async def talk(
    url: str,
    clients: Sequence[PeerClient],
    conversations: Sequence[Conversation],
    frame_ms: int,
    patience: Patience | None = None,
) -> list[StreamLog]:
    """Play a conversation in each stream; sound goes out when it has been spoken.

    All streams are let in before the first begins. Raises ``BenchError`` where one is not; one
    that breaks later is noted in its log.
    """
    patience = patience or Patience()
    lines: list[ClientConnection] = []
    try:
        for client in clients:
            # One after the other; what has been opened is closed whatever comes.
            lines += [await _enter(url + client.path, client, patience.ready_s)]
        gc.collect()
        gc.disable()
        first = asyncio.get_running_loop().time() + 0.2
        logs = [StreamLog(each.utterances, first + each.delay_s) for each in conversations]
        pace = _Pace(frame_ms, patience, logs)
        await asyncio.gather(
            *(
                _converse(line, client, conversation.pcm, log, pace)
                for line, client, conversation, log in zip(
                    lines, clients, conversations, logs, strict=True
                )
            )
        )
        return logs
    finally:
        gc.enable()
        for line in lines:
            line.transport.abort()


class _Pace(msgspec.Struct, frozen=True):
    frame_ms: int
    patience: Patience
    logs: list[StreamLog]

    def is_calm(self, now: float) -> bool:
        """Say whether no text has changed for a while; where there is none, nothing comes."""
        last = max((log.shown[-1].at for log in self.logs if log.shown), default=0.0)
        return now - last > self.patience.calm_s


async def _enter(where: str, client: PeerClient, ready_s: float) -> ClientConnection:
    try:
        async with asyncio.timeout(ready_s):
            line = await _dial(where)
            for message in client.hello:
                await line.send(message)
            while not client.ready(await line.recv()):
                pass
            return line
    except TimeoutError:
        raise BenchError(f"{where} let no stream in within {ready_s:.0f} s") from None
    except (OSError, WebSocketException) as error:
        raise BenchError(f"{where} lets no stream in: {error}") from None


async def _dial(where: str) -> ClientConnection:
    while True:
        try:
            return await connect(
                where, compression=None, max_size=None, ping_interval=None, proxy=None
            )
        except InvalidStatus as refused:
            # It listens, but its models are still being loaded.
            if refused.response.status_code != 503:
                raise
            await asyncio.sleep(0.5)


async def _converse(
    line: ClientConnection,
    client: PeerClient,
    pcm: bytes,
    log: StreamLog,
    pace: _Pace,
) -> None:
    goodbye_s = pace.patience.goodbye_s
    listener = asyncio.create_task(_listen(line, client, log))
    try:
        await _speak(line, pcm, log, pace)
        await line.send(client.goodbye)
        async with asyncio.timeout(goodbye_s):
            await listener
    except ConnectionClosed as closed:
        log.fault = f"the server closed the stream: {closed}"
    except TimeoutError:
        log.fault = f"the server did not end the stream within {goodbye_s:.0f} s"
    finally:
        listener.cancel()


async def _speak(line: ClientConnection, pcm: bytes, log: StreamLog, pace: _Pace) -> None:
    loop = asyncio.get_running_loop()
    frame_ms, calm_s, longest_s = pace.frame_ms, pace.patience.calm_s, pace.patience.longest_s
    size = SAMPLE_RATE * frame_ms // 1000 * 2
    floor = _silence(size * (1000 // frame_ms))
    length = len(pcm) / 2 / SAMPLE_RATE
    number = 0
    while True:
        place = number * size
        due = log.began + (number + 1) * frame_ms / 1000
        over = due - log.began - length
        if over > longest_s or (over > calm_s and pace.is_calm(loop.time())):
            return
        frame = pcm[place : place + size]
        if len(frame) < size:
            frame += floor[place % len(floor) :][: size - len(frame)]
        await asyncio.sleep(max(0.0, due - loop.time()))
        log.late_s = max(log.late_s, loop.time() - due)
        await line.send(frame)
        number += 1


async def _listen(line: ClientConnection, client: PeerClient, log: StreamLog) -> None:
    loop = asyncio.get_running_loop()
    try:
        async for message in line:
            if client.hear(loop.time(), message, log):
                return
    except ConnectionClosed:
        # The one who speaks notices, where it was not meant.
        return


def _silence(size: int) -> bytes:
    noise = np.random.default_rng(0).standard_normal(size // 2) * FLOOR * 32767
    return noise.astype("<i2").tobytes()
