"""A client of the requests with a body, by hand."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import soundfile

from streamser.audio.clip import SAMPLE_RATE
from tests.server.serving import Served, demo

BOUNDARY: Final = "a-boundary-of-ours"
PLACE: Final = "/v1/audio/transcriptions"
FIELDS: Final[Mapping[str, str]] = {"model": "streamser"}


class Answer(msgspec.Struct, frozen=True):
    """Hold what a server answers."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def told(self) -> Any:
        """Return the body, JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """Return the error, which has what OpenAI's have."""
        error: dict[str, Any] = self.told["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error

    @property
    def events(self) -> list[Any]:
        """Return the events of a stream of them."""
        blocks = self.body.decode().split("\n\n")
        assert blocks.pop() == ""
        return [json.loads(block.removeprefix("data: ")) for block in blocks]


def wav(seconds: float = 15.2, begin: float = 0.0, kind: str = "WAV") -> bytes:
    """Return a stretch of the bundled conversation as a file."""
    file = io.BytesIO()
    soundfile.write(file, demo(seconds, begin), SAMPLE_RATE, format=kind)
    return file.getvalue()


def part(name: str, value: bytes, *, filename: str | None = None) -> bytes:
    """Word a part of a form."""
    file = "" if filename is None else f'; filename="{filename}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def form(
    sound: bytes | None, fields: Iterable[tuple[str, str]] = (), name: str = "talk.wav"
) -> bytes:
    """Word a form: its fields, then its file."""
    parts = [part(key, value.encode()) for key, value in (*FIELDS.items(), *fields)]
    if sound is not None:
        parts.append(part("file", sound, filename=name))
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def head(
    length: int | None,
    *,
    method: str = "POST",
    path: str = PLACE,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Word the head of a request."""
    usual = {
        "Host": "localhost",
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
        **({} if length is None else {"Content-Length": str(length)}),
        **(headers or {}),
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {it}" for name, it in usual.items() if it)]
    return "\r\n".join([*lines, "\r\n"]).encode()


@asynccontextmanager
async def wired(
    server: Served,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a server."""
    place = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def answer_of(reader: asyncio.StreamReader) -> Answer:
    """Read an answer; the server ends the connection after it."""
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    return Answer(int(first.split(" ")[1]), headers, body)


async def request(server: Served, *pieces: bytes) -> Answer:
    """Send a request as it stands here; return its answer."""
    async with wired(server) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
        return await answer_of(reader)


async def post(
    server: Served,
    body: bytes,
    *,
    path: str = PLACE,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Post a form."""
    return await request(server, head(len(body), path=path, headers=headers), body)


async def transcribed(server: Served, sound: bytes, **fields: str) -> Answer:
    """Post a file with these fields."""
    return await post(server, form(sound, fields.items()))
