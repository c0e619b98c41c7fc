"""``streamser doctor`` and ``streamser devices``: what works on this machine, and its inputs."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import typer

from streamser.cli.console import coloured, counted, print_json, tell
from streamser.cli.live.demo import demo_recording
from streamser.errors import AudioError, ModelError, StreamserError
from streamser.machine import core_count, cpu_quota, memory_limit
from streamser.settings import AsrSettings, EmotionSettings, Settings
from streamser.settings_loader import load_settings
from streamser.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamser.audio.microphone import InputDevice
    from streamser.audio.source import AudioSource, Frames, Gap
    from streamser.emotion.model import EmotionModel, Prediction
    from streamser.events import ModelNames

NOTHING_FOUND = (
    "no sound input was found: connect a microphone and see that the sound server runs"
    " (on Linux: PipeWire or PulseAudio)."
)
Status = Literal["works", "absent", "broken"]

_SPEED_S = 2.0
_NEEDED = ("audio", "vad", "emotion")
_RESAMPLER = "soxr"
_TRIAL = "2 s of speech"
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


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the outcome of one check; ``absent`` is no fault, only something not there."""

    group: str
    name: str
    status: Status
    found: str
    advice: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="A list of checks as JSON.")] = False,
) -> None:
    """Say what works on this machine.

    And what does not, and what to do about it. Exit code 0 if `listen` can run with
    something, else 1.
    """
    done: list[Check] = []
    for check in run_checks():
        if not as_json:
            _print(check, first=all(check.group != earlier.group for earlier in done))
        done.append(check)
    ready = can_listen(done)
    if as_json:
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


def run_checks() -> Iterator[Check]:
    """Try everything, one thing after another; nothing that fails stops the rest."""
    checks: list[tuple[str, str, Callable[[str, str], Iterator[Check]]]] = [
        ("machine", "Python", _python),
        ("machine", "processor", _processor),
        ("machine", "memory", _memory),
        ("machine", "torch", _torch),
        ("machine", "CUDA for whisper", _cuda),
        ("microphone", "PortAudio", _portaudio),
        *(("audio", name, _library) for name in (_RESAMPLER, "soundfile", "av")),
        ("vad", "silero", _vad),
        ("vad", "webrtc", _vad),
        ("asr", "recognisers", _recognisers),
        ("emotion", "compact", _emotion),
        ("emotion", "rules", _emotion),
        ("emotion", "emotion.model", _chosen_emotion),
        ("emotion", "emotion.remote", _remote_emotion),
        ("plugins", "plug-ins", _plugins),
        ("speed", _TRIAL, _speed),
    ]
    for group, name, check in checks:
        try:
            yield from check(group, name)
        # A doctor that dies of the illness helps nobody.
        except Exception as error:
            yield Check(group=group, name=name, status="broken", found=_told(error))


def can_listen(checks: list[Check]) -> bool:
    """Return whether `listen` could run with something.

    Sound can be read, speech found, emotion read, and the whole of it did not break down.
    """
    works = {check.group for check in checks if check.status == "works"}
    broken = {check.name for check in checks if check.status == "broken"}
    return works.issuperset(_NEEDED) and not broken & {_RESAMPLER, _TRIAL}


def _python(group: str, name: str) -> Iterator[Check]:
    right = sys.version_info >= (3, 11)
    yield Check(
        group=group,
        name=name,
        status="works" if right else "broken",
        found=f"{platform.python_version()} on {platform.platform(terse=True)}",
        advice="" if right else "streamser needs Python 3.11 or later",
    )


def _processor(group: str, name: str) -> Iterator[Check]:
    quota = cpu_quota()
    limited = "" if quota is None else f" (the container's quota: {quota:.3g})"
    yield Check(
        group=group,
        name=name,
        status="works",
        found=f"{counted(core_count(), 'core')} for us{limited}, {platform.machine() or 'unknown'}",
    )


def _memory(group: str, name: str) -> Iterator[Check]:
    total, free = _memory_bytes()
    if total is None:
        yield Check(group=group, name=name, status="absent", found="this system does not say")
        return
    gib = 1024**3
    scarce = (free if free is not None else total) < gib
    available = "" if free is None else f", {free / gib:.1f} GiB available"
    yield Check(
        group=group,
        name=name,
        status="works",
        found=f"{total / gib:.1f} GiB{available}",
        advice="scarce: prefer --config embedded or voice-only" if scarce else "",
    )


def _memory_bytes() -> tuple[int | None, int | None]:
    total, free = _machine_memory()
    limit = memory_limit()
    if limit is None or total is None or limit[0] >= total:
        return total, free
    return limit[0], limit[1] if free is None else min(free, limit[1])


def _machine_memory() -> tuple[int | None, int | None]:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            table = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        return table["MemTotal"], table.get("MemAvailable")
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), None
    except (AttributeError, OSError, ValueError):
        return None, None


def _torch(group: str, name: str) -> Iterator[Check]:
    version = _version("torch")
    if version is None:
        found = "not installed (needed for training and big models)"
        advice = "pip install 'streamser[torch]'"
        yield Check(group=group, name=name, status="absent", found=found, advice=advice)
        return
    import subprocess

    # In a process of its own: a torch built for another machine can end the one it is in.
    asked = "import torch; print(torch.cuda.device_count(), torch.version.cuda)"
    try:
        answer = subprocess.run(
            [sys.executable, "-c", asked], capture_output=True, text=True, timeout=120, check=True
        ).stdout.split()
    except (subprocess.SubprocessError, OSError):
        advice = "big models and training need it: install it again; compact and rules do not"
        found = f"{version}, but it cannot be imported"
        yield Check(group=group, name=name, status="absent", found=found, advice=advice)
        return
    devices, cuda = int(answer[0]), answer[1]
    built = "without CUDA" if cuda == "None" else f"CUDA {cuda}, {devices} device(s)"
    yield Check(group=group, name=name, status="works", found=f"{version}, {built}")


def _cuda(group: str, name: str) -> Iterator[Check]:
    import ctranslate2

    devices = ctranslate2.get_cuda_device_count()
    if not devices:
        found = "no CUDA device; whisper runs on the processor"
        yield Check(group=group, name=name, status="absent", found=found)
        return
    ready = sys.platform != "linux" or _version("nvidia-cublas-cu12") or _loads("libcublas.so.12")
    yield Check(
        group=group,
        name=name,
        status="works" if ready else "broken",
        found=f"{devices} device(s)" + ("" if ready else ", but cuBLAS 12 is missing"),
        advice="" if ready else "pip install 'streamser[cuda]'",
    )


def _loads(library: str) -> bool:
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _portaudio(group: str, name: str) -> Iterator[Check]:
    from streamser.audio.microphone import list_inputs

    try:
        inputs = list_inputs()
    except AudioError as error:
        found = "no microphone can be used; files still can"
        yield Check(group=group, name=name, status="broken", found=found, advice=str(error))
        return
    default = next((device.name for device in inputs if device.is_default), None)
    listed = f"{len(inputs)} input(s)" + (f", default {default!r}" if default else "")
    yield Check(
        group=group,
        name=name,
        status="works" if inputs else "absent",
        found=listed if inputs else "no sound input was found",
        advice="" if inputs else "connect a microphone and see that the sound server runs",
    )


def _library(group: str, name: str) -> Iterator[Check]:
    __import__(name)
    yield Check(group=group, name=name, status="works", found=_version(name) or "unknown version")


def _vad(group: str, name: str) -> Iterator[Check]:
    import numpy as np

    from streamser.pipeline.build import build_vads

    vad = build_vads(load_settings(flags={"vad.engine": name}, environ={}))()
    silence = np.zeros(vad.window, np.float32)
    begun = time.perf_counter()
    windows = 16_000 // vad.window
    for _ in range(windows):
        vad.probability(silence)
    took = (time.perf_counter() - begun) / windows
    found = f"{took * 1e6:.0f} µs for each {vad.window / 16:.0f} ms"
    yield Check(group=group, name=name, status="works", found=found)


def _recognisers(group: str, name: str) -> Iterator[Check]:
    from streamser.speech.choose import asr_inventory, what_auto_takes

    for engine in asr_inventory():
        yield Check(
            group=group,
            name=engine.name,
            status="broken" if engine.fault else "works" if engine.found else "absent",
            found=engine.where if engine.found else "not on this machine",
            advice=engine.fault or engine.how_to_get,
        )
    settings = load_settings()
    taken = what_auto_takes(settings.asr, offline=settings.offline)
    yield Check(group=group, name="asr.engine = auto", status="works", found=f"takes {taken}")


def _emotion(group: str, name: str) -> Iterator[Check]:
    yield _try_emotion(group, Settings(emotion=EmotionSettings(model=name)))


def _chosen_emotion(group: str, name: str) -> Iterator[Check]:
    from streamser.emotion.choose import model_names

    settings = load_settings()
    # Where nothing else is set up there is nothing to load, which may take a while.
    if settings.emotion.model not in model_names():
        here = msgspec.structs.replace(settings.emotion, remote=None)
        yield _try_emotion(group, msgspec.structs.replace(settings, emotion=here))


def _remote_emotion(group: str, name: str) -> Iterator[Check]:
    from streamser.emotion.remote.model import connect_remote
    from streamser.emotion.rules import RulesModel

    emotion = load_settings().emotion
    if emotion.remote is None:
        return
    model = connect_remote(emotion, RulesModel())
    begun = time.perf_counter()
    reading = _read_buzz(model)
    took_ms = 1000 * (time.perf_counter() - begun)
    if model.away is None:
        said = f"{reading.model} reads {', '.join(reading.modalities)}, {took_ms:.0f} ms"
        yield Check(group=group, name=name, status="works", found=f"{said}, at {model.url}")
    else:
        advice = f"until it answers {emotion.model} reads here"
        found = f"{model.url} is away ({model.away})"
        yield Check(group=group, name=name, status="absent", found=found, advice=advice)


def _try_emotion(group: str, settings: Settings) -> Check:
    from streamser.pipeline.build import build_model

    model = build_model(settings, lambda line: None)
    found = f"reads {', '.join(_read_buzz(model).modalities) or 'nothing'}"
    return Check(group=group, name=model.name, status="works", found=found)


def _read_buzz(model: EmotionModel) -> Prediction:
    """Read a buzz with the pitch of a voice, falling as in a statement."""
    import numpy as np

    from streamser.emotion.model import Segment

    pitch = np.linspace(150, 100, 16_000) / 16_000
    buzz = (0.2 * (2 * (np.cumsum(pitch) % 1) - 1)).astype(np.float32)
    (features,) = model.extract([Segment(samples=buzz, text="it works wonderfully")])
    return model.new_speaker().predict(features)


def _plugins(group: str, name: str) -> Iterator[Check]:
    from streamser.cli.choices import check_plugins
    from streamser.plugins import KINDS

    found = [looked for kind in KINDS for looked in check_plugins(kind)]
    if not found:
        yield Check(group=group, name=name, status="absent", found="none (docs/plugins.md)")
    for plugin, fault in found:
        yield Check(
            group=group,
            name=f"{plugin.kind.noun} {plugin.name}",
            status="broken" if fault else "works",
            found=f"{plugin.package} {plugin.version}",
            advice=fault,
        )


def _speed(group: str, name: str) -> Iterator[Check]:
    try:
        recording = demo_recording()
    except StreamserError as error:
        yield Check(group=group, name=name, status="absent", found=str(error))
        return
    try:
        models, took = _run_excerpt(recording, "whisper")
    except ModelError:
        models, took = _run_excerpt(recording, "none")
    used = f"{models.vad}, {models.asr or 'no words'}, {models.emotion}"
    speed = _SPEED_S / took
    yield Check(
        group=group,
        name=name,
        status="works",
        found=f"{took:.2f} s, {speed:.1f} × real time ({used})",
        advice="" if speed >= 1.5 else "too slow to keep up: try --config voice-only",
    )


def _run_excerpt(recording: Path, engine: Literal["whisper", "none"]) -> tuple[ModelNames, float]:
    from streamser import Analyzer
    from streamser.audio.file import FileSource

    settings = Settings(offline=True, asr=AsrSettings(engine=engine))
    with Analyzer(settings, tell=lambda line: None) as analyzer:
        models = analyzer.models()
        begun = time.perf_counter()
        for _ in analyzer.stream(_Excerpt(FileSource(recording), _SPEED_S)):
            pass
        return models, time.perf_counter() - begun


class _Excerpt:
    """The beginning of a source."""

    def __init__(self, source: AudioSource, seconds: float) -> None:
        self.name = source.name
        self.rate = source.rate
        self.channels = source.channels
        self.live = False
        self.duration: float | None = seconds
        self._source = source
        self._left = round(seconds * source.rate)

    def chunks(self) -> Iterator[Frames | Gap]:
        from streamser.audio.source import Gap

        for piece in self._source.chunks():
            if isinstance(piece, Gap):
                continue
            yield piece[: self._left]
            self._left -= len(piece)
            if self._left <= 0:
                self._source.stop()
                return

    def stop(self) -> None:
        self._source.stop()


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def devices(
    as_json: Annotated[bool, typer.Option("--json", help="A list of inputs as JSON.")] = False,
) -> None:
    """List the inputs that `listen --device` can use."""
    from streamser.audio.microphone import list_inputs

    inputs = list_inputs()
    if as_json:
        print_json(inputs)
    elif inputs:
        _print_table(inputs)
    if not inputs:
        tell(NOTHING_FOUND)


def _print_table(inputs: Sequence[InputDevice]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("device", justify="right", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("host API", overflow="fold")
    table.add_column("channels", justify="right", no_wrap=True)
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for device in inputs:
        table.add_row(
            str(device.index),
            Text(printable(device.name)),
            Text(printable(device.host_api)),
            str(device.channels),
            f"{device.default_rate} Hz",
            "default" if device.is_default else "",
        )
    Console(highlight=False).print(table)
