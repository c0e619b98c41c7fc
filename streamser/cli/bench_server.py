"""The server that a measurement starts, or finds; shared by ``bench load`` and ``bench soak``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from streamser.cli.common import Common
from streamser.cli.report_files import check_writable
from streamser.config import Settings
from streamser.errors import ConfigError

__all__ = [
    "EmotionOnly",
    "OwnPlan",
    "PlotFile",
    "RecordingsFolder",
    "ServerUrl",
    "Token",
    "check_files",
    "check_server",
    "plan_own",
    "refuse_settings",
    "shown_command",
]

_PICTURES = (".png", ".svg", ".pdf")

RecordingsFolder = Annotated[
    Path | None,
    typer.Option(
        "--recordings",
        metavar="DIR",
        help="WAV and FLAC files to string together. [the bundled demo]",
    ),
]
ServerUrl = Annotated[
    str | None,
    typer.Option("--server", metavar="URL", help="One that runs already. [starts its own]"),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", metavar="TOKEN", envvar="STREAMSER_TOKEN", help="Where the server wants one."
    ),
]
EmotionOnly = Annotated[
    bool, typer.Option("--emotion-only", help="No words: nothing is transcribed.")
]
PlotFile = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw it: .png, .svg or .pdf.", readable=False),
]


class OwnPlan(msgspec.Struct, frozen=True):
    """Say how a server is started: the arguments of ``streamser serve``.

    ``settings`` are those in force, ``changed`` those of them that are not the default.
    """

    arguments: tuple[str, ...]
    settings: Settings
    changed: dict[str, str]


def plan_own(common: Common, streams: int, *, emotion_only: bool) -> OwnPlan:
    """Plan a server that lets twice as many streams in; raises ``ConfigError``."""
    if emotion_only and common.flags.get("asr.engine", "none") != "none":
        raise ConfigError("--emotion-only and --asr do not go together: leave one out.")
    # What is late is what is measured: it must not keep streams out.
    flags: dict[str, Any] = {"server.port": 0, "server.late_s": 0.0, "server.token_share": 1.0}
    if emotion_only:
        flags["asr.engine"] = "none"
    limits = common.load(flags).settings.server
    # Twice: streams that were there before may still be saying goodbye.
    if limits.max_sessions < 2 * streams:
        flags["server.max_sessions"] = 2 * streams
    effective = common.load(flags)
    changed = {
        key: str(value)
        for key, value, origin, _ in effective.rows()
        if origin != "default" and key != "server.port"
    }
    arguments = _arguments(common.configs, flags | common.flags)
    return OwnPlan(arguments, effective.settings, changed)


def check_server(common: Common, server: str) -> None:
    """Raise ``ConfigError`` where a server's address is none, or settings are given for it."""
    refuse_settings(
        common, "--server", "the server there has its own settings; leave it out.", server=None
    )
    from streamser.client.wire import REALTIME, ServerError, endpoint

    try:
        endpoint(server, REALTIME, {})
    except ServerError as error:
        raise ConfigError(f"--server {error}") from None


def refuse_settings(common: Common, option: str, why: str, *, server: str | None) -> None:
    """Raise ``ConfigError`` where a server is given, or settings for one."""
    given = [f"--set {key}" for key in common.flags]
    given += ["--config"] if common.configs else []
    given += ["--server"] if server is not None else []
    if given:
        raise ConfigError(f"{given[0]} with {option}: {why}")


def shown_command(arguments: Sequence[str]) -> str:
    """Write the command line as it may be shown: no token."""
    told: list[str] = []
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if told and told[-1] == "--token":
            argument = "…"
        elif name == "--token" and equals:
            argument = "--token=…"
        told.append(argument)
    return shlex.join(["streamser", *told])


def check_files(files: Mapping[str, Path | None]) -> None:
    """Refuse files that cannot be written or drawn, before minutes are spent on them."""
    for option, file in files.items():
        if file is not None:
            check_writable(option, file)
    plot = files["--plot"]
    if plot is None:
        return
    if plot.suffix.lower() not in _PICTURES:
        raise ConfigError(f"--plot {plot}: name a {', '.join(_PICTURES)} file.")
    from streamser.bench.load_plot import check_plotting

    check_plotting()


def _arguments(configs: Sequence[str], flags: Mapping[str, Any]) -> tuple[str, ...]:
    """Write settings as ``streamser serve`` takes them."""
    told = [part for config in configs for part in ("--config", config)]
    for key, value in flags.items():
        told += ["--set", f"{key}={str(value).lower() if isinstance(value, bool) else value}"]
    return tuple(told)
