"""``streamser cluster``: several servers as one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from streamser.cli.console import print_json, tell
from streamser.cli.options import Common, takes_settings
from streamser.errors import ConfigError, StreamserError

if TYPE_CHECKING:
    from streamser.cluster.records import NodeState
    from streamser.cluster.store import ClusterStore

T = TypeVar("T")

Redis = Annotated[
    str | None, typer.Option("--redis", metavar="URL", help="The Redis of the servers.")
]

cluster_app = typer.Typer(
    help="Let several servers be one: place their meetings, see them, let one leave.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@cluster_app.command("haproxy")
def haproxy(
    node: Annotated[
        list[str], typer.Option("--node", metavar="NAME=HOST:PORT", help="A server; for each.")
    ],
    bind: Annotated[
        str, typer.Option("--bind", metavar="HOST:PORT", help="Where clients come in.")
    ] = ":8080",
    certificate: Annotated[
        Path | None, typer.Option("--tls", metavar="F", help="Certificate and key, one PEM file.")
    ] = None,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Look hosts up anew: of containers, of pods.")
    ] = False,
) -> None:
    """Print the configuration of an HAProxy that brings every meeting to one server."""
    from streamser.cluster.haproxy import haproxy_config, read_backend

    tls = None if certificate is None else str(certificate)
    backends = list(map(read_backend, node))
    typer.echo(haproxy_config(backends, bind, certificate=tls, resolve=resolve), nl=False)


@cluster_app.command("nodes")
@takes_settings
def nodes(
    common: Common,
    redis: Redis = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with their meetings.")] = False,
) -> None:
    """List the servers that live, and how full they are."""

    async def ask(store: ClusterStore) -> list[NodeState]:
        return await store.nodes()

    found = _ask(common, redis, ask)
    if as_json:
        import msgspec

        print_json([msgspec.to_builtins(node) for node in found])
        return
    if not found:
        raise StreamserError("no server lives: start one with `streamser serve --redis URL`.")
    _print_nodes(found)


@cluster_app.command("drain")
@takes_settings
def drain(
    common: Common,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A server, as `streamser cluster nodes` has it.")
    ],
    redis: Redis = None,
    within: Annotated[
        float,
        typer.Option(
            "--within", min=0, max=86_400, metavar="S", help="Its streams may go on for so long."
        ),
    ] = 300.0,
) -> None:
    """Let a server end: nobody new is let in, those there may go on for a while.

    Who is still there then comes back to another server, which goes on where this one has ended.
    """

    async def ask(store: ClusterStore) -> list[NodeState]:
        meant = named(name, await store.nodes())
        await store.ask_to_leave(meant.name, within)
        return [meant]

    (node,) = _ask(common, redis, ask)
    tell(f"{node.name} leaves within {within:g} s; {node.streams} streams are there.")


@cluster_app.command("forget")
@takes_settings
def forget(
    common: Common,
    meeting: Annotated[str, typer.Argument(metavar="MEETING", help="Its name.")],
    redis: Redis = None,
) -> None:
    """Delete at once what Redis keeps of a meeting: words, readings, what is usual for speakers.

    While it goes on it is kept anew from here on.
    """

    async def ask(store: ClusterStore) -> bool:
        return await store.forget(meeting)

    if not _ask(common, redis, ask):
        raise StreamserError(f"nothing is kept of a meeting {meeting[:80]!r}.")
    tell(f"Redis keeps nothing of {meeting[:80]!r} any more.")


def named(name: str, living: Sequence[NodeState]) -> NodeState:
    """Return the one server that is called so, with or without what tells its starts apart.

    Raises ``ConfigError`` where there is none, or where there are several: one must not let all
    leave by the name of their machine.
    """
    found = [node for node in living if name in (node.name, node.name.rpartition("-")[0])]
    if not found:
        raise ConfigError(f"no server {name[:80]} lives: see `streamser cluster nodes`.")
    if len(found) > 1:
        names = ", ".join(node.name for node in found)
        raise ConfigError(f"{len(found)} servers are called {name[:80]}: say which of {names}.")
    return found[0]


def _ask(common: Common, redis: str | None, ask: Callable[[ClusterStore], Awaitable[T]]) -> T:
    """Ask the Redis of a cluster something; raises ``StreamserError`` where it is away."""
    from streamser.cluster.reach import StoreAway
    from streamser.cluster.store import ClusterStore

    settings = common.load({"cluster.redis": redis}).cluster
    if settings.redis is None:
        raise ConfigError("say where the servers' Redis is: --redis redis://HOST:6379/0.")

    async def run() -> T:
        store = ClusterStore(settings, "")
        try:
            return await ask(store)
        except StoreAway as away:
            why = away.why.replace("cluster.redis", "--redis")
            raise StreamserError(f"Redis is away: {why}.", code="redis_away") from None
        finally:
            await store.close()

    return asyncio.run(run())


def _print_nodes(found: list[NodeState]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for title in ("name", "address", "streams", "listeners", "meetings", ""):
        table.add_column(title)
    for node in found:
        table.add_row(
            node.name,
            node.address,
            f"{node.streams} of {node.most_streams}",
            str(node.listeners),
            str(len(node.meetings)),
            "leaving" if node.draining else "",
        )
    Console().print(table)
