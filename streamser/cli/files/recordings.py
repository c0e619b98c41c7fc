"""``streamser report`` and ``streamser forget``: recordings on a page, or without somebody."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streamser.cli import options
from streamser.cli.console import counted, tell, warn
from streamser.errors import ConfigError, StreamserError
from streamser.text import read_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamser.export.erase import Deed
    from streamser.export.records import Recording
    from streamser.report.cards import SoundClip


def report(
    files: options.SessionFiles,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE", help="The page. [beside the session]", readable=False
        ),
    ] = None,
    audio: Annotated[
        Path | None,
        typer.Option(
            "--audio", metavar="F", help="Put this sound of it into the page.", readable=False
        ),
    ] = None,
    with_audio: Annotated[
        bool,
        typer.Option("--with-audio", help="Put the sound into the page that the session names."),
    ] = False,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", metavar="DIR", help="Also draw PNG and SVG files there."),
    ] = None,
    session: options.SessionIds = None,
    meeting: options.Meeting = None,
    one_clock: options.OneClock = False,
) -> None:
    """Write a page on a recorded session: timeline, transcript, shares, shifts, latency.

    It opens without a network and holds no sound unless that is asked for. Several files of one
    meeting become one page. An old page is replaced.
    """
    from streamser.export.formats import save
    from streamser.export.read import without_folders
    from streamser.report.figures import figures_of
    from streamser.report.page import render_page

    if audio is not None and with_audio:
        raise ConfigError("--audio and --with-audio exclude each other: choose one.")
    files = options.find_sessions(files)
    named = out is not None
    out = files[0].with_suffix(".html") if out is None else out
    options.check_writable("--out", out)
    if any(options.is_same(out, file) for file in (*files, *([audio] if audio else []))):
        raise ConfigError(f"--out {out}: that is what is read; name another file.")
    if plots is not None:
        from streamser.report.plots import check_plotting

        check_plotting()
        options.check_folder("--plots", plots)
    recording = options.read_sessions(files, session, meeting)
    figures = figures_of(
        without_folders(recording, files), one_clock=one_clock, title=files[0].stem
    )
    clips = _clips(recording, audio) if audio is not None or with_audio else []
    try:
        save(render_page(figures, clips), out, named=named)
    except OSError as error:
        why = error.strerror or error
        raise StreamserError(f"--out {out}: {why}.", code="output_failed") from None
    sound = f", with {counted(len(clips), 'sound')} in it" if clips else ""
    tell(f"{out}: {counted(len(figures.said), 'utterance')}{sound}.")
    if plots is not None:
        from streamser.report.plots import save_plots

        drawn = save_plots(figures, plots)
        tell(f"{plots}: {counted(len(drawn), 'file')}.")


def _clips(recording: Recording, audio: Path | None) -> list[SoundClip]:
    """Read the sound that was asked for."""
    from streamser.report.cards import read_clip

    if audio is not None:
        clip = read_clip(audio, "Sound")
        _check_sound(audio)
        return [clip]
    clips = []
    for session in recording.sessions:
        name = (session.info.speaker if session.info else None) or "Sound"
        if session.audio is not None:
            # The events say which: whoever asks for it should see that it is the right one.
            tell(f"{session.audio}: goes into the page.")
            clips.append(read_clip(session.audio, name, session.session_id))
            _check_sound(session.audio)
        else:
            warn(f"the sound of {session.session_id} is not known, or not there.")
    if not clips:
        raise StreamserError(
            "--with-audio: no session names a sound that is there; give it with --audio FILE.",
            code="file_not_found",
        )
    return clips


def _check_sound(path: Path) -> None:
    """Raise ``AudioError`` for a file whose name alone is that of sound: nobody could play it."""
    from streamser.audio.file import FileSource

    next(FileSource(path).chunks(), None)


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
