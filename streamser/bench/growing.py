"""What it costs to be asked again and again about one utterance while it is spoken."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Final

import msgspec

from streamser.audio.clip import Clip, Samples, to_samples
from streamser.emotion.model import EmotionModel, Place, Segment, SpeakerModel
from streamser.pipeline.requests import EmotionRequest

__all__ = ["Growing", "growing_lines", "measure_growing"]

EVERY_MS: Final = 500
WINDOW_MS: Final = 10_000


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


def growing_lines(found: tuple[Growing, ...]) -> list[str]:
    """Write a table in Markdown."""
    lines = [
        f"A growing utterance: asked every {EVERY_MS} ms about the last {WINDOW_MS // 1000} s at"
        " most, and about the whole at its end. CPU ms for each second of sound, without words.",
        "",
        "| sound | asked | streamed | anew | streamed / anew | listener |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    return lines + [
        f"| {each.seconds:g} s | {each.clips} | {each.streamed:.2f} | {each.anew:.2f}"
        f" | {each.streamed / each.anew:.2f} | {each.listener:.2f} |"
        for each in found
    ]


def _clips(sound: Samples) -> list[tuple[Samples, Place]]:
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
    model: EmotionModel, listener: SpeakerModel, clips: list[tuple[Samples, Place]], *, placed: bool
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
