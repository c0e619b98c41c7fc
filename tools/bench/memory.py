"""Whether memory stays flat over hours of sound, in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.events import SessionClosed
from streamser.pipeline.analyzer import Analyzer
from streamser.settings import AsrSettings, Settings
from tools.bench.conversation import Playback, load_demo, load_recordings
from tools.bench.measure import memory_kind, resident_mib
from tools.isolated import Tell, run_isolated

__all__ = ["MemoryReading", "MemorySection", "analyse_stream", "measure_memory"]

_PLACES = (1 / 18, 1 / 3, 1.0)
"""Shares of the stream at which memory is read: 10, 60 and 180 minutes of three hours."""
_INPUT_RATE = 48_000


class MemoryReading(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the resident memory after so much audio."""

    audio_minutes: float
    resident_mib: float


class MemorySection(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the memory of a process that analysed one long stream as fast as it could.

    ``kind`` is ``current``, ``peak`` (where the system tells no more) or ``not measured``.
    ``growth_mib`` is the last reading minus the first.
    """

    hours: float
    input_rate: int
    kind: str
    at_start_mib: float | None
    readings: tuple[MemoryReading, ...]
    growth_mib: float | None
    utterances: int
    events: int
    times_real: float


def measure_memory(hours: float, recordings: Path | None, tell: Tell) -> MemorySection:
    """Analyse a stream of so many hours in a fresh process and read its memory on the way.

    The stream is made of the recordings (``None``: the demo) while it is heard and comes at
    48 kHz; the analyzer has its device thread and the default emotion model, no recogniser.
    Raises ``StreamserError`` where the process fails.
    """
    folder = None if recordings is None else str(recordings)
    return run_isolated(analyse_stream, (hours, folder), tell)


def analyse_stream(asked: tuple[float, str | None], tell: Tell) -> MemorySection:
    """Analyse so many hours of the recordings in this process, as fast as that goes."""
    hours, folder = asked
    conversation = load_demo() if folder is None else load_recordings(Path(folder))
    source = Playback(conversation.at_rate(_INPUT_RATE), hours * 3600, paced=False)
    gauge = _Gauge(round(hours * 3600 * SAMPLE_RATE), tell)
    events, utterances = 0, 0
    with Analyzer(Settings(asr=AsrSettings(engine="none"))) as analyzer:
        analyzer.models()
        at_start = resident_mib()
        began = time.perf_counter()
        for event in analyzer.stream(source, on_audio=gauge.hear):
            events += 1
            if isinstance(event, SessionClosed):
                utterances = event.utterances
        took = time.perf_counter() - began
    readings = tuple(gauge.readings)
    growth = readings[-1].resident_mib - readings[0].resident_mib if readings else None
    return MemorySection(
        hours=hours,
        input_rate=_INPUT_RATE,
        kind=memory_kind(),
        at_start_mib=at_start,
        readings=readings,
        growth_mib=None if growth is None else round(growth, 2),
        utterances=utterances,
        events=events,
        times_real=round(hours * 3600 / took, 1),
    )


class _Gauge:
    """Read the memory when so much sound has been heard."""

    def __init__(self, total: int, tell: Tell) -> None:
        self._tell = tell
        self._places = [round(share * total) for share in _PLACES]
        self._heard = 0
        self.readings: list[MemoryReading] = []

    def hear(self, samples: Samples) -> None:
        self._heard += len(samples)
        while self._places and self._heard >= self._places[0]:
            self._places.pop(0)
            self.read()

    def read(self) -> None:
        resident = resident_mib()
        if resident is not None:
            minutes = round(self._heard / SAMPLE_RATE / 60, 2)
            self.readings.append(MemoryReading(audio_minutes=minutes, resident_mib=resident))
            self._tell(f"memory: {resident:.1f} MiB after {minutes:g} min of audio")
