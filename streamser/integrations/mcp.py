"""The tools of ``toolbox.py`` by the Model Context Protocol, on the official package."""

from __future__ import annotations

import functools
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, ParamSpec

import msgspec

from streamser import __version__
from streamser.errors import ConfigError, StreamserError
from streamser.integrations.toolbox import Answer, Toolbox

if TYPE_CHECKING:
    from mcp.server import MCPServer
    from mcp.types import CallToolResult

P = ParamSpec("P")

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_INSTRUCTIONS: Final = (
    "Emotion in speech. A reading is a guess about how speech sounds, not a fact about a person:"
    " `sure` is its probability, 0 to 1, and `unsure` names nothing. valence and arousal are -1 to"
    " 1. Do not use it for decisions about a person."
)


def build_server(toolbox: Toolbox) -> MCPServer[Any]:
    """Offer the tools by the protocol; raises ``ImportError`` without the extra ``mcp``."""
    from mcp.server import MCPServer
    from mcp.types import ToolAnnotations

    server: MCPServer[Any] = MCPServer(
        "streamser", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING"
    )
    for tool in (
        toolbox.analyze_file,
        toolbox.report,
        toolbox.list_meetings,
        toolbox.moods,
        toolbox.shifts,
        toolbox.recent,
        toolbox.follow_meeting,
    ):
        reads = tool.__name__ != "report"
        hints = ToolAnnotations(read_only_hint=reads, destructive_hint=False)
        server.add_tool(_told(tool), annotations=hints, structured_output=False)
    return server


async def serve_stdio(toolbox: Toolbox) -> None:
    """Serve one host by this process' own input and output, until it has had enough."""
    await build_server(toolbox).run_stdio_async()


async def serve_http(toolbox: Toolbox, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve hosts on this machine by streamable HTTP, at ``/mcp``; port 0 is any that is free.

    Raises ``ConfigError`` where the port cannot be had, and for an address that others reach:
    there are no tokens here, and whoever calls may read the files.
    """
    import uvicorn
    from mcp.server.transport_security import TransportSecuritySettings

    if host not in _LOOPBACK:
        raise ConfigError(f"--http {host}: only this machine may call, as 127.0.0.1:{port}.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise ConfigError(f"--http {host}:{port}: {error.strerror or error}.") from None
        # Before anybody is told where it is.
        listening.listen()
        shown = f"[{host}]" if ":" in host else host
        names = [f"{name}:*" for name in ("127.0.0.1", "localhost", "[::1]")]
        app = build_server(toolbox).streamable_http_app(
            # A page that renames its own host to this machine's must not read files.
            transport_security=TransportSecuritySettings(
                allowed_hosts=names, allowed_origins=[f"http://{name}" for name in names]
            )
        )
        tell(f"MCP at http://{shown}:{listening.getsockname()[1]}/mcp")
        config = uvicorn.Config(app, log_level="warning")
        await uvicorn.Server(config).serve(sockets=[listening])


def _told(tool: Callable[P, Awaitable[Answer]]) -> Callable[P, Awaitable[CallToolResult]]:
    """Word what a tool answers as one line of JSON, and what it raises as one sentence."""
    from mcp.types import CallToolResult, TextContent

    @functools.wraps(tool)
    async def run(*given: P.args, **named: P.kwargs) -> CallToolResult:
        try:
            answer = await tool(*given, **named)
        except StreamserError as error:
            return CallToolResult(content=[TextContent(text=f"{error}")], is_error=True)
        text = msgspec.json.encode(answer).decode()
        return CallToolResult(content=[TextContent(text=text)], structured_content=answer)

    return run
