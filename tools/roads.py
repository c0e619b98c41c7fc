"""The roads of a stream: which files and functions are entered while it is heard, traced."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np

import streamser
from streamser.audio.clip import SAMPLE_RATE
from streamser.pipeline.analyzer import Analyzer
from streamser.pipeline.build import build_engine
from streamser.server.app import EmotionServer, ServerOptions
from streamser.settings import Settings
from streamser.settings_loader import load_settings

__all__ = ["Road", "library_road", "server_road"]

_WHEEL = Path(streamser.__file__).parent
_SECONDS = 14
_BLOCK = SAMPLE_RATE // 50


class Road(msgspec.Struct, frozen=True):
    """Hold a road: how often each file was entered, and how many functions there were."""

    name: str
    files: dict[str, int]
    functions: int

    def __str__(self) -> str:
        most = sorted(self.files.items(), key=lambda each: -each[1])
        return (
            f"{self.name}: {len(self.files)} files, {self.functions} functions,"
            f" {sum(self.files.values())} calls: {', '.join(f'{n} {c}' for n, c in most)}"
        )


def library_road() -> Road:
    """Trace a stream of the library: 14 s of the demo in blocks of 20 ms, voice alone."""
    trace = _Trace()
    with trace.installed(), Analyzer(_settings()) as analyzer:
        analyzer.models()
        # What happens only once is no part of the road.
        list(analyzer.stream(_Blocks()))
        with trace.on():
            list(analyzer.stream(_Blocks(), live=True))
    return trace.road("library")


def server_road() -> Road:
    """Trace a stream to a server in this process, its models in this process too."""
    trace = _Trace()
    with trace.installed():
        asyncio.run(_serve(trace))
    return trace.road("server")


async def _serve(trace: _Trace) -> None:
    from websockets.asyncio.client import connect

    settings = _settings()
    fittings = ServerOptions(build=lambda: build_engine(settings, _say_nothing))
    server = EmotionServer(settings, _say_nothing, fittings)
    await server.start()
    await server.load()
    address = server.local_url.replace("http", "ws")
    sound = (np.clip(_samples(), -1, 1) * 32767).astype("<i2").tobytes()
    with trace.on():
        async with connect(f"{address}/v1/realtime?rate={SAMPLE_RATE}&meeting=m&speaker=a") as wire:
            for start in range(0, len(sound), 2 * _BLOCK):
                await wire.send(sound[start : start + 2 * _BLOCK])
            await wire.send(json.dumps({"type": "streamser.finish"}))
            async for _ in wire:
                pass
    await server.stop()


class _Trace:
    """Count calls into the package, on every thread that begins while it is installed."""

    def __init__(self) -> None:
        self._calls: Counter[tuple[str, str]] = Counter()
        self._counts = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    @contextmanager
    def on(self) -> Iterator[None]:
        self._counts = True
        try:
            yield
        finally:
            self._counts = False

    def road(self, name: str) -> Road:
        files: Counter[str] = Counter()
        for (file, _), count in self._calls.items():
            files[file] += count
        return Road(name, dict(files), len(self._calls))

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and self._counts:
            path = Path(frame.f_code.co_filename)
            if path.is_relative_to(_WHEEL):
                self._calls[str(path.relative_to(_WHEEL)), frame.f_code.co_qualname] += 1


class _Blocks:
    """The beginning of the demo as an ``AudioSource``."""

    name = "demo"
    rate = SAMPLE_RATE
    channels = 1
    live = False
    duration: float | None = float(_SECONDS)

    def chunks(self) -> Iterator[Any]:
        samples = _samples()
        for start in range(0, len(samples), _BLOCK):
            yield samples[start : start + _BLOCK, None]

    def stop(self) -> None:
        pass


def _samples() -> Any:
    import soundfile

    path = _WHEEL / "assets" / "demo.flac"
    samples, rate = soundfile.read(path, stop=_SECONDS * SAMPLE_RATE, dtype="float32")
    assert rate == SAMPLE_RATE
    return samples


def _settings() -> Settings:
    flags = {"asr.engine": "none", "offline": True, "server.port": 0, "server.late_s": 0.0}
    return load_settings(flags=flags)


def _say_nothing(line: str) -> None:
    pass
