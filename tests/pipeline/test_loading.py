from __future__ import annotations

import asyncio
import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from streamser import Analyzer
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError, ModelError
from streamser.events import (
    EmotionCompleted,
    ErrorRaised,
    Event,
    SessionClosed,
    SessionCreated,
    SpeechStarted,
)
from streamser.pipeline import stream
from streamser.pipeline.build import build_engine
from streamser.pipeline.engine import Engine
from streamser.settings import AsrSettings, EmotionSettings, Settings
from tests.pipeline.doubles import speech
from tests.pipeline.test_analyzer import DEMO

SETTINGS = Settings(
    asr=AsrSettings(engine="none"),
    emotion=EmotionSettings(model="rules"),
)


class Microphone:
    """Give prepared sound, say that it is ``given``, and wait to be stopped."""

    name = "microphone"
    rate = 16_000
    channels = 1
    live = True
    duration = None

    def __init__(self, pieces: list[Frames | Gap], error: BaseException | None = None) -> None:
        self.given = threading.Event()
        self.stopped = False
        self._pieces = pieces
        self._error = error
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def chunks(self) -> Iterator[Frames | Gap]:
        yield from self._pieces
        self.given.set()
        if self._error is not None:
            raise self._error
        self._wake.get()

    def stop(self) -> None:
        self.stopped = True
        self._wake.put(None)


def loading(until: Callable[[], object]) -> Callable[[], Engine]:
    """Load the models, but no sooner than something has come to its end."""

    def build() -> Engine:
        until()
        return build_engine(SETTINGS, lambda line: None, "emotion")

    return build


def demo(seconds: float) -> list[Frames | Gap]:
    """Read the beginning of the bundled recording, in blocks of 20 ms."""
    import soundfile

    frames, _ = soundfile.read(
        DEMO, frames=round(16_000 * seconds), dtype="float32", always_2d=True
    )
    return [frames[at : at + 320] for at in range(0, len(frames), 320)]


def drain(events: Iterator[Event], source: Microphone) -> list[Event]:
    """Read events to the end; the source is stopped once the session has begun."""
    found = []
    for event in events:
        found.append(event)
        if isinstance(event, SessionCreated):
            source.stop()
    return found


def test_what_is_said_while_models_are_loaded_is_kept() -> None:
    """All of it is analysed, as if the models had been there from the first moment."""
    with Analyzer(SETTINGS) as ready:
        usual = list(ready.stream(DEMO))
    starts = [event.audio_start_ms for event in usual if isinstance(event, SpeechStarted)]
    source = Microphone(demo(12))
    tapped: list[int] = []

    def hear(samples: Frames) -> None:
        tapped.append(len(samples))

    with Analyzer(SETTINGS, build=loading(lambda: source.given.wait(60))) as analyzer:
        events = drain(analyzer.stream(source, on_audio=hear), source)
    found = [event.audio_start_ms for event in events if isinstance(event, SpeechStarted)]
    assert len(found) > 1
    assert found == starts[: len(found)]
    assert sum(isinstance(event, EmotionCompleted) for event in events) == len(found)
    closed = events[-1]
    assert isinstance(closed, SessionClosed)
    assert (closed.audio_ms, closed.audio_dropped_ms, closed.failed) == (12_000, 0, 0)
    assert sum(tapped) == 12 * 16_000


def test_the_lag_counts_the_time_of_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the time since the sound was there, whatever was not there yet."""
    now = [0.0]
    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=lambda: now[0]))
    source = Microphone([speech((1.0, 0.0), (1.0, 0.3), (1.0, 0.0))[:, None], *demo(4)])

    def until() -> None:
        source.given.wait(60)
        now[0] = 50.0

    with Analyzer(SETTINGS, build=loading(until)) as analyzer:
        events = drain(analyzer.stream(source), source)
    lags = [event.lag_ms for event in events if isinstance(event, EmotionCompleted)]
    assert lags
    assert set(lags) == {50_000.0}


def test_a_source_that_cannot_be_opened_is_told_before_any_model_is_there() -> None:
    """Nobody waits for models to learn that there is no microphone."""
    fault = AudioError("the microphone is in use", code="device_busy")
    held = threading.Event()
    analyzer = Analyzer(SETTINGS, build=loading(held.wait))
    source = Microphone([], fault)
    with pytest.raises(AudioError, match="in use"):
        next(iter(analyzer.stream(source)))
    assert source.stopped
    held.set()
    analyzer.close()


def test_a_source_that_breaks_off_while_models_are_loaded_loses_nothing() -> None:
    """What it gave before is analysed, and then the fault is told."""
    source = Microphone(demo(6), AudioError("gone", code="device_lost"))
    with Analyzer(SETTINGS, build=loading(lambda: source.given.wait(60))) as analyzer:
        events = list(analyzer.stream(source))
    kinds = [type(event) for event in events]
    assert kinds[0] is SessionCreated
    assert EmotionCompleted in kinds
    assert [event.error.code for event in events if isinstance(event, ErrorRaised)] == [
        "device_lost"
    ]
    assert kinds[-1] is SessionClosed


def test_models_that_cannot_be_loaded_stop_the_source() -> None:
    """With the error of the loading, and no event."""
    source = Microphone(demo(1))

    def build() -> Engine:
        source.given.wait(60)
        raise ModelError("no such model")

    with (
        Analyzer(SETTINGS, build=build) as analyzer,
        pytest.raises(ModelError, match="no such model"),
    ):
        next(iter(analyzer.stream(source)))
    assert source.stopped
    assert not [t for t in threading.enumerate() if t.name == "streamser-reader"]


def test_the_async_twin_may_be_left_while_models_are_loaded() -> None:
    """It does not wait for models that nobody wants any more."""
    held = threading.Event()
    source = Microphone(demo(1))
    analyzer = Analyzer(SETTINGS, build=loading(held.wait))

    async def leave() -> None:
        events = analyzer.astream(source)
        first = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(source.given.wait, 60)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

    asyncio.run(leave())
    assert source.stopped
    held.set()
    analyzer.close()


def test_a_file_waits_for_the_models(tmp_path: Path) -> None:
    """It can, and nothing of it is read before they are there."""
    read = itertools.count()

    class Slow(Microphone):
        live = False

        def chunks(self) -> Iterator[Frames | Gap]:
            next(read)
            yield np.zeros((16_000, 1), np.float32)

    seen: list[int] = []

    def build() -> Engine:
        seen.append(next(read))
        return build_engine(SETTINGS, lambda line: None, "emotion")

    with Analyzer(SETTINGS, build=build) as analyzer:
        assert list(analyzer.stream(Slow([])))
    assert seen == [0]
    assert next(read) == 2
