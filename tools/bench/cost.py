"""What a reading of emotion every half second of speech costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples, to_samples
from streamser.audio.reader import Resampler
from streamser.audio.source import Frames
from streamser.emotion.model import EmotionModel, Segment
from streamser.errors import AudioError
from streamser.events import EmotionDelta
from streamser.pipeline.build import build_model, build_vads
from streamser.pipeline.engine import Engine
from streamser.pipeline.requests import EmotionRequest, Outcome, Request
from streamser.settings import PartialSettings, Settings
from streamser.speech.vad import Vad
from tools.bench.conversation import BLOCK_MS, Conversation
from tools.bench.core import make_session, run_core
from tools.bench.measure import Spread, pinned, spread

__all__ = ["PartialSection", "Windows", "measure_partials"]

_MOST_WINDOWS = 200
_MOST_FULL = 40


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what ``extract`` takes for windows of a mean length; the share is of the mean time."""

    mean_length_s: float
    observe_ms: Spread
    share_of_core: float


class PartialSection(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the cost of partial emotion.

    ``share_of_core`` is CPU time of the process with partials minus without (medians over the
    passes), divided by the seconds of speech, which are counted as partials times their
    interval: speech left over at the end of an utterance is not counted in anybody's favour.
    ``as_they_came`` times ``extract`` alone on the windows of this sound, ``longest`` on
    windows of full length, as somebody who never pauses would give.
    """

    model: str
    audio_s: float
    passes: int
    every_ms: int
    window_ms: int
    core: int | None
    partials: int
    speech_s: float
    cpu_with_s: float
    cpu_without_s: float
    share_of_core: float
    as_they_came: Windows
    longest: Windows


class _Run(msgspec.Struct, frozen=True):
    """CPU seconds of a pass, the partials told in it, and the windows they were read from."""

    cpu: float
    partials: int
    windows: list[Samples]


def measure_partials(
    conversation: Conversation, seconds: float, passes: int, tell: Callable[[str], None]
) -> PartialSection:
    """Measure the cost of partial emotion with the default model, recogniser off.

    Everything runs on the calling thread, which is pinned to one core.
    """
    partial = PartialSettings()
    model = build_model(Settings(), lambda line: None)
    make_vad = build_vads(Settings())
    total = round(seconds * SAMPLE_RATE)
    blocks = [block[:, None] for block in conversation.blocks(to_samples(BLOCK_MS), total=total)]
    runs: dict[int, list[_Run]] = {partial.every_ms: [], 0: []}
    with pinned() as core:
        for _ in range(passes):
            tell(f"partial emotion, on and off: {seconds:.0f} s of sound")
            for every_ms, done in runs.items():
                done.append(_run(every_ms, make_vad(), model, blocks))
        heard = runs[partial.every_ms][0]
        if not heard.windows:
            raise AudioError(f"no speech was found in {conversation.name}: nothing to measure.")
        came = _observe(model, heard.windows, partial.every_ms)
        full = _full_windows(heard.windows, to_samples(partial.window_ms))
        longest = _observe(model, full, partial.every_ms)
    cpu_with, cpu_without = (statistics.median(run.cpu for run in done) for done in runs.values())
    speech_s = heard.partials * partial.every_ms / 1000
    return PartialSection(
        model=model.name,
        audio_s=seconds,
        passes=passes,
        every_ms=partial.every_ms,
        window_ms=partial.window_ms,
        core=core,
        partials=heard.partials,
        speech_s=speech_s,
        cpu_with_s=round(cpu_with, 3),
        cpu_without_s=round(cpu_without, 3),
        share_of_core=round((cpu_with - cpu_without) / speech_s, 4),
        as_they_came=came,
        longest=longest,
    )


def _run(every_ms: int, vad: Vad, model: EmotionModel, blocks: Sequence[Frames]) -> _Run:
    engine = Engine(None, model)
    windows: list[Samples] = []

    def answer(job: Request) -> Outcome:
        if isinstance(job, EmotionRequest) and job.droppable and len(windows) < _MOST_WINDOWS:
            windows.append(job.heard)
        return engine.run([job])[0]

    settings = Settings(partial=PartialSettings(every_ms=every_ms))
    session = make_session(settings, vad, engine)
    began = time.process_time()
    events = run_core(session, Resampler(SAMPLE_RATE, 1), blocks, answer)
    cpu = time.process_time() - began
    return _Run(cpu, sum(isinstance(event, EmotionDelta) for event in events), windows)


def _full_windows(windows: Sequence[Samples], length: int) -> list[Samples]:
    """Make windows of a full length by stringing those that came together."""
    whole = np.concatenate(windows)
    count = min(_MOST_FULL, max(1, len(whole) // length))
    return [np.resize(whole[n * length :], length) for n in range(count)]


def _observe(model: EmotionModel, windows: Sequence[Samples], every_ms: int) -> Windows:
    took: list[float] = []
    for window in windows:
        began = time.perf_counter()
        model.extract([Segment(samples=window, text=None)])
        took.append((time.perf_counter() - began) * 1000)
    distribution = spread(took)
    assert distribution is not None
    return Windows(
        mean_length_s=round(sum(map(len, windows)) / len(windows) / SAMPLE_RATE, 2),
        observe_ms=distribution,
        share_of_core=round(statistics.mean(took) / every_ms, 4),
    )
