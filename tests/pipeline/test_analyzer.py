from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

from streamser import Analyzer
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError, ConfigError, ModelError
from streamser.events import (
    EmotionCompleted,
    EmotionDelta,
    ErrorRaised,
    Event,
    Overload,
    SessionClosed,
    SessionCreated,
    SpeechStarted,
    SpeechStopped,
    decode_event,
    encode_event,
)
from streamser.settings import (
    AsrSettings,
    EmotionSettings,
    EndpointingSettings,
    PartialSettings,
    Settings,
    WorkerSettings,
)

DEMO = Path(__file__).parents[2] / "streamser" / "assets" / "demo.flac"
VOICE_ONLY = Settings(asr=AsrSettings(engine="none"))


class ListSource:
    """Yield prepared pieces, and break off with an error if told to."""

    name = "list"
    rate = 16_000
    channels = 1
    duration = None

    def __init__(
        self,
        pieces: list[Frames | Gap],
        *,
        live: bool = False,
        error: BaseException | None = None,
    ) -> None:
        self.live = live
        self.stopped = False
        self.given = 0
        self._pieces = pieces
        self._error = error

    def chunks(self) -> Iterator[Frames | Gap]:
        for piece in self._pieces:
            if self.stopped:
                return
            self.given += 1
            yield piece
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture(scope="module")
def analyzer() -> Iterator[Analyzer]:
    """Share one analyzer without a recogniser."""
    with Analyzer(VOICE_ONLY) as shared:
        yield shared


@pytest.fixture(scope="module")
def demo() -> Frames:
    """Read the first 20 seconds of the bundled recording."""
    frames, rate = soundfile.read(DEMO, frames=20 * 16_000, dtype="float32", always_2d=True)
    assert rate == 16_000
    found: Frames = frames
    return found


def plain(events: list[Event]) -> list[dict[str, Any]]:
    """Strip what differs between two runs by its nature: the session's name."""
    session_id = events[0].session_id
    text = "\n".join(encode_event(event).decode() for event in events)
    return [msgspec.json.decode(line) for line in text.replace(session_id, "S").split("\n")]


def spans(events: list[Event]) -> list[tuple[int, int]]:
    """List where utterances begin and end."""
    starts = [event.audio_start_ms for event in events if isinstance(event, SpeechStarted)]
    ends = [event.audio_end_ms for event in events if isinstance(event, SpeechStopped)]
    return list(zip(starts, ends, strict=True))


def test_a_file_gives_the_same_events_every_time_and_however_it_is_chopped(
    analyzer: Analyzer, demo: Frames
) -> None:
    """Readings of partials included."""
    whole = list(analyzer.stream(ListSource([demo])))
    odd = list(analyzer.stream(ListSource(list(np.split(demo, [1, 2, 700, 50_001, 50_001])))))
    assert len(spans(whole)) >= 4
    assert any(isinstance(event, EmotionDelta) for event in whole)
    assert plain(whole) == plain(odd)


def test_two_streams_at_once_give_what_each_gives_alone(analyzer: Analyzer, demo: Frames) -> None:
    """Nothing leaks between sessions that share the models."""
    quiet = demo[::-1] * np.float32(0.3)
    alone = [plain(list(analyzer.stream(ListSource([sound])))) for sound in (demo, quiet)]
    with ThreadPoolExecutor() as pool:
        together = list(
            pool.map(lambda sound: plain(list(analyzer.stream(ListSource([sound])))), (demo, quiet))
        )
    assert together == alone


def test_every_event_survives_its_encoding(analyzer: Analyzer, demo: Frames) -> None:
    """What is written can be read back."""
    for event in analyzer.stream(ListSource([demo])):
        assert decode_event(encode_event(event)) == event


def test_a_live_stream_tells_its_lag_and_a_file_does_not(analyzer: Analyzer, demo: Frames) -> None:
    """There is nothing to lag behind in a file that is read at full speed."""
    pieces: list[Frames | Gap] = list(np.split(demo, range(320, len(demo), 320)))
    live = list(analyzer.stream(ListSource(pieces, live=True)))
    filed = list(analyzer.stream(ListSource(pieces)))
    assert spans(live) == spans(filed)
    assert all(
        event.lag_ms is not None and event.lag_ms >= 0
        for event in live
        if isinstance(event, EmotionCompleted | SpeechStarted)
    )
    assert all(event.lag_ms is None for event in filed)


def test_a_source_that_breaks_off_loses_nothing_that_was_heard(
    analyzer: Analyzer, demo: Frames
) -> None:
    """The open utterance is flushed, the fault is told, and the session closes."""
    fault = AudioError("the microphone has gone.", code="device_lost")
    speaking = demo[: 16_000 * 3]
    events = list(analyzer.stream(ListSource([speaking], error=fault)))
    (error,) = [event for event in events if isinstance(event, ErrorRaised)]
    assert (error.error.code, error.error.message) == ("device_lost", "the microphone has gone.")
    closed = events[-1]
    assert isinstance(closed, SessionClosed)
    assert closed.audio_ms == 3000
    finals = [event for event in events if isinstance(event, EmotionCompleted)]
    assert len(finals) == closed.utterances >= 1


def test_lost_sound_is_told_and_the_audio_clock_stays_true(
    analyzer: Analyzer, demo: Frames
) -> None:
    """Silence stands for what was lost, so later times are right."""
    gap = Gap(16_000, "dropped")
    silence = np.zeros((16_000, 1), np.float32)
    lossy = list(analyzer.stream(ListSource([gap, demo])))
    filled = list(analyzer.stream(ListSource([silence, demo])))
    (overload,) = [event for event in lossy if isinstance(event, Overload)]
    assert (overload.kind, overload.dropped, overload.reason) == ("audio", 1000, "dropped")
    assert spans(lossy) == spans(filled)


def test_files_wait_for_each_other_and_lose_nothing(demo: Frames) -> None:
    """However small the queue of the worker thread is."""
    settings = msgspec.structs.replace(VOICE_ONLY, worker=WorkerSettings(max_finals=1))
    with Analyzer(settings) as analyzer, ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: plain(list(analyzer.stream(ListSource([demo])))), range(8)))
    assert all(run == runs[0] for run in runs)
    assert runs[0][-1]["failed"] == 0
    assert runs[0][-1]["utterances"] >= 4


@pytest.mark.parametrize("seen", [0, 1, 2, 9])
def test_the_iterator_may_be_dropped_after_any_event(
    analyzer: Analyzer, demo: Frames, seen: int
) -> None:
    """Also after the first, before any sound was read."""
    source = ListSource([demo] * 100)
    events = analyzer.stream(source)
    for _ in range(seen):
        next(events)
    events.close()  # type: ignore[attr-defined]
    assert source.stopped or seen == 0
    assert not [t for t in threading.enumerate() if t.name == "streamser-reader"]


def test_a_session_says_where_its_sound_comes_from(analyzer: Analyzer, tmp_path: Path) -> None:
    """By its path, even where that is no text in any encoding."""
    odd = tmp_path / os.fsdecode(b"odd\xff.flac")
    shutil.copy(DEMO, odd)
    first = next(iter(analyzer.stream(odd)))
    assert isinstance(first, SessionCreated)
    assert first.session.source == str(tmp_path / "odd?.flac")
    encode_event(first)


def test_settings_that_do_not_go_together_are_refused_before_any_model_is_loaded() -> None:
    """They are no fault of a file."""
    endpointing = EndpointingSettings(pre_roll_ms=400, max_utterance_ms=1000)
    with pytest.raises(ConfigError, match="endpointing: max_length"):
        Analyzer(Settings(endpointing=endpointing))
    with pytest.raises(ConfigError, match="no emotion model is called 'rulse'"):
        Analyzer(Settings(emotion=EmotionSettings(model="rulse")))


def test_nothing_is_written_below_the_home_directory(tmp_path: Path) -> None:
    """No library's telemetry either."""
    code = (
        "from streamser import Analyzer, load_settings\n"
        "settings = load_settings('voice-only')\n"
        f"with Analyzer(settings) as analyzer: print(len(list(analyzer.stream({str(DEMO)!r}))))"
    )
    environment = os.environ | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert int(run.stdout) > 12
    assert list(tmp_path.rglob("*")) == []


def test_dropping_the_iterator_stops_the_source(analyzer: Analyzer, demo: Frames) -> None:
    """A consumer that has seen enough leaves no thread behind."""
    source = ListSource([demo] * 1000)
    events = analyzer.stream(source)
    for event in events:
        if isinstance(event, EmotionCompleted):
            break
    events.close()  # type: ignore[attr-defined]
    assert source.stopped
    assert source.given < 1000
    assert not [t for t in threading.enumerate() if t.name == "streamser-reader"]


def test_the_async_twin_gives_the_same_events(analyzer: Analyzer, demo: Frames) -> None:
    """For those who live in an event loop."""

    async def collect() -> list[Event]:
        return [event async for event in analyzer.astream(ListSource([demo]))]

    assert plain(asyncio.run(collect())) == plain(list(analyzer.stream(ListSource([demo]))))


def test_the_async_twin_may_be_left_early(analyzer: Analyzer, demo: Frames) -> None:
    """Its source is stopped, and its thread ends."""
    source = ListSource([demo] * 1000)

    async def peek() -> None:
        events = analyzer.astream(source)
        async for _ in events:
            break
        await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(peek())
    assert source.stopped
    assert not [t for t in threading.enumerate() if t.name == "streamser-reader"]


class OpenSource(ListSource):
    """Give no sound, and go on until it is stopped."""

    def __init__(self) -> None:
        super().__init__([], live=True)
        self._end = threading.Event()

    def chunks(self) -> Iterator[Frames | Gap]:
        self._end.wait()
        yield from ()

    def stop(self) -> None:
        self._end.set()


class GatedSource(OpenSource):
    """Give what a gate of its own lets through, and nothing in the pause that follows."""

    def __init__(self, sound: Frames) -> None:
        super().__init__()
        self._pieces = [sound]

    def chunks(self) -> Iterator[Frames | Gap]:
        yield from self._pieces
        yield from super().chunks()


def test_a_live_source_that_gives_nothing_in_pauses_gets_its_final(demo: Frames) -> None:
    """Without waiting for its end."""
    settings = Settings(asr=VOICE_ONLY.asr, endpointing=EndpointingSettings(no_sound_ms=250))
    source = GatedSource(demo[: 3 * 16_000 // 2])
    found: list[Event] = []
    with Analyzer(settings) as analyzer:
        for event in analyzer.stream(source):
            found.append(event)
            if isinstance(event, EmotionCompleted):
                source.stop()
    (stopped,) = [event for event in found if isinstance(event, SpeechStopped)]
    assert stopped.reason == "no_sound"


def test_async_streams_take_no_place_in_the_pool_of_the_loop(analyzer: Analyzer) -> None:
    """All of them begin, however few threads the loop has for whatever comes along."""
    sources = [OpenSource() for _ in range(4)]

    async def first(source: OpenSource) -> tuple[Event, int]:
        events = analyzer.astream(source)
        begun = await anext(events)
        begins.add(source)
        if len(begins) == len(sources):
            for each in sources:
                each.stop()
        return begun, len([event async for event in events])

    async def follow_all() -> list[tuple[Event, int]]:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        both = asyncio.gather(*map(first, sources))
        return await asyncio.wait_for(both, 60)

    begins: set[OpenSource] = set()
    for begun, later in asyncio.run(follow_all()):
        assert isinstance(begun, SessionCreated)
        assert later == 1


def test_the_async_twin_raises_what_the_plain_one_raises(tmp_path: Path) -> None:
    """A file that does not exist is an audio error in both."""

    async def collect() -> list[Event]:
        return [event async for event in Analyzer(VOICE_ONLY).astream(tmp_path / "no.wav")]

    with pytest.raises(AudioError, match=r"no\.wav"):
        asyncio.run(collect())
    with pytest.raises(AudioError, match=r"no\.wav"):
        list(Analyzer(VOICE_ONLY).stream(tmp_path / "no.wav"))


def test_numbers_that_are_none_are_told_in_one_line(demo: Frames) -> None:
    """NaN samples are taken as silence, and people hear of it."""
    broken = demo.copy()
    broken[100:200] = np.nan
    told: list[str] = []
    with Analyzer(VOICE_ONLY, tell=told.append) as analyzer:
        assert spans(list(analyzer.stream(ListSource([broken]))))
    assert told == ["list: 100 samples were not numbers and were taken as silence."]


def test_a_missing_whisper_model_is_told_before_the_first_event(tmp_path: Path) -> None:
    """By its path, and without a session having begun."""
    asr = AsrSettings(engine="whisper", model=str(tmp_path / "nowhere"))
    with Analyzer(Settings(asr=asr)) as analyzer, pytest.raises(ModelError, match="nowhere"):
        next(iter(analyzer.stream(DEMO)))


def test_words_are_the_same_however_a_file_is_chopped(demo: Frames) -> None:
    """With partials as well."""
    settings = Settings(
        asr=AsrSettings(engine="whisper"), partial=PartialSettings(every_ms=1000), offline=True
    )
    short = demo[: 16_000 * 5]
    with Analyzer(settings) as analyzer:
        whole = plain(list(analyzer.stream(ListSource([short]))))
        odd = plain(list(analyzer.stream(ListSource(list(np.split(short, [7, 12_345, 60_000]))))))
    assert whole == odd
    assert any(event.get("transcript") for event in whole)
