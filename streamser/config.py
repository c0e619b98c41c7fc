"""Typed settings: defaults, then a preset or TOML file, then the environment, then flags."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from streamser.errors import ConfigError
from streamser.toml import Key, choices, find_file, flatten, keys_of, nearest, read_toml

__all__ = [
    "ASR_ENGINES",
    "AsrSettings",
    "AudioSettings",
    "EffectiveSettings",
    "EmotionSettings",
    "EndpointingSettings",
    "MoodSettings",
    "PartialSettings",
    "ServerSettings",
    "Settings",
    "SpeakersSettings",
    "VadSettings",
    "WorkerSettings",
    "load_settings",
    "preset_names",
    "preset_path",
]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings."""


class AudioSettings(Section, frozen=True):
    """Where the sound comes from."""

    device: Annotated[
        int | str | None,
        Meta(description="Microphone by index or part of its name; none: the default."),
    ] = None
    channel: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Channel to hear, from 0; none: all, or the loudest where they cancel."),
    ] = None


class VadSettings(Section, frozen=True):
    """How speech is told from other sound."""

    engine: Annotated[
        Literal["silero", "webrtc"], Meta(description="silero holds in noise; webrtc is lighter.")
    ] = "silero"
    webrtc_mode: Annotated[
        int, Meta(ge=0, le=3, description="webrtc: 0 lets much pass, 3 little.")
    ] = 2


class EndpointingSettings(Section, frozen=True):
    """Where utterances begin and end."""

    threshold: Annotated[
        float, Meta(gt=0, lt=1, description="Speech probability that counts as speech.")
    ] = 0.5
    release: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="Probability below which speech is over; none: threshold - 0.15."),
    ] = None
    min_speech_ms: Annotated[
        int,
        Meta(ge=1, le=10_000, description="Speech that must be heard before an utterance opens."),
    ] = 96
    silence_ms: Annotated[
        int, Meta(ge=60, le=60_000, description="Silence that ends an utterance (hangover).")
    ] = 500
    pre_roll_ms: Annotated[
        int, Meta(ge=0, le=10_000, description="Sound before the first speech that is kept.")
    ] = 200
    tail_ms: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="Sound after the last speech that is kept; none: 160, or what fits."),
    ] = None
    max_utterance_ms: Annotated[
        int, Meta(ge=1000, le=600_000, description="Longest utterance; longer ones are cut.")
    ] = 20_000
    cut_search_ms: Annotated[
        Annotated[int, Meta(gt=0)] | None,
        Meta(description="How far back the best place for a cut is sought; none: 3000, or less."),
    ] = None
    no_sound_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=600_000,
            description="An utterance ends where no sound comes for so long, not even silence;"
            " live only. 0: never.",
        ),
    ] = 2000
    speculative: Annotated[
        bool, Meta(description="Start the final analysis at half the hangover.")
    ] = True


class PartialSettings(Section, frozen=True):
    """What is told while somebody is still speaking."""

    every_ms: Annotated[
        int, Meta(ge=0, description="A reading after so much more speech; 0: none.")
    ] = 500
    window_ms: Annotated[
        int, Meta(ge=500, description="Emotion is read from at most the last so many ms.")
    ] = 10_000
    voice_after_ms: Annotated[
        int,
        Meta(
            ge=0,
            le=60_000,
            description="Tell of the voice alone where words are so late after an utterance's end.",
        ),
    ] = 300


ASR_ENGINES: Final = ("auto", "none", "whisper")
"""What may recognise words without any plug-in."""


class AsrSettings(Section, frozen=True):
    """How speech becomes words."""

    engine: Annotated[
        str,
        Meta(
            description="whisper, none, a plug-in, or auto: whisper if a model of it can be had,"
            " else none."
        ),
    ] = "auto"
    model: Annotated[str, Meta(description="whisper: a size, a hub name or a directory.")] = (
        "tiny.en"
    )
    language: Annotated[
        str | None, Meta(description="Code such as en; none: detected (whisper).")
    ] = None
    device: Annotated[Literal["auto", "cpu", "cuda"], Meta(description="Where whisper runs.")] = (
        "auto"
    )
    compute_type: Annotated[
        str,
        Meta(
            description="whisper: what it computes in, such as float32; auto: int8 on a processor,"
            " float16 on CUDA."
        ),
    ] = "auto"
    beam_size: Annotated[int, Meta(ge=1, le=20, description="whisper: hypotheses kept.")] = 1
    word_times: Annotated[bool, Meta(description="whisper: place each word in time (slower).")] = (
        False
    )
    threads: Annotated[int, Meta(ge=0, description="whisper: CPU threads; 0: as many as help.")] = 0


class EmotionSettings(Section, frozen=True):
    """Which model reads emotion."""

    model: Annotated[
        str,
        Meta(
            description="compact (comes with the program), rules (training-free), a plug-in,"
            " a checkpoint (directory or hub name), or public models (`streamser models`) with +"
            " between."
        ),
    ] = "compact"
    device: Annotated[
        Literal["auto", "cpu", "cuda"], Meta(description="checkpoint: where it runs.")
    ] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16", "float16", "int8"],
        Meta(
            description="checkpoint: what it computes in. auto: the fastest here that answers"
            " alike, tried at the first start and kept."
        ),
    ] = "auto"
    threads: Annotated[
        int, Meta(ge=0, le=1024, description="checkpoint: CPU threads; 0: as many as torch likes.")
    ] = 0


class MoodSettings(Section, frozen=True):
    """How the mood of a session is smoothed."""

    time_constant_s: Annotated[
        float,
        Meta(
            gt=0,
            le=86_400,
            description="Seconds of silence after which a reading has lost 63 % of its weight.",
        ),
    ] = 30.0


class SpeakersSettings(Section, frozen=True):
    """How speakers who share one microphone are told apart, where their client names none."""

    embedder: Annotated[
        str | None,
        Meta(description="module:factory of a SpeakerEmbedder; none: one stream is one speaker."),
    ] = None
    threshold: Annotated[
        float,
        Meta(gt=0, lt=1, description="Likeness of voices from which on they are one speaker's."),
    ] = 0.65
    most: Annotated[
        int, Meta(ge=1, le=64, description="Speakers told apart; more are taken for one of them.")
    ] = 10


class WorkerSettings(Section, frozen=True):
    """How work is shared out among the workers of words and of emotion."""

    max_batch: Annotated[int, Meta(ge=1, description="Utterances analysed at once.")] = 8
    max_wait_ms: Annotated[
        int,
        Meta(ge=0, le=1000, description="Wait for more before a batch, with several sessions."),
    ] = 5
    max_partials: Annotated[
        int, Meta(ge=1, description="Waiting partials; the oldest beyond are dropped and counted.")
    ] = 32
    partial_share: Annotated[
        float,
        Meta(gt=0, le=1, description="Share of its time that a worker may spend on partials."),
    ] = 0.5
    max_finals: Annotated[
        int, Meta(ge=1, description="Waiting finals; beyond, utterances fail with a typed event.")
    ] = 256
    deadline_s: Annotated[
        float,
        Meta(
            ge=0, description="Longest a batch may take; then its models are loaded anew. 0: any."
        ),
    ] = 60.0
    load_s: Annotated[
        float,
        Meta(
            ge=0,
            description="Longest that models may take to load, downloads included; then they"
            " cannot be had. 0: any.",
        ),
    ] = 1800.0
    processes: Annotated[
        Annotated[int, Meta(ge=0, le=256)] | None,
        Meta(
            description="Processes with a recogniser, and as many with emotion models; 0: both in"
            " threads of this one. none: serve has one of each; others have 0."
        ),
    ] = None


class ServerSettings(Section, frozen=True):
    """Whom ``streamser serve`` serves, and how much of it."""

    host: Annotated[str, Meta(min_length=1, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="Port; 0: any that is free.")] = 8377
    token_file: Annotated[
        str | None, Meta(description="File of tokens: a line each, `name roles token`.")
    ] = None
    tls_cert: Annotated[str | None, Meta(description="Certificate chain, a PEM file.")] = None
    tls_key: Annotated[str | None, Meta(description="Its key, a PEM file.")] = None
    origins: Annotated[
        str, Meta(description="Pages of other sites that may connect, with commas between.")
    ] = ""
    insecure: Annotated[
        bool, Meta(description="Serve other machines without tokens or TLS all the same.")
    ] = False
    max_sessions: Annotated[int, Meta(ge=1, description="Streams at the same time.")] = 64
    token_share: Annotated[
        float, Meta(gt=0, le=1, description="Share of streams and listeners one of several has.")
    ] = 0.5
    max_listeners: Annotated[int, Meta(ge=1, description="Listeners at the same time.")] = 256
    late_s: Annotated[
        float, Meta(ge=0, description="While finals are so late no stream is let in. 0: however.")
    ] = 5.0
    max_message_kib: Annotated[
        int, Meta(ge=4, le=65_536, description="Longest message of a client, KiB.")
    ] = 2048
    speed: Annotated[
        float, Meta(ge=1, description="Sound is taken at most at so many times real time.")
    ] = 8.0
    message_rate: Annotated[
        float, Meta(ge=1, description="Messages without sound a second, from one connection.")
    ] = 20.0
    message_burst: Annotated[
        int, Meta(ge=1, description="Such messages that may come at once before.")
    ] = 400
    idle_s: Annotated[
        float, Meta(gt=0, description="A stream without any message for so long is ended.")
    ] = 300.0
    session_s: Annotated[float, Meta(gt=0, description="A stream is ended after so long.")] = 14_400
    resume_s: Annotated[
        float, Meta(ge=0, description="A stream whose client vanished is kept for so long.")
    ] = 30.0
    drain_s: Annotated[
        float, Meta(ge=0, description="After SIGTERM streams may go on for so long.")
    ] = 10.0
    shutdown_s: Annotated[
        float, Meta(gt=0, description="What is still to tell at the end may take so long.")
    ] = 10.0
    replay_events: Annotated[
        int, Meta(ge=100, le=1_000_000, description="Events kept for listeners that come back.")
    ] = 20_000
    backlog_events: Annotated[
        int, Meta(ge=16, le=100_000, description="Events that may wait for a slow connection.")
    ] = 1000
    purpose: Annotated[
        str, Meta(max_length=1000, description="The page says before the consent what it is for.")
    ] = ""
    responsible: Annotated[
        str, Meta(max_length=1000, description="The page says who answers for the server.")
    ] = ""
    contact: Annotated[
        str, Meta(max_length=1000, description="The page says whom to ask, such as an address.")
    ] = ""
    meeting_keep_s: Annotated[
        float, Meta(ge=0, description="A meeting that everybody has left is kept for so long.")
    ] = 600.0


class Settings(Section, frozen=True):
    """Every setting of the program."""

    offline: Annotated[bool, Meta(description="Never look for anything on the network.")] = False
    audio: AudioSettings = AudioSettings()
    vad: VadSettings = VadSettings()
    endpointing: EndpointingSettings = EndpointingSettings()
    partial: PartialSettings = PartialSettings()
    asr: AsrSettings = AsrSettings()
    emotion: EmotionSettings = EmotionSettings()
    mood: MoodSettings = MoodSettings()
    speakers: SpeakersSettings = SpeakersSettings()
    worker: WorkerSettings = WorkerSettings()
    server: ServerSettings = ServerSettings()


_SECTIONS = tuple(
    field.name
    for field in msgspec.structs.fields(Settings)
    if isinstance(field.default, msgspec.Struct)
)
_ALL_LISTED = "`streamser config show` lists them all."


class EffectiveSettings(msgspec.Struct, frozen=True):
    """Hold the settings in force and where each comes from, by dotted key."""

    settings: Settings
    origins: dict[str, str]

    def rows(self) -> list[tuple[str, Any, str, str]]:
        """List key, value, origin and description of every setting, in order."""
        return [
            (key, _look_up(self.settings, key), self.origins[key], info.description)
            for key, info in keys_of(Settings).items()
        ]


def load_settings(
    *configs: str,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> EffectiveSettings:
    """Join defaults, a preset or file, the environment and flags, the later winning.

    Each of ``configs`` names a preset (``"embedded"``) or a TOML file; without any,
    ``STREAMSER_CONFIG`` may name one. ``flags`` maps dotted keys (``"asr.engine"``) to values,
    ``None`` meaning not given; environment variables are ``STREAMSER_`` and the key in capitals
    with underscores (``STREAMSER_ASR_ENGINE``).

    Raises ``ConfigError`` for a file that is missing or not TOML, an unknown key (naming the
    nearest), or a value that does not fit.
    """
    known = keys_of(Settings)
    variables = {f"STREAMSER_{key.upper().replace('.', '_')}": key for key in known}
    environ = os.environ if environ is None else environ
    named = environ.get("STREAMSER_CONFIG")
    folder = preset_path("any").parent
    files = [find_file(config, folder) for config in (configs or ([named] if named else []))]
    values: dict[str, Any] = {}
    origins = dict.fromkeys(known, "default")

    for path in files:
        for key, value in flatten(read_toml(path), known).items():
            _refuse_unknown(key, known, f"config {path.name}")
            values[key], origins[key] = value, f"config {path.name}"
    for variable, text in environ.items():
        # An empty variable is as good as none.
        if variable in variables and text:
            key = variables[variable]
            values[key], origins[key] = text, f"environment {variable}"
        elif variable not in variables and _looks_like_ours(variable, variables):
            raise ConfigError(f"environment: {nearest(variable, variables, _ALL_LISTED)}")
    for key, value in (flags or {}).items():
        if value is not None:
            _refuse_unknown(key, known, "flags")
            values[key], origins[key] = value, "flag"
    settings = _convert(values, origins, known)
    _refuse_unknown_engine(settings.asr.engine, origins["asr.engine"])
    return EffectiveSettings(settings, origins)


def preset_names() -> list[str]:
    """List the presets that come with the program."""
    return sorted(path.stem for path in preset_path("any").parent.glob("*.toml"))


def preset_path(name: str) -> Path:
    """Return where the preset of a name stands, or would stand."""
    package = Path(__file__).parent
    packed = package / "configs"
    # In a checkout the presets stand beside the package, where people look for them.
    folder = packed if packed.is_dir() else package.parent / "configs"
    return folder / f"{name}.toml"


def _look_up(settings: Settings, key: str) -> Any:
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _refuse_unknown(key: str, known: Mapping[str, Key], where: str) -> None:
    if key not in known:
        raise ConfigError(f"{where}: {nearest(key, known, _ALL_LISTED)}")


def _refuse_unknown_engine(engine: str, origin: str) -> None:
    if engine in ASR_ENGINES:
        return
    # Only now: finding plug-ins takes longer than all the rest.
    from streamser.plugins import TRANSCRIBERS, installed, near

    names = [*ASR_ENGINES, *(plugin.name for plugin in installed(TRANSCRIBERS))]
    if engine not in names:
        hint = near(engine, names)
        raise ConfigError(
            f"{origin}: asr.engine: no recogniser is called {engine!r};"
            f" {f'{hint} Or ' if hint else ''}choose from {', '.join(names)}."
        )


def _looks_like_ours(variable: str, known: Mapping[str, str]) -> bool:
    sections = tuple(f"STREAMSER_{name.upper()}" for name in _SECTIONS)
    if variable in sections or variable.startswith(tuple(f"{name}_" for name in sections)):
        return True
    ours = variable.startswith("STREAMSER_") and variable != "STREAMSER_CONFIG"
    return ours and bool(difflib.get_close_matches(variable, known, n=1, cutoff=0.85))


def _convert(
    values: Mapping[str, Any], origins: Mapping[str, str], known: Mapping[str, Key]
) -> Settings:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        # Text from the environment; the rest is typed already, but "none" serves both.
        branch[name] = None if value == "" or (value == "none" and key != "asr.engine") else value
    try:
        return msgspec.convert(tree, Settings, strict=False)
    except UnicodeError:  # a variable may hold any bytes; only names of files may be such
        key = next(key for key, value in values.items() if not _is_text(value))
        raise ConfigError(f"{origins[key]}: {key}: the value is not valid UTF-8.") from None
    except msgspec.ValidationError as error:
        reason, _, place = str(error).rpartition(" - at `$.")
        key = place.rstrip("`")
        raise ConfigError(
            f"{origins.get(key, 'config')}: {key}: {reason}{choices(known.get(key))}."
        ) from None


def _is_text(value: Any) -> bool:
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeError:
        return False
    return True
