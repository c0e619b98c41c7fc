"""``streamser mcp``: the official client finds the tools, by either way, and uses them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import soundfile
from mcp import Client, StdioServerParameters
from mcp.types import TextContent

from tests.cli.running import PROGRAM, refuses, run, start
from tests.server.serving import demo, patience

TOOLS = {
    "analyze_file",
    "report",
    "list_meetings",
    "moods",
    "shifts",
    "recent",
    "follow_meeting",
}
DOCUMENT = Path(__file__).parents[2] / "docs" / "mcp.md"


async def call(client: Client, tool: str, **given: Any) -> tuple[bool, str]:
    """Call a tool; return whether it failed, and what it says."""
    result = await client.call_tool(tool, given)
    (content,) = result.content
    assert isinstance(content, TextContent)
    if not result.is_error:
        assert json.loads(content.text) == result.structured_content
        assert "\n" not in content.text
    return bool(result.is_error), content.text


@contextmanager
def http(*arguments: str | Path) -> Iterator[str]:
    """Run the command on a port; yield its address, and end it by Ctrl-C."""
    program = start("mcp", "--http", "127.0.0.1:0", *arguments)
    try:
        assert program.stderr is not None
        found = re.search(r"http://\S+", program.stderr.readline())
        assert found
        yield found[0]
    finally:
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=30)


def test_a_host_uses_the_tools_by_standard_input_and_output(tmp_path: Path) -> None:
    """As its configuration in the document says; nothing else is on standard output."""
    soundfile.write(tmp_path / "talk.flac", demo(), 16_000)
    (block,) = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text("utf-8"), re.S)
    (entry,) = json.loads(block)["mcpServers"].values()
    assert entry["command"] == "streamser"
    typed = [str(tmp_path) if each == "/home/ann/recordings" else each for each in entry["args"]]
    assert str(tmp_path) in typed
    server = StdioServerParameters(
        command=sys.executable,
        args=[*PROGRAM[1:], *typed, "--config", "voice-only"],
        env=dict(os.environ),
    )

    async def scene() -> None:
        async with Client(server) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
            failed, told = await call(client, "analyze_file", path="talk.flac")
            assert not failed
            assert len(json.loads(told)["utterances"]) == 4
            failed, told = await call(client, "analyze_file", path="../talk.flac")
            assert failed
            assert told.startswith("'../talk.flac' is outside of what may be read")
            failed, told = await call(client, "moods", meeting="standup")
            assert failed
            assert "nobody listens there" in told

    asyncio.run(patience(scene()))


def test_a_host_on_this_machine_uses_them_by_http(tmp_path: Path) -> None:
    """Pages that call this machine by another name do not."""

    async def scene(url: str) -> None:
        async with Client(url) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert tools.keys() == TOOLS
            assert all(tool.description for tool in tools.values())
            failed, told = await call(client, "report", path="nothing.wav")
            assert (failed, told) == (True, "'nothing.wav': there is no such file.")

    with http("--allow", tmp_path) as url:
        asyncio.run(patience(scene(url)))
        for name in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            asked = urllib.request.Request(url, b"{}", {"Content-Type": "application/json", **name})
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(asked, timeout=10)
            assert refused.value.code in (403, 421)


def test_ctrl_c_ends_it_though_the_host_is_still_there() -> None:
    """At once, and without a traceback."""
    greeting = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "a host", "version": "1"},
        },
    }
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*PROGRAM, "mcp"], text=True, bufsize=1, stdin=pipe, stdout=pipe, stderr=pipe
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdin.write(json.dumps(greeting) + "\n")
        answer = json.loads(program.stdout.readline())
        assert answer["result"]["serverInfo"]["name"] == "streamser"
        program.send_signal(signal.SIGINT)
        assert program.wait(20) == 130
        assert program.stderr.read() == ""


def test_without_the_package_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    refuses(run("mcp"), 1, "pip install 'streamser[mcp]'")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--http", "8378"), "give HOST:PORT"),
        (("--http", "127.0.0.1:99999"), "give HOST:PORT"),
        (("--http", "0.0.0.0:0"), "only this machine may call"),
        (("--allow", "/no/such/folder"), "there is no such folder"),
        (("--token", "0123456789abcdef"), "go with --server"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    """Before anything is served."""
    refuses(run("mcp", *arguments), 2, said)


def test_a_server_that_has_no_address_is_told_before_a_model_asks() -> None:
    """It stands in a file of the host's, where nobody sees what a tool answers."""
    refuses(run("mcp", "--server", "127.0.0.1:8377"), 1, "is no address of a server")
