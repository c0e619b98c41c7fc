"""The table of what an utterance of 3 s costs: by threads, batch and number format."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from streamser.audio.clip import SAMPLE_RATE, Clip
from streamser.machine import least_times
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from tools.whisper_windows.material import Said, load
from tools.whisper_windows.trial import TrialWhisper, Way, hear

__all__ = ["speed_table"]

_SECONDS: Final = 3.0
_ROUNDS: Final = 7
_BATCHES: Final = (1, 2, 4, 8)


def speed_table(model: Path, data: Path) -> str:
    """Time one utterance, batches of it, and every number format; return Markdown."""
    clips = load("en", data, 1)
    typical = min(clips, key=lambda clip: abs(clip.seconds - _SECONDS))
    return "\n".join([*_batches(model, typical), "", *_formats(model, clips)])


def _batches(model: Path, said: Said) -> Iterator[str]:
    words = len(said.words)
    yield f"**{model.name}**: an utterance of {said.seconds:.1f} s with {words} words, ms of time."
    yield ""
    yield (
        "| threads | final | partial, first half | "
        + " | ".join(f"{size} finals at once, each" for size in _BATCHES[1:])
        + " |"
    )
    yield "|" + " --- |" * (2 + len(_BATCHES))
    for threads in (1, 2):
        whisper = WhisperTranscriber(_options(model, threads))
        half = Clip("s", 0, 0, said.samples[: len(said.samples) // 2], final=False)
        ways: dict[str, Callable[[], object]] = {
            "partial": lambda whisper=whisper, half=half: whisper.transcribe([half])  # type: ignore[misc]
        }
        for size in _BATCHES:
            batch = [Clip(f"s{i}", 0, 0, said.samples, final=True) for i in range(size)]
            ways[f"{size}"] = lambda whisper=whisper, batch=batch: whisper.transcribe(batch)  # type: ignore[misc]
        least = least_times(ways, clock=time.perf_counter, budget_s=60.0, rounds=_ROUNDS)
        each = [least[f"{size}"] / size for size in _BATCHES]
        cells = [each[0], least["partial"], *each[1:]]
        yield f"| {threads} | " + " | ".join(f"{1000 * cell:.0f}" for cell in cells) + " |"


def _formats(model: Path, clips: list[Said]) -> Iterator[str]:
    import ctranslate2

    truth = [clip.words for clip in clips]
    length = sum(len(clip.samples) for clip in clips) / SAMPLE_RATE / len(clips)
    yield f"Number formats: CPU ms an utterance of {length:.1f} s, and word error rate."
    yield ""
    yield "| format | encoder | decoder | WER |"
    yield "| --- | --- | --- | --- |"
    offered = ctranslate2.get_supported_compute_types("cpu")
    for kind in sorted(offered - {"int8"}):
        whisper = TrialWhisper(_options(model, 1, kind))
        outcome = hear(whisper, Way(None), clips, truth)
        encode, decode = 1000 * outcome.encode_s, 1000 * outcome.decode_s
        yield f"| {kind} | {encode:.0f} | {decode:.0f} | {outcome.error_rate:.3f} |"


def _options(model: Path, threads: int, kind: str = "auto") -> WhisperOptions:
    return WhisperOptions(
        model=str(model), language="en", device="cpu", compute_type=kind, threads=threads
    )
