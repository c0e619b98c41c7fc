"""Our detector and segmenter beside silero-vad's ``VADIterator``, on the same sound."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Ring, Samples, to_samples
from streamser.bench.beside.boundaries import Fit, Stretch, fit
from streamser.bench.beside.report import Comparison, Contender, Ratio
from streamser.bench.beside.tasks import VadTask
from streamser.bench.conversation import Conversation, load_demo, load_recordings
from streamser.bench.machine import pinned
from streamser.speech.endpointing import Closed, EndpointerSettings
from streamser.speech.turns import VadTurnDetector
from streamser.speech.vad import SileroModel, load_silero

__all__ = ["compare_vads"]

GOAL = 1.0
_SILENCE_MS = 500
_BLOCK_MS = 100
_OURS = "ours"
_SAME = "VADIterator, our detector"
_WINDOW = 512
_LEVEL = 0.1
"""Root mean square of the speech that noise is measured against, about -20 dB."""

Detect: TypeAlias = Callable[[Iterable[Samples]], list[Stretch]]


def compare_vads(task: VadTask, tell: Callable[[str], None]) -> Comparison:
    """Let each find the utterances, with the same thresholds and hangover, and no padding.

    Sound comes in blocks of 100 ms, as live clients send it, on one core.
    """
    sound = load_demo() if task.recordings is None else load_recordings(Path(task.recordings))
    scenes = _scenes(sound, task)
    detectors = _detectors()
    took: dict[str, list[float]] = {name: [] for name in detectors}
    found: dict[str, dict[str, list[Stretch]]] = {name: {} for name in detectors}
    with pinned():
        for number in range(task.passes):
            tell(f"vad: pass {number + 1} of {task.passes}, {task.seconds:.0f} s of sound")
            for scene, blocks in scenes.items():
                # All take turns, so that what disturbs the machine disturbs them alike.
                for name, detect in detectors.items():
                    began = time.process_time()
                    found[name][scene] = detect(blocks)
                    took[name].append(time.process_time() - began)
    cost = {name: statistics.median(each) for name, each in took.items()}
    theirs = [name for name in detectors if name not in (_OURS, _SAME)]
    truths = _truths(sound, task.seconds)
    fits = {
        name: {scene: fit(each, truths) for scene, each in found[name].items()}
        for name in detectors
    }
    cheapest = min(theirs, key=cost.__getitem__)
    ratios = [
        Ratio(
            name=f"speed (CPU), ours over {cheapest}, the cheaper one",
            value=round(cost[cheapest] / cost[_OURS], 3),
            goal=GOAL,
        )
    ]
    for scene in scenes if truths else ():
        ratios += _boundaries(scene, fits[_OURS][scene], fits[_SAME][scene])
    return Comparison(
        part="vad",
        title="finding utterances",
        conditions=(
            f"{task.seconds:.0f} s of {sound.name}, {len(truths)} utterances with known bounds,"
            f" clean and in white noise {task.snr_db:g} dB below speech;"
            f" blocks of {_BLOCK_MS} ms; one core",
            f"all: opens at 0.5, closes below 0.35 for {_SILENCE_MS} ms, nothing added before or"
            " after; ours and our detector: the weights of faster-whisper; torch and ONNX:"
            " load_silero_vad() of silero-vad, with weights of its own",
            "errors: |found - true| in ms; faults: utterances missed, invented, joined or split",
        ),
        contenders=tuple(
            Contender(name, _figures(cost[name], task, fits[name])) for name in detectors
        ),
        ratios=tuple(ratios),
    )


def _boundaries(scene: str, ours: Fit, theirs: Fit) -> Iterator[Ratio]:
    """Set our rule beside ``VADIterator``'s, by the same detector."""
    more = float(theirs.faults - ours.faults)
    yield Ratio(name=f"{scene}: faults of VADIterator less ours", value=more, goal=0.0)
    for edge, our, their in (
        ("onset", ours.onset_p50, theirs.onset_p50),
        ("offset", ours.offset_p50, theirs.offset_p50),
    ):
        value = round(their / our, 3) if our and their else None
        name = f"{scene}: median {edge} error of VADIterator over ours, same detector"
        yield Ratio(name=name, value=value, goal=GOAL)


def _detectors() -> Mapping[str, Detect]:
    from silero_vad import load_silero_vad

    silero = load_silero()
    return {
        _OURS: partial(_ours, silero),
        _SAME: partial(_iterate, _SameWeights(silero)),
        "VADIterator, torch": partial(_iterate, load_silero_vad()),
        "VADIterator, ONNX": partial(_iterate, load_silero_vad(onnx=True)),
    }


class _SameWeights:
    """Let ``VADIterator`` judge by our detector, so that only the rules differ."""

    def __init__(self, silero: SileroModel) -> None:
        self._vad = silero.stream()

    def reset_states(self) -> None:
        self._vad.reset()

    def __call__(self, window: Any, rate: int) -> Any:
        import torch

        return torch.tensor(self._vad.probability(window.numpy()))


def _ours(silero: SileroModel, blocks: Iterable[Samples]) -> list[Stretch]:
    settings = EndpointerSettings.from_ms(silence_ms=_SILENCE_MS, pre_roll_ms=0, tail_ms=0)
    ring = Ring(settings.max_length)
    turns = VadTurnDetector(ring, silero.stream(), settings)
    found: list[Stretch] = []

    def note(events: list[Any]) -> None:
        found.extend(
            Stretch(event.start / SAMPLE_RATE, event.end / SAMPLE_RATE)
            for event in events
            if isinstance(event, Closed)
        )

    for block in blocks:
        while len(block):
            taken, events = turns.detect(block)
            block = block[taken:]
            note(events)
    note(turns.flush())
    return found


def _iterate(model: Any, blocks: Iterable[Samples]) -> list[Stretch]:
    from silero_vad import VADIterator

    iterator = VADIterator(model, min_silence_duration_ms=_SILENCE_MS, speech_pad_ms=0)
    found: list[Stretch] = []
    start: float | None = None
    for window in _windows(blocks):
        # Given an array it would turn it into a tensor, for more.
        told = iterator(_tensor(window))
        if told is not None and "start" in told:
            start = told["start"] / SAMPLE_RATE
        elif told is not None and start is not None:
            found.append(Stretch(start, told["end"] / SAMPLE_RATE))
            start = None
    if start is not None:
        found.append(Stretch(start, iterator.current_sample / SAMPLE_RATE))
    return found


def _tensor(window: Samples) -> Any:
    import torch

    return torch.from_numpy(window)


def _windows(blocks: Iterable[Samples]) -> Iterator[Samples]:
    waiting: deque[Samples] = deque()
    for block in blocks:
        waiting.append(block)
        while sum(map(len, waiting)) >= _WINDOW:
            joined = np.concatenate(waiting)
            waiting = deque([joined[_WINDOW:]])
            yield joined[:_WINDOW]


def _scenes(sound: Conversation, task: VadTask) -> dict[str, list[Samples]]:
    total = round(task.seconds * SAMPLE_RATE)
    block = to_samples(_BLOCK_MS)
    whole = np.concatenate(list(sound.at_rate(SAMPLE_RATE).blocks(block, total=total)))
    loud = whole[np.abs(whole) > 0.01]
    level = math.sqrt(float(np.mean(np.square(loud)))) if len(loud) else _LEVEL
    white = np.random.default_rng(task.seed).standard_normal(len(whole), dtype=np.float32)
    noisy = whole + white * np.float32(level * 10 ** (-task.snr_db / 20))
    borders = range(block, len(whole), block)
    return {"clean": np.split(whole, borders), "noisy": np.split(noisy, borders)}


def _truths(sound: Conversation, seconds: float) -> list[Stretch]:
    truths: list[Stretch] = []
    for placed in sound.placed():
        start = placed.start / sound.rate
        if placed.turn.speech is None or start + placed.turn.speech[1] > seconds:
            return truths
        truths.append(Stretch(*(start + edge for edge in placed.turn.speech)))
    return truths


def _figures(cost: float, task: VadTask, fits: Mapping[str, Fit]) -> dict[str, float | None]:
    figures: dict[str, float | None] = {
        "times real time": round(task.seconds / cost, 1),
        "% of a core": round(100 * cost / task.seconds, 3),
    }
    for scene, each in fits.items():
        figures |= {
            f"faults, {scene}": each.faults if each.truths else None,
            f"onset p50, {scene}": each.onset_p50,
            f"onset p95, {scene}": each.onset_p95,
            f"offset p50, {scene}": each.offset_p50,
            f"offset p95, {scene}": each.offset_p95,
        }
    return figures
