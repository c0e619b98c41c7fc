"""The options that every analysing command shares, defined once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Concatenate, ParamSpec

import msgspec
import typer

from streamser.config import EffectiveSettings, load_settings
from streamser.cores import use_one_blas_thread
from streamser.errors import ConfigError

__all__ = ["Common", "read_assignments", "takes_settings"]

P = ParamSpec("P")


class Common(msgspec.Struct, frozen=True):
    """Hold the shared options as they were typed."""

    configs: tuple[str, ...]
    flags: dict[str, Any]

    def load(
        self, flags: Mapping[str, Any] | None = None, *, preset: str | None = None
    ) -> EffectiveSettings:
        """Load the settings in force.

        ``flags`` are dotted keys that a command adds of its own (``None``: not given); what
        the user typed wins over them. ``preset`` is used where the user names no config.
        Raises ``ConfigError``.
        """
        own = {key: value for key, value in (flags or {}).items() if value is not None}
        configs = self.configs or ((preset,) if preset is not None else ())
        return load_settings(*configs, flags=own | self.flags)


def _common(
    *,
    config: Annotated[
        list[str] | None,
        typer.Option(
            "--config", metavar="NAME|PATH", help="Preset or TOML file of settings; repeat."
        ),
    ] = None,
    asr: Annotated[
        str | None,
        typer.Option("--asr", metavar="ENGINE", help="auto, whisper, none or a plug-in."),
    ] = None,
    asr_model: Annotated[
        str | None,
        typer.Option("--asr-model", metavar="MODEL", help="Whisper size, hub name or directory."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Emotion model: compact, rules, a plug-in, a checkpoint, a hub name, or public"
            " models (`streamser models`) with + between.",
        ),
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", metavar="CODE", help="Language spoken, such as en."),
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Never look for anything on the network.")
    ] = False,
    channel: Annotated[
        int | None,
        typer.Option("--channel", metavar="N", help="Listen to one channel only, from 0."),
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting by its dotted key; repeat."),
    ] = None,
) -> Common:
    flags: dict[str, Any] = {
        "audio.channel": channel,
        "asr.engine": asr,
        "asr.model": asr_model,
        "asr.language": language,
        "emotion.model": model,
        "offline": True if offline else None,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    return Common(tuple(config or ()), given | read_assignments(assign or ()))


def read_assignments(pairs: Sequence[str]) -> dict[str, str]:
    """Read what is given as ``--set KEY=VALUE``; raises ``ConfigError`` where there is no ``=``."""
    flags = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--set {pair}: write it as KEY=VALUE, such as asr.beam_size=5.")
        flags[key.strip()] = value.strip()
    return flags


def takes_settings(command: Callable[Concatenate[Common, P], None]) -> Callable[..., None]:
    """Give a command the shared options; it receives them as its first argument."""
    shared = inspect.signature(_common, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)
    parameters = [*list(own.parameters.values())[1:], *shared.values()]

    def run(**values: Any) -> None:
        use_one_blas_thread()
        common = _common(**{name: values.pop(name) for name in shared})
        command(common, **values)  # type: ignore[call-arg]

    # Typer reads a command's options from its signature.
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        sorted(parameters, key=lambda parameter: parameter.kind)
    )
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    return run
