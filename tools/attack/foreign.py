"""What files and servers of others do to who opens them."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import subprocess
import tempfile
import time
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from tools.attack.honest import RATE, speech
from tools.attack.row import Row
from tools.attack.server import RULES, environment, program

__all__ = ["foreign"]

_PATIENCE_S = 10.0
_MEMORY = 6 * 2**30
_ESCAPES = "\x1b]0;TAKEN\x1b\\\x1b]52;c;ZXZpbA==\x1b\\\x1b[2Jhello"
_EMOTION: dict[str, Any] = {
    "category": "happy",
    "confidence": 0.6,
    "scores": {"neutral": 0.4, "happy": 0.6},
    "dimensions": {"valence": 0.1, "arousal": 0.1, "dominance": None},
    "uncertainty": 0.5,
    "modalities": ["audio"],
    "speaker": None,
    "window": {"start_ms": 0, "end_ms": 1000},
    "model": "m",
    "evidence": {},
}


def foreign(tree: Path) -> Iterator[Row]:
    """Hostile recordings, damaged sound, and a server that writes to the terminal."""
    with tempfile.TemporaryDirectory(prefix="streamser-attack-") as name:
        folder = Path(name)
        yield from _recordings(tree, folder)
        yield from _sounds(tree, folder)
        yield from _server(tree, folder)


def _run(tree: Path, *words: str) -> tuple[str, float, float]:
    """Return what a command says, how long it took in s, and its memory in MB."""

    def bounded() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))

    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            program(*words),
            cwd=tempfile.gettempdir(),
            env=environment(tree),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            preexec_fn=bounded,
        )
        seconds, usage = float("inf"), None
        while time.monotonic() < began + _PATIENCE_S:
            done, _, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                seconds = time.monotonic() - began
                break
            time.sleep(0.05)
        else:
            process.kill()
            _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        said.seek(0)
        return said.read().decode(errors="replace"), seconds, usage.ru_maxrss / 1024


def _event(seq: int, **fields: Any) -> str:
    return json.dumps({"event_id": f"e{seq}", "session_id": "s", "seq": seq, **fields})


def _recordings(tree: Path, folder: Path) -> Iterator[Row]:
    far = {**_EMOTION, "window": {"start_ms": 0, "end_ms": 2**53 - 1}}
    closed = {
        "audio_ms": 9_007_199_254_740_000,
        **dict.fromkeys(("speech_ms", "utterances", "failed", "partials_dropped"), 0),
        "audio_dropped_ms": 0,
    }
    delta = _event(1, type="streamser.emotion.delta", item_id="i", emotion=_EMOTION)
    final = _event(2, type="streamser.emotion.completed", item_id="i", emotion=far)
    end = _event(1, type="streamser.session.closed", **closed)
    cases = {
        "a session of 285,000 years": ("report", [end]),
        "an utterance as long": ("report", [final]),
        "the same, as EmotionML": ("export", [delta, final]),
    }
    for number, (name, (command, lines)) in enumerate(cases.items()):
        path = folder / f"{number}.jsonl"
        path.write_text("\n".join([*lines, ""]))
        words = (command, str(path), *(("--to", "emotionml") if command == "export" else ()))
        said, seconds, memory = _run(tree, *words)
        yield Row(f"JSONL: {name}", "time", seconds, 8, "s")
        yield Row(f"JSONL: {name}", "memory", memory, 1000, "MB")
        yield Row(f"JSONL: {name}", "tracebacks", said.count("Traceback"), 0)


def _sounds(tree: Path, folder: Path) -> Iterator[Row]:
    import numpy as np
    import soundfile

    good = _good_sound(folder)
    for ending in ("caf", "w64"):
        whole = folder / f"whole.{ending}"
        soundfile.write(whole, np.zeros(800, np.float32), 8000, format=ending.upper())
        head, bad = whole.read_bytes(), []
        for at in range(40, 70):
            for number, strange in enumerate(
                (b"\xff" * 8, b"\x7f" + b"\xff" * 7, bytes(7) + b"\x80")
            ):
                bad.append(folder / f"bad-{at}-{number}.{ending}")
                bad[-1].write_bytes(head[:at] + strange + head[at + 8 :])
        words = ("analyze", *map(str, bad), str(good), *RULES, "--format", "csv")
        said, seconds, _ = _run(tree, *words)
        name = f"damaged {ending.upper()}"
        yield Row(name, "time", seconds, 8, "s")
        yield Row(name, "the file after it is left out", "good.wav," not in said, 0)
        yield Row(name, "told as a fault of stdout", said.count("stdout"), 0)


def _good_sound(folder: Path) -> Path:
    path = folder / "good.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(speech(5))
    return path


def _server(tree: Path, folder: Path) -> Iterator[Row]:
    said = asyncio.run(_answered(tree, _good_sound(folder)))
    escapes = said.count("\x1b]") + said.count("\x1b[2J")
    yield Row("hostile server", "escapes on the terminal", escapes, 0)
    yield Row("hostile server", "its words are shown", -said.count("hello"), -1)
    yield Row("hostile server", "tracebacks", said.count("Traceback"), 0)


async def _answered(tree: Path, sound: Path) -> str:
    models = {"vad": "v", "asr": "a", "emotion": "e"}
    info = {"id": "s", "models": models, "silence_ms": 500, "max_utterance_ms": 20_000}
    completed = "conversation.item.input_audio_transcription.completed"
    spoken = {
        "item_id": "i",
        "transcript": _ESCAPES,
        "usage": {"type": "duration", "seconds": 1.0},
        "audio_start_ms": 0,
        "audio_end_ms": 1000,
        "emotion": _EMOTION,
    }
    error = {"type": "server_error", "code": "c", "message": _ESCAPES}
    closing = dict.fromkeys(("speech_ms", "utterances", "failed", "partials_dropped"), 0)

    async def answer(line: ServerConnection) -> None:
        await line.send(_event(1, type="session.created", session=info))
        await line.send(_event(2, type=completed, **spoken))
        await line.send(_event(3, type="error", error=error))
        await asyncio.sleep(1)
        closed = {"audio_ms": 1000, "audio_dropped_ms": 0, **closing}
        await line.send(_event(4, type="streamser.session.closed", **closed))
        await line.close()

    async with serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        url = f"ws://127.0.0.1:{port}/v1/realtime"
        said, _, _ = await asyncio.to_thread(
            _run, tree, "listen", "--file", str(sound), "--server", url
        )
    return said
