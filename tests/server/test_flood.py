"""One client that sends messages without end, and everybody else."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from streamser.server.app import EmotionServer
from tests.server.serving import Told, check_stream, dial, kinds, of_kind, patience, serving

FEW = {"server.message_rate": 1000.0, "server.message_burst": 4, "server.backlog_events": 16}


async def listened(server: EmotionServer) -> tuple[list[Told], list[Told]]:
    """Flood a server with what cannot be read; return what the sender and a listener are told."""
    async with dial(server, "/v1/events", query="all") as listener:
        async with dial(server) as wire:
            for _ in range(100):
                await wire.raw("x")
            await wire.send("input_audio_buffer.commit", event_id="empty")
            own = await wire.finish()
        return own, await listener.until("streamser.session.closed")


def test_what_a_client_does_wrong_is_told_to_it_alone() -> None:
    """Without a number, so that nothing is missing for listeners."""

    async def scene() -> None:
        async with serving(FEW) as server:
            own, others = await listened(server)
        errors = of_kind(own, "error")
        codes = [event["error"]["code"] for event in errors]
        assert codes == ["invalid_json"] * 100 + ["input_audio_buffer_commit_empty"]
        assert {event["seq"] for event in errors} == {0}
        assert not of_kind(others, "error")
        numbers = [event["seq"] for event in others if event.get("session_id")]
        assert numbers == list(range(1, len(numbers) + 1))

    asyncio.run(patience(scene()))


def test_a_listener_is_not_slow_where_it_had_no_turn() -> None:
    """Many events of one moment are more than its backlog; it reads them all."""

    async def scene() -> None:
        async with serving({"server.backlog_events": 16, "server.message_burst": 1000}) as server:
            async with dial(server, "/v1/events", query="all") as listener:
                async with dial(server) as wire:
                    for n in range(300):
                        await wire.send("streamser.marker", id=str(n))
                    await wire.finish()
                told = await listener.until("streamser.session.closed")
            assert kinds(told).count("streamser.marker") == 300

    asyncio.run(patience(scene()))


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/events"])
def test_who_does_not_stop_is_closed_and_nobody_else(path: str) -> None:
    """With 1008, after it was told why; who listens to everything stays, and misses nothing."""

    async def scene() -> None:
        flags = {"server.message_rate": 20.0, "server.message_burst": 20}
        async with serving(flags) as server, dial(server, "/v1/events", query="all") as listener:
            query = "all" if path == "/v1/events" else ""
            async with dial(server, path, query=query) as wire:
                with suppress(ConnectionClosed):
                    for _ in range(200):
                        await wire.raw("x")
                await wire.rest()
                assert wire.code == 1008
            async with dial(server) as honest:
                own = await honest.finish()
            heard = await listener.until("streamser.session.closed")
            while heard[-1]["session_id"] != own[-1]["session_id"]:
                heard += await listener.until("streamser.session.closed")
        check_stream(own)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamser.server.limits._PATIENCE_S", 0.0)
        asyncio.run(patience(scene()))
