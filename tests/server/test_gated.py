"""Clients that send nothing in pauses: push-to-talk, a gate of one's own, a muted track."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from streamser.hosting.hosted import LocalSession
from tests.server.serving import EMOTION, Stage, demo, dial, encode, of_kind

SPOKEN = encode(demo(1.5))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Run a server that takes a quarter of a second without sound for the end."""
    stage = Stage({"endpointing.no_sound_ms": 250})
    yield stage
    stage.close()


def test_the_final_comes_though_nothing_more_is_sent(stage: Stage) -> None:
    """And what is said next is an utterance of its own."""

    async def scene() -> None:
        async with dial(stage.server, query="rate=16000") as wire:
            for number in (1, 2):
                await wire.sound(SPOKEN)
                told = await wire.until(EMOTION)
                (stopped,) = of_kind(told, "input_audio_buffer.speech_stopped")
                assert stopped["reason"] == "no_sound"
                assert len(of_kind(told, EMOTION)) == 1, number
            assert len(of_kind(await wire.finish(), EMOTION)) == 0

    stage.play(scene())


def test_clients_of_deepgram_get_their_final_too(stage: Stage) -> None:
    """Of speech that has ended, and not as if they had asked for it to be finalised."""

    async def scene() -> None:
        query = "encoding=linear16&sample_rate=16000"
        async with dial(stage.server, "/v1/listen", query=query) as wire:
            await wire.sound(SPOKEN)
            await wire.raw('{"type": "KeepAlive"}')
            told = json.loads(await wire.connection.recv(decode=True))
            while not told.get("is_final"):
                told = json.loads(await wire.connection.recv(decode=True))
            assert told["speech_final"]
            assert not told["from_finalize"]

    stage.play(scene())


def test_one_who_has_vanished_comes_back_to_the_same_utterance(stage: Stage) -> None:
    """The rest of its sound is still to come: only the line is gone."""

    async def scene() -> None:
        query = f"rate=16000&stream={'s' * 16}"
        async with dial(stage.server, query=query) as wire:
            await wire.sound(SPOKEN)
            await wire.until("input_audio_buffer.speech_started")
            await wire.break_off()
        sessions = stage.server._sessions
        assert sessions is not None
        (held,) = sessions._sessions
        while not held.stream.away:
            await asyncio.sleep(0)
        hosted = held.stream._handle
        assert isinstance(hosted, LocalSession)
        for _ in range(4):
            hosted._hosted._let_time_pass()
        async with dial(stage.server, query=query) as wire:
            told = await wire.until("streamser.session.resumed")
            await wire.sound(SPOKEN)
            told += await wire.until(EMOTION)
            (stopped,) = of_kind(told, "input_audio_buffer.speech_stopped")
            assert stopped["audio_end_ms"] > 2000

    stage.play(scene())
