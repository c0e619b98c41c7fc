"""What the model that comes with the program costs: bytes, start, memory, time an utterance."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import soundfile

import streamser
from streamser.audio.clip import Clip, Samples, to_samples
from streamser.emotion.choose import choose_model
from streamser.emotion.model import EmotionModel, Place, Segment, SpeakerModel
from streamser.errors import StreamserError
from streamser.machine import describe_machine
from streamser.pipeline.requests import EmotionRequest
from streamser.settings import EmotionSettings
from tools.bench.measure import Spread, pinned, spread
from tools.bench.startup import Loading, hear_session, import_torch, load_bundled
from tools.isolated import run_isolated
from tools.reporting import MISSED, Goal, Page, Provenance, Section, Table

__all__ = [
    "GOALS",
    "CompactReport",
    "Growing",
    "Timing",
    "compact_page",
    "measure_compact",
    "measure_growing",
]

GOALS: Final = {
    "bytes": Goal(30.0, "MB"),
    "load": Goal(1.0, "s"),
    "both": Goal(40.0, "ms"),
    "memory": Goal(400.0, "MiB"),
}
EVERY_MS: Final = 500
WINDOW_MS: Final = 10_000
GROWING: Final = (
    f"A growing utterance: asked every {EVERY_MS} ms about the last {WINDOW_MS // 1000} s at most,"
    " and about the whole at its end. CPU ms for each second of sound, without words."
)
_FOLDER: Final = Path(streamser.__file__).parent / "assets" / "models" / "compact"
_DEMO: Final = Path(streamser.__file__).parent / "assets" / "demo.flac"
_SECONDS: Final = (1.0, 2.0, 5.0, 10.0)
_WORDS: Final = "i have wonderful news we won the prize and everyone in the office is so very happy"
_RUNS: Final = 60
_GROWING: Final = (5.0, 15.0)
_GROWING_RUNS: Final = 15
_WARM_UP: Final = 5


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the time of utterances of one length, in ms: what ``extract`` and ``predict`` took."""

    seconds: float
    words: bool
    extract: Spread
    predict: Spread


class Growing(msgspec.Struct, frozen=True, kw_only=True):
    """Hold CPU ms for each second of an utterance, medians over the runs.

    ``streamed`` is ``extract`` with clips that say where they are from, ``anew`` with the same
    clips without that; ``listener`` is ``predict``.
    """

    seconds: float
    clips: int
    streamed: float
    anew: float
    listener: float


class CompactReport(Provenance, frozen=True, kw_only=True):
    """Hold a whole run.

    ``loading`` is from a bare interpreter to a model that answers, onnxruntime's import included;
    ``listen_mib`` the most that a session with Whisper tiny.en takes; ``torch`` what importing
    torch alone would cost, where it is installed.
    """

    bytes: int
    loading: Loading
    listen_mib: float
    torch: Loading | None
    timings: tuple[Timing, ...]
    growing: tuple[Growing, ...]


def measure_compact(command: str, tell: Callable[[str], None]) -> CompactReport:
    """Measure the bundled model on one core; raises ``StreamserError`` where it fails to run."""
    tell("start")
    loading = run_isolated(load_bundled, "compact")
    tell("a session with Whisper tiny.en")
    most = run_isolated(hear_session, str(_DEMO))
    tell("torch")
    try:
        torch: Loading | None = run_isolated(import_torch, "torch")
    except StreamserError:  # not installed
        torch = None
    model = choose_model(EmotionSettings(model="compact"))
    return CompactReport(
        command=command,
        seed=0,
        machine=describe_machine(),
        bytes=sum(path.stat().st_size for path in _FOLDER.iterdir()),
        loading=loading,
        listen_mib=round(most, 1),
        torch=torch,
        timings=tuple(_timings(model, tell)),
        growing=tuple(_growing(model, tell)),
    )


def compact_page(report: CompactReport) -> Page:
    """Set the report as people read it."""
    loading, torch = report.loading, report.torch
    facts = [
        *report.origin,
        "On one core",
        f"The model itself adds {loading.mib:.0f} MiB",
    ]
    if torch is not None:
        facts.append(
            f"Importing torch alone would take {torch.seconds:.2f} s and {torch.mib:.0f} MiB here,"
            " before any model is loaded"
        )
    timings = tuple(
        (
            f"{each.seconds:g} s",
            "17" if each.words else "none",
            f"{each.extract.p50:.1f} / {each.extract.p95:.1f} ms",
            f"{each.predict.p50:.1f} / {each.predict.p95:.1f} ms",
        )
        for each in report.timings
    )
    growing = tuple(
        (
            f"{each.seconds:g} s",
            str(each.clips),
            *(f"{ms:.2f}" for ms in (each.streamed, each.anew, each.streamed / each.anew)),
            f"{each.listener:.2f}",
        )
        for each in report.growing
    )
    heads = ("sound", "words", "extract p50 / p95", "predict p50 / p95")
    grown = ("sound", "asked", "streamed", "anew", "streamed / anew", "listener")
    tables = (
        Table(("", "measured", "goal", ""), tuple(_goal_rows(report)), align="lrrl"),
        Table(heads, timings, align="rlrr"),
        Table(grown, growing, "A growing utterance", align="rrrrrr"),
    )
    section = Section(facts=tuple(facts), tables=tables)
    return Page(title="python -m tools.bench compact", sections=(section,), notes=(GROWING,))


def _goal_rows(report: CompactReport) -> Iterator[tuple[str, ...]]:
    both = next(t for t in report.timings if t.seconds == 5.0 and t.words)
    total = both.extract.p50 + both.predict.p50
    for name, value, goal, number in (
        ("bytes in the package", f"{report.bytes / 1e6:.1f} MB", "bytes", report.bytes / 1e6),
        (
            "load, onnxruntime included",
            f"{report.loading.seconds:.2f} s",
            "load",
            report.loading.seconds,
        ),
        ("5 s of voice and 17 words, p50", f"{total:.1f} ms", "both", total),
        (
            "most memory of a session with Whisper tiny.en, voices not told apart",
            f"{report.listen_mib:.0f} MiB",
            "memory",
            report.listen_mib,
        ),
    ):
        yield name, value, str(GOALS[goal]), "met" if GOALS[goal].met_by(number) else MISSED


def _growing(model: EmotionModel, tell: Callable[[str], None]) -> Iterator[Growing]:
    with pinned():
        for seconds in _GROWING:
            tell(f"an utterance of {seconds:g} s while it is spoken")
            yield measure_growing(model, _demo(seconds), _GROWING_RUNS)


def measure_growing(model: EmotionModel, sound: Samples, runs: int) -> Growing:
    """Ask about an utterance as a session does, without words: partials, and then a final.

    A partial every 500 ms over the last 10 s at most; streamed and anew take turns.
    """
    clips = _clips(sound)
    spent: dict[bool, list[float]] = {True: [], False: []}
    listening: list[float] = []
    for _ in range(runs):
        for placed in spent:
            model.forget("growing")
            observing, judging = _ask(model, model.new_speaker(), clips, placed=placed)
            spent[placed].append(observing)
            listening.append(judging)
    seconds = len(sound) / to_samples(1000)

    def each(values: list[float]) -> float:
        return round(statistics.median(values) * 1000 / seconds, 3)

    return Growing(
        seconds=seconds,
        clips=len(clips),
        streamed=each(spent[True]),
        anew=each(spent[False]),
        listener=each(listening),
    )


def _clips(sound: Samples) -> list[tuple[Samples, Place | None]]:
    step = to_samples(EVERY_MS)
    clips = []
    for end in (*range(step, len(sound), step), len(sound)):
        final = end == len(sound)
        clip = Clip("growing", 1, 0, sound[:end], final)
        window = end if final else to_samples(WINDOW_MS)
        job = EmotionRequest(id=end, clip=clip, window=window, droppable=not final)
        clips.append((job.heard, job.place))
    return clips


def _ask(
    model: EmotionModel,
    listener: SpeakerModel,
    clips: list[tuple[Samples, Place | None]],
    *,
    placed: bool,
) -> tuple[float, float]:
    """Return the CPU seconds that ``extract`` and ``predict`` took together."""
    clock: Callable[[], float] = time.process_time
    observing = judging = 0.0
    for samples, place in clips:
        began = clock()
        (finding,) = model.extract([Segment(samples, None, place if placed else None)])
        between = clock()
        listener.predict(finding)
        observing += between - began
        judging += clock() - between
    return observing, judging


def _demo(seconds: float) -> Samples:
    samples: Samples
    samples, _ = soundfile.read(_DEMO, start=8000, frames=round(seconds * 16_000), dtype="float32")
    return samples


def _timings(model: EmotionModel, tell: Callable[[str], None]) -> list[Timing]:
    listener = model.new_speaker()
    found = []
    with pinned():
        for seconds in _SECONDS:
            samples = _demo(seconds)
            for words in (False, True):
                tell(f"{seconds:g} s, {'with' if words else 'without'} words")
                spoken = Segment(samples, _WORDS if words else None)
                extract, predict = [], []
                for run in range(_WARM_UP + _RUNS):
                    began = time.perf_counter()
                    (finding,) = model.extract([spoken])
                    between = time.perf_counter()
                    listener.predict(finding)
                    ended = time.perf_counter()
                    if run >= _WARM_UP:
                        extract.append((between - began) * 1e3)
                        predict.append((ended - between) * 1e3)
                heard, judged = spread(extract), spread(predict)
                assert heard is not None, "every run is timed"
                assert judged is not None, "every run is timed"
                found.append(Timing(seconds=seconds, words=words, extract=heard, predict=judged))
    return found
