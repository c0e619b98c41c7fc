from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from streamser.audio.clip import SAMPLE_RATE
from tools.bench_peers.clients import WhisperLiveClient, WhisperLiveKitClient
from tools.bench_peers.conversation import Conversation, Utterance
from tools.bench_peers.errors import BenchError
from tools.bench_peers.log import StreamLog
from tools.bench_peers.talk import Patience, talk

SHORT = Patience(calm_s=0.1, longest_s=1.0, goodbye_s=0.5, ready_s=2.0)
Handler = Callable[[ServerConnection], Awaitable[None]]


def conversation(number: int = 0) -> Conversation:
    """Speak for 400 ms: each sample is its own number, so that what arrives can be checked."""
    pcm = np.arange(SAMPLE_RATE * 2 // 5, dtype="<i2").tobytes()
    return Conversation(pcm, (Utterance("clip", 0.0, 0.3, ("yes",)),), 0.05 * number)


def played(handler: Handler, *, streams: int = 1) -> list[StreamLog]:
    """Play to a server of our own."""

    async def run() -> list[StreamLog]:
        async with serve(handler, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            clients = [WhisperLiveKitClient() for _ in range(streams)]
            conversations = [conversation(number) for number in range(streams)]
            return await talk(f"ws://127.0.0.1:{port}", clients, conversations, 20, SHORT)

    return asyncio.run(run())


def test_sound_arrives_whole_and_in_its_time() -> None:
    """Every sample, then silence; 400 ms of it take 400 ms."""
    heard: list[bytes] = []
    times: list[float] = []

    async def handler(line: ServerConnection) -> None:
        await line.send('{"type":"config"}')
        async for frame in line:
            assert isinstance(frame, bytes)
            if not frame:
                break
            heard.append(frame)
            times.append(asyncio.get_running_loop().time())
        await line.send('{"lines":[{"text":"yes"}],"buffer_transcription":""}')
        await line.send('{"type":"ready_to_stop"}')

    (log,) = played(handler)
    sound = b"".join(heard)
    assert sound.startswith(conversation().pcm)
    assert np.abs(np.frombuffer(sound[len(conversation().pcm) :], "<i2")).max() < 200
    assert {len(frame) for frame in heard} == {640}
    assert times[19] - log.began >= 0.4
    assert (log.fault, log.shown[-1].settled) == (None, "yes")


def test_streams_begin_apart() -> None:
    """Each has its own beginning, and its own log."""

    async def handler(line: ServerConnection) -> None:
        await line.send('{"type":"config"}')
        async for frame in line:
            if not frame:
                break
        await line.send('{"type":"ready_to_stop"}')

    one, two = played(handler, streams=2)
    assert two.began - one.began == pytest.approx(0.05)


def test_a_stream_that_breaks_is_noted() -> None:
    """The others would go on; the log says what happened."""

    async def handler(line: ServerConnection) -> None:
        await line.send('{"type":"config"}')
        await line.recv()
        await line.close(1011, "out of memory")

    (log,) = played(handler)
    assert log.fault is not None
    assert "out of memory" in log.fault


def test_a_server_that_never_ends_a_stream_is_left() -> None:
    """It is waited for, but not for ever."""

    async def handler(line: ServerConnection) -> None:
        await line.send('{"type":"config"}')
        async for _ in line:
            pass

    (log,) = played(handler)
    assert log.fault is not None
    assert "did not end the stream" in log.fault


def test_a_stream_that_is_not_let_in_costs_one_line() -> None:
    """Nobody listens; or the server has no room."""

    async def nobody() -> None:
        await talk("ws://127.0.0.1:9", [WhisperLiveClient()], [conversation()], 20, SHORT)

    with pytest.raises(BenchError, match="lets no stream in"):
        asyncio.run(nobody())

    async def silent(line: ServerConnection) -> None:
        await line.close()

    with pytest.raises(BenchError, match="lets no stream in"):
        played(silent)
