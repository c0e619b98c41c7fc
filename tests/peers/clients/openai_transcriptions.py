"""Let the openai SDK transcribe files by REST, and print what it makes of the answers.

Runs in the SDK's own environment: ``python openai_transcriptions.py URL TOKEN SOUND WAY``. Ways:
``formats`` asks for each of them, by files of different kinds of objects; ``stream`` iterates over
events; ``models`` lists them; ``errors`` does what cannot be done, and shows what is raised.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from openai import (  # type: ignore[import-not-found]
    APIStatusError,
    AsyncOpenAI,
    OpenAI,
)


def show(kind: str, value: Any) -> None:
    """Print what the SDK returned, with the class that it made of it."""
    text = value if isinstance(value, str) else None
    seen = {} if text is not None else value.model_dump(mode="json", warnings=False)
    print(json.dumps({"class": type(value).__name__, "text": text, **seen, "type": kind}))


def formats(client: OpenAI, path: Path) -> None:
    """Ask for each format."""
    create = client.audio.transcriptions.create
    show("json", create(model="streamser", file=path))
    show("text", create(model="whisper-1", file=path.open("rb"), response_format="text"))
    for name in ("srt", "vtt"):
        file = ("talk.wav", path.read_bytes())
        show(name, create(model="whisper-1", file=file, response_format=name, language="en"))
    verbose = create(
        model="whisper-1",
        file=path,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        temperature=0.2,
        prompt="A talk.",
    )
    show("verbose_json", verbose)
    # By attribute, as users reach what the SDK has no field for.
    print(json.dumps({"type": "attribute", "emotion": verbose.segments[0].emotion["category"]}))


def stream(client: OpenAI, path: Path) -> None:
    """Iterate over events."""
    with client.audio.transcriptions.create(
        model="streamser", file=path, stream=True, response_format="json"
    ) as events:
        for event in events:
            show("event", event)
            kind = {"type": "kind", "kind": event.type, "class": type(event).__name__}
            print(json.dumps(kind))


async def stream_async(client: AsyncOpenAI, path: Path) -> None:
    """Do it once more in a loop, and leave in the middle."""
    events = await client.audio.transcriptions.create(model="streamser", file=path, stream=True)
    async for event in events:
        print(json.dumps({"type": "first", "kind": event.type}))
        break
    await events.close()


def models(client: OpenAI) -> None:
    """List models, and look at one."""
    for model in client.models.list():
        show("model", model)
    show("one", client.models.retrieve("streamser"))


def caught(what: str, call: Callable[[], Any]) -> None:
    """Show what is raised."""
    try:
        call()
    except APIStatusError as error:
        seen = {"class": type(error).__name__, "status": error.status_code, "code": error.code}
        print(json.dumps({"type": what, **seen, "param": error.param}))
    else:
        print(json.dumps({"type": what, "class": None}))


def errors(client: OpenAI, path: Path) -> None:
    """Do what cannot be done."""
    create = client.audio.transcriptions.create
    caught("no sound", lambda: create(model="streamser", file=("a.wav", b"no sound at all")))
    caught("format", lambda: create(model="streamser", file=path, response_format="diarized_json"))
    caught("model", lambda: create(model="gpt-9", file=path))
    caught("retrieve", lambda: client.models.retrieve("gpt-9"))
    caught("too big", lambda: create(model="streamser", file=("a.wav", bytes(26 * 2**20))))
    stranger = client.with_options(api_key="nobody")
    caught("token", lambda: stranger.audio.transcriptions.create(model="streamser", file=path))
    caught("list", stranger.models.list)


def crowd(client: OpenAI, path: Path) -> None:
    """Send more files at once than a server takes, and be patient with some."""

    async def one(client: AsyncOpenAI) -> str:
        try:
            await client.audio.transcriptions.create(model="streamser", file=path)
        except APIStatusError as error:
            return type(error).__name__
        return "done"

    async def all_of(count: int, retries: int) -> list[str]:
        async with AsyncOpenAI(
            api_key=client.api_key, base_url=client.base_url, max_retries=retries
        ) as each:
            return await asyncio.gather(*(one(each) for _ in range(count)))

    print(json.dumps({"type": "crowd", "ends": asyncio.run(all_of(8, 0))}))


def main(url: str, token: str, file: str, way: str) -> None:
    """Do one of these."""
    client = OpenAI(api_key=token, base_url=url, max_retries=0)
    path = Path(file)
    ways: dict[str, Callable[[], None]] = {
        "formats": lambda: formats(client, path),
        "stream": lambda: stream(client, path),
        "leave": lambda: asyncio.run(stream_async(AsyncOpenAI(api_key=token, base_url=url), path)),
        "models": lambda: models(client),
        "errors": lambda: errors(client, path),
        "crowd": lambda: crowd(client, path),
    }
    ways[way]()


main(*sys.argv[1:])
