"""``streamser doctor``: what works on this machine, in plain words."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamser.cli.talk import coloured
from streamser.visible import printable

if TYPE_CHECKING:
    from streamser.cli.checks import Check

__all__ = ["doctor"]

_NAME = 29
_MARKS = {"works": ("✓", "green"), "absent": ("–", "bright_black"), "broken": ("✗", "red")}
_TITLES = {
    "machine": "This machine",
    "microphone": "Microphone",
    "audio": "Reading sound",
    "vad": "Finding speech",
    "asr": "Understanding words",
    "emotion": "Reading emotion",
    "plugins": "Plug-ins",
    "speed": "Speed",
}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="A list of checks as JSON.")] = False,
) -> None:
    """Say what works on this machine.

    And what does not, and what to do about it. Exit code 0 if `listen` can run with
    something, else 1.
    """
    from streamser.cli.checks import can_listen, run_checks

    done: list[Check] = []
    for check in run_checks():
        if not as_json:
            _print(check, first=all(check.group != earlier.group for earlier in done))
        done.append(check)
    ready = can_listen(done)
    if as_json:
        from streamser.cli.streams import print_json

        report = {"can_listen": ready, "checks": done}
        print_json(report)
    else:
        verdict = "streamser can run here." if ready else "streamser cannot run here: see ✗ above."
        _write(f"\n{verdict}", bold=True)
    if not ready:
        raise typer.Exit(1)


def _print(check: Check, *, first: bool) -> None:
    if first:
        _write(_TITLES[check.group], bold=True)
    mark, colour = _MARKS[check.status]
    _write(f"  {mark} ", fg=colour, nl=False)
    _write(f"{check.name:<{_NAME}} {check.found}")
    if check.advice:
        _write(f"{'':<{_NAME + 5}}→ {check.advice}", dim=True)


def _write(text: str, *, nl: bool = True, **style: Any) -> None:
    text = "\n".join(map(printable, text.split("\n")))
    typer.echo(typer.style(text, **style) if coloured(sys.stdout) else text, nl=nl)
