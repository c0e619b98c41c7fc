"""The options and arguments that several commands share, and what is refused before the work."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeAlias

import msgspec
import typer

from streamser.cli.console import tell, warn
from streamser.errors import ConfigError, ModelError, StreamserError
from streamser.machine import use_one_blas_thread
from streamser.saving import writing
from streamser.settings_loader import EffectiveSettings, explain_settings
from streamser.text import printable, read_name

if TYPE_CHECKING:
    from streamser.audio.file import FileSource
    from streamser.export.records import Recording
    from streamser.settings import Settings
    from streamser.speech.speakers import Voice

P = ParamSpec("P")
Track: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--track",
        min=0,
        metavar="N",
        help="Sound track of a file, from 0. [the default, or if it is silent the loudest]",
    ),
]
ServerToken = Annotated[
    str | None,
    typer.Option("--token", metavar="T", help="With --server: as in STREAMSER_TOKEN."),
]
ServerCertificate = Annotated[
    str | None,
    typer.Option("--ca", metavar="FILE", help="With --server wss://: certificate to believe."),
]
ToldApart = Annotated[
    str | None,
    typer.Option(
        "--speakers",
        metavar="auto|off|N",
        help="Tell voices at one microphone apart; N: so many people.",
    ),
]
Enrolled = Annotated[
    list[str] | None,
    typer.Option(
        "--enroll", metavar="NAME=FILE", help="Know somebody by a recording of theirs; repeat."
    ),
]
SessionFiles = Annotated[
    list[Path],
    typer.Argument(
        metavar="SESSION.jsonl...",
        help="Events, as --json, --record and --export write them; or a folder of them.",
        readable=False,
    ),
]
SessionIds = Annotated[
    list[str] | None,
    typer.Option("--session", metavar="ID", help="Only this one of several; repeat."),
]
Meeting = Annotated[
    str | None,
    typer.Option("--meeting", metavar="NAME", help="Only sessions of this one."),
]
OneClock = Annotated[
    bool,
    typer.Option("--one-clock", help="Times of several sessions count from the same moment."),
]
JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the report as JSON.", readable=False),
]
MarkdownFile = Annotated[
    Path | None,
    typer.Option(
        "--markdown", metavar="FILE", help="Write the report as Markdown.", readable=False
    ),
]


class Common(msgspec.Struct, frozen=True):
    """Hold the shared options as they were typed."""

    configs: tuple[str, ...]
    flags: dict[str, Any]

    def load(
        self, flags: Mapping[str, Any] | None = None, *, preset: str | None = None
    ) -> Settings:
        """Load the settings in force.

        ``flags`` are dotted keys that a command adds of its own (``None``: not given); what
        the user typed wins over them. ``preset`` is used where the user names no config.
        Raises ``ConfigError``.
        """
        return self.explain(flags, preset=preset).settings

    def explain(
        self, flags: Mapping[str, Any] | None = None, *, preset: str | None = None
    ) -> EffectiveSettings:
        """Load them as ``load`` does, and say where each comes from."""
        own = {key: value for key, value in (flags or {}).items() if value is not None}
        configs = self.configs or ((preset,) if preset is not None else ())
        return explain_settings(*configs, flags=own | self.flags)


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


def speakers_flag(asked: str | None) -> dict[str, Any]:
    """Return the setting that ``--speakers`` stands for; raises ``ConfigError``."""
    if asked is None:
        return {}
    if asked in ("auto", "off") or (asked.isascii() and asked.isdigit() and 0 < int(asked) <= 64):
        return {"speakers.told_apart": asked}
    raise ConfigError(f"--speakers {asked}: it is auto, off, or a number from 1 to 64.")


def read_enrolled(pairs: Sequence[str], settings: Settings) -> dict[str, list[Voice]]:
    """Describe the voices of people, each by a recording given as ``NAME=FILE``.

    Raises ``ConfigError`` for what is written otherwise, cannot be read, is shorter than a
    second, or says nothing of a voice.
    """
    files: dict[str, str] = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        if not (equals and file):
            raise ConfigError(f"--enroll {pair}: write it as NAME=FILE, such as ann=ann.wav.")
        name = read_name(name, f"--enroll {pair}")
        if name in files:
            raise ConfigError(f"--enroll {pair}: {name} is there already; one recording each.")
        files[name] = file
    if not files:
        return {}
    if settings.speakers.told_apart == "off":
        raise ConfigError("--enroll is for voices that are told apart; leave out --speakers off.")
    from streamser.audio.clip import SAMPLE_RATE
    from streamser.pipeline.build import describe_voice
    from streamser.speech.speakers import load_embedder
    from streamser.training.sounds import read_clip

    embedder = load_embedder(settings.speakers.embedder)
    found = {}
    for name, file in files.items():
        option = f"--enroll {name}={file}"
        try:
            sound = read_clip(Path(file))
        except StreamserError as error:
            raise ConfigError(f"{option}: {error}") from None
        if len(sound) < SAMPLE_RATE:
            raise ConfigError(
                f"{option}: {len(sound) / SAMPLE_RATE:.1f} s are too short to know a voice by; give"
                " some seconds in which nobody else speaks."
            )
        voices = describe_voice(sound, embedder)
        if not voices:
            raise ConfigError(f"{option}: no voice is heard in it; give another.")
        found[name] = voices
    return found


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


def open_file(file: Path | str, *, track: int | None, paced: bool = False) -> FileSource:
    """Open a file; say which of several sound tracks is heard where nobody chose one."""
    from streamser.audio.file import FileSource

    source = FileSource(file, paced=paced, track=track)
    if track is None and source.tracks > 1:
        tell(
            f"{printable(str(file))}: sound track {source.track} is heard (there are 0 to"
            f" {source.tracks - 1}); --track N takes another."
        )
    return source


def find_sessions(paths: Sequence[Path]) -> list[Path]:
    """Return the files that are named, or lie in a folder that is, in the order of their names.

    Of a folder of ``--record`` it is the session. What is no session in a folder is told, and
    left out. Raises ``StreamserError`` for one that holds none.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        session = path / "session.jsonl"
        shown = [each for each in path.glob("*.jsonl") if not each.name.startswith(".")]
        within = [session] if session.is_file() else list(filter(_holds_events, sorted(shown)))
        if not within:
            raise StreamserError(
                f"{path}: it is a folder without events (.jsonl); give a file of events, or a"
                " folder as --record or serve --export make it.",
                code="no_session",
            )
        found += within
    return found


def _holds_events(path: Path) -> bool:
    from streamser.export.read import EventFile

    try:
        next(iter(EventFile(path)))
    except StreamserError as error:
        warn(f"left out: {error}")
        return False
    return True


def read_sessions(
    files: Sequence[Path], session_ids: Sequence[str] | None, meeting: str | None = None
) -> Recording:
    """Read the sessions that are wanted, and tell what could not be read.

    Raises ``StreamserError`` for files that are none, and sessions and meetings that are not
    there.
    """
    from streamser.export.read import choose_meeting, choose_session, read_recording

    name = None if meeting is None else read_name(meeting, "--meeting")
    recording = read_recording(*files)
    for note in recording.notes:
        warn(note)
    if session_ids:
        recording = choose_session(recording, list(session_ids))
    return recording if name is None else choose_meeting(recording, name)


def check_writable(option: str, file: Path) -> None:
    """Refuse a file that cannot be written, before minutes are spent on it: ``ConfigError``."""
    target = Path(os.path.realpath(file))
    why = None
    try:
        if target.is_dir():
            why = "it is a folder; name a file."
        elif not target.parent.is_dir():
            why = "its folder does not exist; make it first."
        elif not os.access(target if target.exists() else target.parent, os.W_OK):
            why = "it cannot be written; name another file."
    except OSError as error:
        why = f"{error.strerror}."
    if why is not None:
        raise ConfigError(f"{option} {file}: {why}")


def is_same(one: Path, other: Path) -> bool:
    """Tell whether two paths lead to the same file."""
    try:
        return one.samefile(other)
    except OSError:
        return False


def check_folder(option: str, folder: Path) -> None:
    """Refuse a folder that cannot be written or made, before the work: ``ConfigError``."""
    try:
        nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    except OSError as error:
        raise ConfigError(f"{option} {folder}: {error.strerror}.") from None
    if not nearest.is_dir():
        raise ConfigError(f"{option} {folder}: {nearest} is a file; name a folder.")
    if not os.access(nearest, os.W_OK):
        raise ConfigError(f"{option} {folder}: {nearest} cannot be written; name another folder.")


def save_report(option: str, file: Path, content: bytes) -> None:
    """Write a file whole; raise ``StreamserError`` where that fails after all."""
    try:
        with writing(file) as out:
            out.write(content)
    except OSError as error:
        why = error.strerror or error
        raise StreamserError(f"{option} {file}: {why}.", code="output_failed") from None


@contextlib.contextmanager
def needs_extra(extra: str, doer: str) -> Iterator[None]:
    """Import something in this block; raise ``ModelError`` where it cannot be.

    ``extra`` is the package's extra that brings it, ``doer`` what needs it, such as
    "a training".
    """
    try:
        yield
    except (ImportError, OSError) as error:  # torch without its libraries is an OSError
        missing = getattr(error, "name", None) or error
        raise ModelError(
            f"{doer} needs what is not installed or cannot be loaded ({missing}): "
            f"run pip install 'streamser[{extra}]'."
        ) from None
