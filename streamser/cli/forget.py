"""``streamser forget``: take what somebody said out of the recordings of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli.console import counted, tell, warn
from streamser.errors import ConfigError, StreamserError
from streamser.text import read_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamser.export.erase import Deed


def forget(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Recordings, as serve --export keeps them.")
    ],
    speaker: Annotated[
        str | None, typer.Option("--speaker", metavar="NAME", help="Who is to be forgotten.")
    ] = None,
    meeting: Annotated[
        str | None, typer.Option("--meeting", metavar="NAME", help="Only in this one. [all]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; change nothing.")
    ] = False,
) -> None:
    """Take all that somebody said out of the recordings of a folder.

    What was made of them is made again. What cannot be reached, as sound, is said: then, and
    where nobody of that name is found, the exit code is 1.
    """
    from streamser.export.erase import apply, leftovers, plan
    from streamser.export.forget import Person

    if speaker is None:
        raise ConfigError("say who is to be forgotten: --speaker NAME.")
    if not folder.is_dir():
        raise ConfigError(f"{folder}: there is no such folder; give the one of --export.")
    person = Person(
        read_name(speaker, "--speaker"),
        None if meeting is None else read_name(meeting, "--meeting"),
    )
    deeds, notes = plan(folder, person)
    where = "" if person.meeting is None else f" in the meeting {person.meeting}"
    for note in notes if deeds else ():
        warn(f"{note} What is passed over does not stay.")
    done: list[Deed] = []
    for deed in deeds:
        try:
            done.append(deed if dry_run else apply(deed, person))
        except OSError as error:
            why = f"{error.strerror or error}: this file is as it was"
            raise StreamserError(f"{deed.path}: {why}.", code="output_failed") from None
        _say(done[-1], dry_run=dry_run)
    foreign, known = leftovers(folder, person, done)
    for deed in foreign:
        _say(deed, dry_run=dry_run)
    if known:
        files = counted(len(known), "file")
        why = "the words of others" + ("" if meeting is None else ", or another meeting")
        tell(f"{files} with the name left as they are: {why} ({known[0].name} …).")
    if not deeds:
        raise StreamserError(
            f"{folder}: nobody called {person.speaker} speaks{where} in any recording there.",
            code="unknown_session",
        )
    _sum_up([*done, *foreign], person.speaker)


def _say(deed: Deed, *, dry_run: bool) -> None:
    if deed.what == "keep":
        warn(f"{deed.path}: not touched: {deed.why}.")
        return
    done = {"rewrite": "rewritten", "remake": "made again", "remove": "removed"}[deed.what]
    name = "" if deed.to == deed.path else f" as {deed.to.name}"
    tell(f"{deed.path}: {'would be ' if dry_run else ''}{done}{name}: {deed.why}.")


def _sum_up(deeds: Sequence[Deed], speaker: str) -> None:
    """End with exit code 1 where something is left to do by hand."""
    kept = sum(deed.what == "keep" for deed in deeds)
    tell("Copies elsewhere, what plug-ins keep and a running server's memory are not reached.")
    if kept:
        warn(f"{counted(kept, 'file')} may still tell of {speaker}: see above.")
        raise typer.Exit(1)
