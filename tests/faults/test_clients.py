"""Clients that vanish or fall silent for ever: their streams end well, and nothing is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from streamser.audio.clip import Clip
from streamser.server.app import EmotionServer
from tests.faults.doubles import GIVE_UP_S, Workshop
from tests.faults.staging import comes, dead_line, figure, running
from tests.server.serving import (
    EMOTION,
    Wire,
    check_stream,
    demo,
    dial,
    encode,
    kinds,
    of_kind,
    patience,
    whole,
)

CLOSED = "streamser.session.closed"
STARTED = "input_audio_buffer.speech_started"
FIRST_WORDS = encode(demo(1.5))
"""In the middle of the first utterance."""


async def has_none_left(server: EmotionServer) -> None:
    """Assert that no place is taken any more, and that the server still serves."""
    assert figure(server, "streamser_streams") == 0
    assert len(of_kind(await whole(server, encode(demo())), EMOTION)) == 4


async def hears_the_end_of(listener: Wire) -> None:
    """Assert that a stream which was broken off in an utterance has its final, and its end."""
    events = await listener.until(CLOSED)
    told = [kind for kind in kinds(events) if kind not in ("streamser.snapshot",)]
    assert told.count(STARTED) == 1
    assert told.count(EMOTION) == 1
    assert (events[-1]["utterances"], events[-1]["failed"]) == (1, 0)


def test_a_client_that_vanishes_in_an_utterance_leaves_a_whole_stream() -> None:
    """What it had said is analysed and told to listeners; its place is free again."""

    async def scene() -> None:
        async with running(Workshop()) as server, dial(server, "/v1/events", query="all") as hall:
            await hall.next()
            async with dial(server) as wire:
                await wire.sound(FIRST_WORDS)
                await wire.until(STARTED)
                await wire.break_off()
            await hears_the_end_of(hall)
            await has_none_left(server)

    asyncio.run(patience(scene()))


def test_a_client_that_vanishes_while_its_words_are_with_the_models_holds_up_nobody() -> None:
    """Others get their finals; its own comes too, when the models have done it."""
    entered, opened = threading.Semaphore(0), threading.Event()

    def wait(clips: Sequence[Clip]) -> None:
        entered.release()
        assert opened.wait(GIVE_UP_S)

    async def scene() -> None:
        async with (
            running(Workshop(wait)) as server,
            dial(server, "/v1/events", query="all") as hall,
        ):
            await hall.next()
            async with dial(server) as wire:
                await wire.sound(encode(demo()))
                await comes(entered)
                await wire.break_off()
            other = asyncio.create_task(whole(server, encode(demo())))
            opened.set()
            check_stream(await other)
            for _ in range(2):
                await hall.until(CLOSED)
            await has_none_left(server)

    asyncio.run(patience(scene()))


def test_a_sender_whose_line_is_dead_is_noticed() -> None:
    """It answers no ping: the line is cut, and what was said before is still told."""

    async def scene() -> None:
        async with (
            running(Workshop(), ping_s=0.2, pong_s=2.0) as server,
            dial(server, "/v1/events", query="all") as hall,
            dead_line(server, "/v1/realtime") as link,
        ):
            await hall.next()
            loop = asyncio.get_running_loop()
            for at in range(0, len(FIRST_WORDS), 120):
                # Short binary messages, masked with zeros.
                piece = FIRST_WORDS[at : at + 120]
                await loop.sock_sendall(link, bytes([0x82, 0x80 | len(piece)]) + bytes(4) + piece)
            while await _receive(link):
                continue
            await hears_the_end_of(hall)
            await has_none_left(server)

    asyncio.run(patience(scene()))


def test_a_listener_whose_line_is_dead_is_noticed() -> None:
    """Its place is free again, and nobody else notices."""

    async def scene() -> None:
        async with (
            running(Workshop(), ping_s=0.2, pong_s=2.0) as server,
            dead_line(server, "/v1/events?all") as link,
        ):
            while await _receive(link):
                continue
            while figure(server, "streamser_listeners"):
                await asyncio.sleep(0)
            await has_none_left(server)

    asyncio.run(patience(scene()))


async def _receive(link: object) -> bytes:
    try:
        return await asyncio.get_running_loop().sock_recv(link, 65_536)  # type: ignore[arg-type]
    except ConnectionError:
        return b""
