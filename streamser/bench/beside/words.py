"""Our batched transcriber beside faster-whisper called an utterance at a time from N threads."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from streamser.audio.clip import Clip, Samples
from streamser.bench.beside.closed_loop import Pace, cut_utterances, run_batched, run_threads
from streamser.bench.beside.report import Comparison, Contender, Ratio
from streamser.bench.beside.tasks import WordsTask
from streamser.bench.conversation import load_demo, load_recordings
from streamser.bench.core import NullModel
from streamser.bench.random_whisper import WORDS, write_random_whisper
from streamser.runtime.engine import Engine, Runner
from streamser.runtime.jobs import WordsJob
from streamser.settings import AsrSettings, WorkerSettings
from streamser.speech.choose import choose_transcriber

__all__ = ["compare_words"]

GOAL = 1.5


def compare_words(task: WordsTask, tell: Callable[[str], None]) -> Comparison:
    """Transcribe the same utterances by both, one after another; greedy, in English.

    Raises ``ModelError`` where the model cannot be had.
    """
    sound = load_demo() if task.recordings is None else load_recordings(Path(task.recordings))
    utterances = cut_utterances(sound, task.utterances, task.seed)
    with tempfile.TemporaryDirectory(prefix="streamser-") as folder:
        model = task.model
        if model is None:
            model = folder
            write_random_whisper(task.size, Path(folder), seed=task.seed)
        paces: dict[str, Pace] = {}
        for name, run in (
            ("faster-whisper, a thread a stream", _peer),
            ("faster-whisper, one call at a time", _one_by_one),
            ("ours", _ours),
        ):
            tell(f"whisper: {name} …")
            paces[name] = run(task, model, utterances)
            tell(f"whisper: {name}: {paces[name].utterances / paces[name].wall_s:.2f} utterances/s")
    *peers, ours = (pace.utterances / pace.wall_s for pace in paces.values())
    named = task.size if isinstance(task.size, str) else f"of width {task.size.width}"
    weights = f"random, {named}: {WORDS + 1} words or so an utterance, whatever is heard"
    return Comparison(
        part="whisper",
        title="words of many streams",
        conditions=(
            f"{task.utterances} utterances of 2 to 8 s from {sound.name}, {task.streams} streams,"
            " each with its next utterance ready when the last is answered",
            f"weights: {weights if task.model is None else Path(task.model).name}",
            f"both: {task.threads} CPU threads, the arithmetic that CTranslate2 takes by itself,"
            " greedy, English, no times, no second try at another temperature",
        ),
        contenders=tuple(Contender(name, pace.figures()) for name, pace in paces.items()),
        ratios=(
            Ratio(
                name="utterances/s, ours over faster-whisper from threads",
                value=round(ours / peers[0], 3),
                goal=GOAL,
            ),
            Ratio(
                name="utterances/s, ours over faster-whisper one call at a time",
                value=round(ours / peers[1], 3),
            ),
        ),
    )


def _peer(task: WordsTask, model: str, utterances: list[Samples]) -> Pace:
    return _faster_whisper(task, model, utterances, task.streams)


def _one_by_one(task: WordsTask, model: str, utterances: list[Samples]) -> Pace:
    return _faster_whisper(task, model, utterances, 1)


def _faster_whisper(task: WordsTask, model: str, utterances: list[Samples], threads: int) -> Pace:
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model, device="cpu", compute_type="auto", cpu_threads=task.threads)

    def answer(samples: Samples) -> None:
        segments, _ = whisper.transcribe(
            samples,
            language="en",
            beam_size=1,
            temperature=0.0,
            without_timestamps=True,
            condition_on_previous_text=False,
        )
        # It is at work only while its segments are read.
        for _ in segments:
            pass

    answer(utterances[0])
    return run_threads(answer, utterances, threads)


def _ours(task: WordsTask, model: str, utterances: list[Samples]) -> Pace:
    settings = AsrSettings(
        engine="whisper", model=model, language="en", device="cpu", threads=task.threads
    )

    def build() -> Runner:
        engine = Engine(choose_transcriber(settings, _silent, offline=True), NullModel())
        engine.warm()
        return engine

    def ask(number: int, clip: Clip) -> WordsJob:
        return WordsJob(number, clip, droppable=False)

    return run_batched(build, WorkerSettings(), utterances, task.streams, ask)


def _silent(line: str) -> None:
    """Tell nothing."""
