"""What a faulty plug-in costs: one that raises or hangs, a sink that blocks, a slow load."""

from __future__ import annotations

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tools.attack.honest import RATE, talk
from tools.attack.row import Row
from tools.attack.server import Pulse, Server
from tools.attack.wire import ask

__all__ = ["plugs"]

_CODE = """
import time
from streamser.emotion.rules import RulesSpeaker, RulesModel

class Raising(RulesSpeaker):
    def predict(self, finding):
        raise ValueError("on purpose")

class Unlearning(RulesSpeaker):
    def adapt(self, finding):
        raise ValueError("on purpose")

class Hanging(RulesSpeaker):
    def predict(self, finding):
        time.sleep(600)

class _Made(RulesModel):
    made = RulesSpeaker
    def __init__(self, settings, *, offline):
        super().__init__()
    def new_speaker(self):
        return self.made()

class RaisingModel(_Made):
    made = Raising

class UnlearningModel(_Made):
    made = Unlearning

class HangingModel(_Made):
    made = Hanging

class LateModel(_Made):
    def __init__(self, settings, *, offline):
        time.sleep(600)

class Blocked:
    def __init__(self, argument):
        pass
    def take(self, event):
        time.sleep(600)
    def close(self):
        pass
"""
_POINTS = """[streamser.emotion_models]
raising = streamser_attack:RaisingModel
unlearning = streamser_attack:UnlearningModel
hanging = streamser_attack:HangingModel
late = streamser_attack:LateModel

[streamser.sinks]
blocked = streamser_attack:Blocked
"""
_STREAM = f"/v1/realtime?rate={RATE}&speaker=Ann&meeting=m"


def plugs(tree: Path) -> Iterator[Row]:
    """Speak to a server with each of them, and end it."""
    with tempfile.TemporaryDirectory(prefix="streamser-attack-") as name:
        plugins = _laid(Path(name))
        for model in ("raising", "unlearning"):
            yield from _faulty(tree, plugins, model)
        yield from _hanging(tree, plugins)
        yield from _blocked(tree, plugins)
        yield from _late(tree, plugins)


def _laid(folder: Path) -> Path:
    info = folder / "streamser_attack-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: streamser-attack\nVersion: 1\n")
    (info / "entry_points.txt").write_text(_POINTS)
    (folder / "streamser_attack.py").write_text(_CODE)
    return folder


def _faulty(tree: Path, plugins: Path, model: str) -> Iterator[Row]:
    name = f"plug-in, {model}"
    with Server(tree, model=model, plugins=plugins) as server:
        told = asyncio.run(talk(server.url(_STREAM), 7, paced=False, wait_s=6))
        kinds = [str(event["type"]) for _, event in told]
        begun = sum(kind == "input_audio_buffer.committed" for kind in kinds)
        over = sum(kind.endswith(("emotion.completed", "transcription.failed")) for kind in kinds)
        yield Row(name, "utterances begun", -begun, -1)
        yield Row(name, "utterances that end in silence", max(0, begun - over), 0)
        yield Row(name, "streams that never end", "streamser.session.closed" not in kinds, 0)
        yield Row(name, "SIGTERM to the end", server.end(16), 15, "s")


def _hanging(tree: Path, plugins: Path) -> Iterator[Row]:
    with Server(tree, model="hanging", plugins=plugins) as server:
        url = server.url(_STREAM)
        quiet = threading.Thread(
            target=lambda: asyncio.run(talk(url, 7, paced=False, wait_s=4)), daemon=True
        )
        with Pulse(server.port) as pulse:
            quiet.start()
            quiet.join(15)
        yield Row("plug-in, hanging", "longest standstill", pulse.worst_ms, 10_000, "ms")
        yield Row("plug-in, hanging", "SIGTERM to the end", server.end(16), 15, "s")


def _blocked(tree: Path, plugins: Path) -> Iterator[Row]:
    with Server(tree, ("--sink", "blocked"), plugins=plugins) as server:
        told = asyncio.run(talk(server.url(_STREAM), 7, paced=False, wait_s=10))
        finals = sum(event["type"] == "streamser.emotion.completed" for _, event in told)
        yield Row("sink that blocks", "finals beside it", -finals, -1)
        yield Row("sink that blocks", "SIGTERM to the end", server.end(20), 18, "s")


def _late(tree: Path, plugins: Path) -> Iterator[Row]:
    with Server(tree, model="late", plugins=plugins, ready=False) as server:
        server.wait("/healthz")
        until = time.monotonic() + 2
        while time.monotonic() < until and ask(server.port, "/readyz")[0] == 200:
            time.sleep(0.1)
        yield Row("SIGTERM while loading", "to the end", server.end(15), 14, "s")
