"""What telling voices apart costs: CPU time an utterance, part by part, and memory.

Utterances are stretches of the bundled conversation, one after the other. Clustering is timed
with two minutes of them in memory, the most there ever is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import soundfile

import streamser
from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.machine import cpu_name, resident_bytes
from streamser.speech.campplus import CampPlus, kaldi_frames, load_campplus
from streamser.speech.diarisation import Diariser, Spoken, VoiceWindow, voice_windows
from streamser.speech.overlap import Segmentation, load_segmentation
from streamser.speech.speakers import BUNDLED, Voice, space_of
from streamser.speech.vad import load_silero

__all__ = ["PARTS", "cost_tables", "cpu_seconds"]

_LENGTHS_S: Final = (1.5, 3.0, 5.0, 10.0)
_ROUNDS: Final = 20
_REMEMBERED_S: Final = 120.0
PARTS: Final = ("embedder", "two at once", "clustering")
"""What an utterance is put through."""
_FRONT: Final = "… of it the filter bank"

_Made = TypeVar("_Made")


def cost_tables() -> str:
    """Measure time and memory, as Markdown; memory is right in a process that is new."""
    folder = Path(streamser.__file__).parent / "assets"
    conversation, _ = soundfile.read(folder / "demo.flac", dtype="float32")
    # Whoever tells voices apart has opened this before, and onnxruntime with it.
    silero = load_silero()
    kaldi_frames(conversation[:SAMPLE_RATE])
    embedder, held = _memory(load_campplus, _embed, conversation)
    segmentation, further = _memory(load_segmentation, Segmentation.hear, conversation)
    del silero
    columns = [cpu_seconds(conversation, each, embedder, segmentation) for each in _LENGTHS_S]
    times = [
        (name, [_shown([column[name]]) for column in columns])
        for name in (PARTS[0], _FRONT, *PARTS[1:])
    ]
    sums = [_shown([column[name] for name in PARTS]) for column in columns]
    lengths = [f"{seconds:g} s" for seconds in _LENGTHS_S]
    return "\n\n".join(
        (
            _table(("CPU ms an utterance of", lengths), [*times, ("**together**", sums)]),
            f"The least / the median of {_ROUNDS}, one thread, on an {cpu_name()}.",
            _table(
                ("MiB of memory", ["opened", *(f"after {each}" for each in lengths)]),
                [("embedder", held), ("two at once", further)],
            ),
        )
    )


def cpu_seconds(
    conversation: Samples,
    seconds: float,
    embedder: CampPlus,
    segmentation: Segmentation,
    rounds: int = _ROUNDS,
) -> Mapping[str, list[float]]:
    """Return what each part took for utterances of one length, round by round."""
    size = round(seconds * SAMPLE_RATE)
    sounds = [
        conversation[start : start + size] for start in range(0, len(conversation) - size, size)
    ]
    voices = [embedder.embed_windows(each, voice_windows(0, size)) for each in sounds]
    diariser = Diariser(space_of(BUNDLED, 0.0))
    before = round(_REMEMBERED_S / seconds)
    spent: dict[str, list[float]] = {name: [] for name in (*PARTS, _FRONT)}
    for number in range(before + rounds):
        sound = sounds[number % len(sounds)]
        heard = _spoken(number, size, voices[number % len(sounds)])
        if number < before:
            diariser.hear(heard)
            continue
        ways: Mapping[str, Callable[[], object]] = {
            PARTS[0]: partial(_embed, embedder, sound),
            PARTS[1]: partial(segmentation.hear, sound),
            PARTS[2]: partial(diariser.hear, heard),
            _FRONT: partial(kaldi_frames, sound),
        }
        for name, way in ways.items():
            began = time.process_time()
            way()
            spent[name].append(time.process_time() - began)
    return spent


def _embed(embedder: CampPlus, sound: Samples) -> object:
    return embedder.embed_windows(sound, voice_windows(0, len(sound)))


def _spoken(number: int, size: int, voices: Sequence[Voice]) -> Spoken:
    start, end = number * size, (number + 1) * size
    windows = zip(voice_windows(start, end), voices, strict=True)
    return Spoken(number, start, end, tuple(VoiceWindow(*place, voice) for place, voice in windows))


def _memory(
    load: Callable[[], _Made], hear: Callable[[_Made, Samples], object], sound: Samples
) -> tuple[_Made, list[str]]:
    """Open a part; return it, and the MiB the process grew by then, and after each length."""
    before = resident_bytes()
    made = load()
    grown = [resident_bytes()]
    for seconds in _LENGTHS_S:
        hear(made, sound[: round(seconds * SAMPLE_RATE)])
        grown.append(resident_bytes())
    return made, [
        "?" if each is None or before is None else f"{(each - before) / 2**20:.0f}"
        for each in grown
    ]


def _shown(parts: Iterable[list[float]]) -> str:
    """Return the sum of the least, and that of the medians, in ms."""
    taken = list(parts)
    least, middle = sum(map(min, taken)), sum(map(statistics.median, taken))
    return f"{1000 * least:.1f} / {1000 * middle:.1f}"


def _table(head: tuple[str, list[str]], rows: Iterable[tuple[str, list[str]]]) -> str:
    lines = [head, ("---", ["---:"] * len(head[1])), *rows]
    return "\n".join(f"| {' | '.join((name, *cells))} |" for name, cells in lines)
