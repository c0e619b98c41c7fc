"""``streamser mcp``: tools for language models, by the Model Context Protocol."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from streamser.cli.console import catching, leave_at_once, tell
from streamser.cli.options import (
    Common,
    ServerCertificate,
    ServerToken,
    needs_extra,
    takes_settings,
)
from streamser.errors import ConfigError
from streamser.text import read_place


@takes_settings
def mcp(
    common: Common,
    http: Annotated[
        str | None,
        typer.Option(
            "--http",
            metavar="HOST:PORT",
            help="Serve hosts on this machine by HTTP, in place of standard input and output.",
        ),
    ] = None,
    allow: Annotated[
        list[Path] | None,
        typer.Option(
            "--allow", metavar="DIR", help="Files in it may be read; repeatable. [the current one]"
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="URL", help="The server whose meetings are asked about."),
    ] = None,
    token: ServerToken = None,
    ca: ServerCertificate = None,
) -> None:
    """Offer tools to a language model's host (Model Context Protocol).

    Files are analysed and summed up (analyze_file, report), the meetings of a running server
    are asked about (list_meetings, moods, shifts, recent, follow_meeting). Nothing is written
    but the page that report is asked for.
    """
    with needs_extra("mcp", "streamser mcp"):
        from mcp.server import MCPServer as _  # noqa: F401 - before anything else is loaded

    from streamser.integrations.mcp import serve_http, serve_stdio
    from streamser.integrations.toolbox import AllowedFolders, MeetingServer, Toolbox

    if server is None and (token is not None or ca is not None):
        raise ConfigError("--token and --ca go with --server URL: add it.")
    place = None if http is None else _read_place(http)
    folders = AllowedFolders(allow or [Path()])
    token = token or os.environ.get("STREAMSER_TOKEN") or None
    asked = None if server is None else MeetingServer(server, token, ca)
    settings = common.load({"partial.every_ms": 0})
    toolbox = Toolbox(settings, folders, asked, tell)
    try:
        if place is None:
            # A thread waits for the host's next line, which nothing but the host could end.
            with catching(_leave, "SIGINT", "SIGTERM", "SIGHUP"):
                asyncio.run(serve_stdio(toolbox))
        else:
            asyncio.run(serve_http(toolbox, *place, tell))
    finally:
        toolbox.close()


def _leave(number: int, frame: FrameType | None) -> None:
    leave_at_once(128 + number)


def _read_place(given: str) -> tuple[str, int]:
    try:
        return read_place(given)
    except ValueError:
        raise ConfigError(f"--http {given}: give HOST:PORT, such as 127.0.0.1:8378.") from None
