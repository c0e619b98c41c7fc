"""``streamser listen``: a microphone, or a file at real speed, analysed as it sounds."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from streamser.cli.console import complain, for_json, leaving_at_once, tell, warn
from streamser.cli.files.export import ExportFiles, ExportSink, read_targets
from streamser.cli.live.sinks import (
    JsonLines,
    PlainLines,
    PluggedSinks,
    RecordSink,
    ReportSink,
    Sink,
    SinkNames,
    plugged_sinks,
)
from streamser.cli.options import (
    Common,
    Enrolled,
    ServerCertificate,
    ServerToken,
    ToldApart,
    Track,
    check_writable,
    open_file,
    read_enrolled,
    speakers_flag,
    takes_settings,
)
from streamser.errors import ConfigError
from streamser.text import read_name

if TYPE_CHECKING:
    from streamser.audio.source import AudioSource
    from streamser.cli.live.follow import Streaming
    from streamser.settings import Settings
    from streamser.speech.speakers import Voice

NOTICE = (
    "Tell people that they are analysed. In the EU it is prohibited to infer emotions of people"
    " at work or in education (AI Act, Art. 5(1)(f))."
)


class Outputs(NamedTuple):
    """Say where a session goes beside the terminal: a folder of its own, files, plug-ins."""

    record: Path | None = None
    exports: ExportSink | None = None
    plugged: PluggedSinks | None = None
    report: ReportSink | None = None


class Encoding(StrEnum):
    """How raw PCM from stdin is written."""

    S16LE = "s16le"
    F32LE = "f32le"


@takes_settings
def listen(
    common: Common,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="N|NAME", help="Microphone: index or part of its name."),
    ] = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", metavar="F|-", help="Play a file at real speed; -: raw PCM from stdin."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line on stdout.")] = False,
    record: Annotated[
        str | None,
        typer.Option("--record", metavar="DIR", help="Keep events and sound in a new folder."),
    ] = None,
    export: ExportFiles = None,
    report: Annotated[
        str | None,
        typer.Option("--report", metavar="F.html", help="Make a report at the end, and open it."),
    ] = None,
    sink: SinkNames = None,
    rate: Annotated[
        int | None,
        typer.Option(
            "--rate", min=4000, max=384_000, metavar="HZ", help="With --file -: rate. [16000]"
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option("--channels", min=1, max=64, metavar="N", help="With --file -: channels. [1]"),
    ] = None,
    encoding: Annotated[
        Encoding | None, typer.Option("--encoding", help="With --file -: encoding. [s16le]")
    ] = None,
    track: Track = None,
    speaker: Annotated[
        str | None, typer.Option("--speaker", metavar="NAME", help="Who speaks, for the events.")
    ] = None,
    told_apart: ToldApart = None,
    enroll: Enrolled = None,
    server: Annotated[
        str | None,
        typer.Option("--server", metavar="URL", help="Send the sound there to be analysed."),
    ] = None,
    meeting: Annotated[
        str | None, typer.Option("--meeting", metavar="NAME", help="With --server: join it.")
    ] = None,
    token: ServerToken = None,
    ca: ServerCertificate = None,
    proxy: Annotated[
        str | None,
        typer.Option("--proxy", metavar="URL", help="With --server: go through it, and only it."),
    ] = None,
) -> None:
    """Analyse a microphone, or a file at real speed, as it sounds.

    Ctrl-C ends it: the open utterance is still analysed, and a summary follows. Nothing is
    stored without --record, --export or --report (or by a plug-in of --sink), and no sound
    without --record.
    """
    from streamser.cli.live.remote import check_remote

    texts = {
        "--device": device,
        "--file": file,
        "--record": record,
        "--report": report,
        "--speaker": speaker,
        "--server": server,
    }
    remote_only = {"--meeting": meeting, "--token": token, "--ca": ca, "--proxy": proxy}
    for option, value in (texts | remote_only).items():
        if value is not None and not value.strip():
            raise ConfigError(f"{option}: it is empty; give it a name or leave it out.")
    speaker = None if speaker is None else read_name(speaker, "--speaker")
    meeting = None if meeting is None else read_name(meeting, "--meeting")
    if device is not None and file is not None:
        raise ConfigError("--device and --file exclude each other: listen to one of them.")
    if file != "-" and not (rate is None and channels is None and encoding is None):
        raise ConfigError("--rate, --channels and --encoding describe raw sound: add --file -.")
    if track is not None and file in (None, "-"):
        raise ConfigError("--track is a sound track of a file: add --file F.")
    remote_only |= {"--meeting": meeting}
    check_remote(common, server, remote_only)
    targets = read_targets(export or (), fresh=True)
    page = None if report is None else _read_page(report)
    settings = common.load({"audio.device": device} | speakers_flag(told_apart))
    if enroll and server is not None:
        raise ConfigError("--enroll is for sound that is analysed here; leave out --server.")
    if enroll and speaker is not None:
        raise ConfigError("--enroll is for several at one microphone; leave out --speaker.")
    enrolled = read_enrolled(enroll or (), settings)
    source = _open(
        settings,
        file,
        16_000 if rate is None else rate,
        1 if channels is None else channels,
        encoding or Encoding.S16LE,
        track,
    )
    tell(NOTICE)
    folder = None if record is None else Path(record)
    exports = ExportSink(targets, live=True) if targets else None
    with plugged_sinks(sink) as plugged:
        kept = Outputs(folder, exports, plugged, page)
        if server is None:
            listen_to(
                source, settings, as_json=as_json, speaker=speaker, kept=kept, enrolled=enrolled
            )
            return
        from streamser.cli.live.remote import Remote

        remote = Remote(
            server,
            source,
            channel=settings.audio.channel,
            patient=not source.live,
            speaker=speaker,
            speakers=told_apart,
            meeting=meeting,
            language=settings.asr.language if "asr.language" in common.flags else None,
            token=token,
            ca=ca,
            proxy=proxy,
        )
        with remote:
            show(remote, source, as_json=as_json, speaker=speaker, kept=kept)
            if remote.fault is not None:
                complain(remote.fault)
                raise typer.Exit(1)


def listen_to(
    source: AudioSource,
    settings: Settings,
    *,
    as_json: bool = False,
    speaker: str | None = None,
    kept: Outputs | None = None,
    enrolled: Mapping[str, Sequence[Voice]] | None = None,
) -> None:
    """Follow a source on stdout: JSON lines, the live view on a terminal, else plain lines.

    It is heard from the first moment on, also while the models are loaded.
    Exit code 1 where the source broke off, or the recording, an export, or what a sink got is
    not complete.
    """
    from streamser import Analyzer

    def tell_listening(line: str) -> None:
        # People wait with their first words for a program that says no more than "loading".
        tell(f"listening; {line}" if line.startswith("loading ") else line)

    with Analyzer(settings, tell=tell_listening, enrolled=enrolled) as analyzer, leaving_at_once():
        show(analyzer, source, as_json=as_json, speaker=speaker, kept=kept)


def show(
    analyzer: Streaming,
    source: AudioSource,
    *,
    as_json: bool,
    speaker: str | None,
    kept: Outputs | None = None,
) -> None:
    """Do what ``listen_to`` does, with whatever analyses the sound."""
    from streamser.cli.live.follow import follow, summary_lines

    kept = kept or Outputs()
    keeping: list[RecordSink | ExportSink | PluggedSinks | ReportSink] = []
    if kept.record is not None:
        keeping.append(RecordSink(kept.record))
        tell(f"Events and sound are kept in {kept.record}.")
    others = (kept.exports, kept.plugged, kept.report)
    keeping += [each for each in others if each is not None]
    sinks: list[Sink] = [*keeping]
    sinks.append(_sink(source, as_json=as_json))
    summary = follow(analyzer, source, sinks, speaker=speaker)
    if summary is not None:
        for line in summary_lines(summary):
            tell(line)
        if summary.lost is not None:
            # Told last, where it is seen.
            raise summary.lost
        if summary.fault is not None:
            raise typer.Exit(1)
    if not all(each.complete for each in keeping):
        raise typer.Exit(1)


def _read_page(report: str) -> ReportSink:

    path = Path(report)
    check_writable("--report", path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--report {path}: it is a page; name it {path.stem}.html.")
    if path.exists() or path.is_symlink():
        raise ConfigError(f"--report {path}: it is there already; name another file.")
    return ReportSink(path)


def _open(
    settings: Settings,
    file: str | None,
    rate: int,
    channels: int,
    encoding: Encoding,
    track: int | None,
) -> AudioSource:
    if file is None:
        from streamser.audio.microphone import MicrophoneSource

        return MicrophoneSource(settings.audio.device, channel=settings.audio.channel)
    if file == "-":
        from streamser.audio.raw import RawSource

        return RawSource(sys.stdin.buffer, rate, channels, encoding.value, tell=warn)

    return open_file(file, track=track, paced=True)


def _sink(source: AudioSource, *, as_json: bool) -> Sink:

    if as_json:
        return JsonLines(for_json(sys.stdout))
    if sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
        from streamser.cli.live.live_view import LiveScreen

        return LiveScreen(source.name)
    return PlainLines(sys.stdout)
