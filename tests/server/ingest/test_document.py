"""The bot that docs/meeting-bots.md shows can be run, and what it sends is heard."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

from streamser.server.handshake import INGEST
from tests.cli.running import DEMO
from tests.server.serving import EMOTION, address, dial, of_kind, patience, serving

PAGE = (Path(__file__).parents[3] / "docs" / "meeting-bots.md").read_text(encoding="utf-8")


def test_the_bot_of_the_document_is_heard_by_who_listens_to_its_meeting() -> None:
    """The bundled conversation, of one participant, to its end."""
    (snippet,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)

    async def scene() -> None:
        async with (
            serving() as server,
            dial(server, "/v1/events", query="meeting=bot_1") as listener,
        ):
            url = address(server, "/v1/ingest/attendee")
            bot = await asyncio.create_subprocess_exec(
                sys.executable, "-c", snippet, url, str(DEMO), stderr=asyncio.subprocess.PIPE
            )
            told = await listener.until("streamser.session.closed")
            _, said = await bot.communicate()
            assert (bot.returncode, said) == (0, b"")
        assert len(of_kind(told, EMOTION)) == 24

    asyncio.run(patience(scene()))


def test_the_calls_of_the_document_name_addresses_that_there_are() -> None:
    """Each is JSON as the makers of the bots want it."""
    calls = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.S)]
    attendee = calls[0]["websocket_settings"]["per_participant_audio"]["url"]
    recall = calls[1]["recording_config"]["realtime_endpoints"][0]["url"]
    paths = [re.sub(r"wss://[^/]+|\?.*", "", url) for url in (attendee, recall)]
    assert paths == list(INGEST)
