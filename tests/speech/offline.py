"""An independent, naive segmentation with the whole recording at hand, and what to try it on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from hypothesis import strategies as st

from streamser.speech.endpointing import (
    Closed,
    Endpointer,
    EndpointerSettings,
    EndpointEvent,
)

N = 512
SPEECH, SILENCE = 0.9, 0.1
DEFAULTS = EndpointerSettings()


def run(
    settings: EndpointerSettings,
    probabilities: Iterable[float],
    window: int = N,
    levels: Iterable[float] | None = None,
) -> list[list[EndpointEvent]]:
    """Return the events of each push, and those of the flush at the end."""
    segmenter = Endpointer(settings, window)
    if levels is None:
        pushes = [segmenter.push(p) for p in probabilities]
    else:
        pushes = [segmenter.push(p, d) for p, d in zip(probabilities, levels, strict=True)]
    return [*pushes, segmenter.flush()]


def flat(pushes: Iterable[list[EndpointEvent]]) -> list[EndpointEvent]:
    """Return the events of all pushes in order."""
    return [event for push in pushes for event in push]


def utterances(events: Iterable[EndpointEvent]) -> list[tuple[int, int, str]]:
    """Return start, end and reason of each closed utterance."""
    return [(e.start, e.end, e.reason) for e in events if isinstance(e, Closed)]


def is_speech(settings: EndpointerSettings, probabilities: Sequence[float]) -> list[bool]:
    """Return the verdict on each window, by hysteresis."""
    verdicts: list[bool] = []
    for p in probabilities:
        above, between = p >= settings.threshold, settings.release <= p < settings.threshold
        verdicts.append(above or (between and bool(verdicts) and verdicts[-1]))
    return verdicts


# --- An independent, naive segmentation with the whole recording at hand --------------------


def find_onset(
    speech: Sequence[bool], first: int, needed: int, welcome: float
) -> tuple[int, int] | None:
    """Return the windows of the next onset and of the opening, or None."""
    for onset in range(first, len(speech)):
        if not speech[onset] or any(speech[max(first, onset - 2) : onset]):
            continue  # only beginnings of clusters: no speech in the two windows before
        last = onset
        for now in range(onset, len(speech)):
            if speech[now]:
                last = now
                if sum(speech[onset : now + 1]) >= needed or onset < welcome:
                    return onset, now
            elif now - last > 2:
                break
    return None


def offline(
    s: EndpointerSettings, probabilities: Sequence[float], levels: Sequence[float], n: int
) -> list[tuple[int, int, str]]:
    """Segment a whole recording by looking for landmarks instead of keeping a state."""
    speech = is_speech(s, probabilities)
    count = len(speech)
    pause, kept = math.ceil(s.silence / n), max(1, s.cut_search // n)
    pauses = [k for k in range(pause - 1, count) if not any(speech[k - pause + 1 : k + 1])]

    def last_speech_end(now: int) -> int:
        return (max(k for k in range(now + 1) if speech[k]) + 1) * n

    found: list[tuple[int, int, str]] = []
    first, welcome = 0, 0.0
    while opening := find_onset(speech, first, math.ceil(s.min_speech / n), welcome):
        onset, opened = opening
        start = max(onset * n - s.pre_roll, found[-1][1] if found else 0)
        while True:
            full = next(
                k for k in range(count + s.max_length) if (k + 2) * n - start > s.max_length
            )
            quiet = next((k for k in pauses if k >= opened), count)
            now = min(full, quiet, count - 1)
            end = min(last_speech_end(now) + s.tail, (now + 1) * n)
            first = now + 1
            if now == quiet:
                found.append((start, end, "pause"))
                break
            if now != full:
                found.append((start, end, "flush"))
                break
            searched = range(now - kept + 1, now + 1)
            weakest = sorted(searched, key=lambda k: (probabilities[k], levels[k], -k))[0]
            cut = weakest * n + n // 2
            if last_speech_end(now) <= cut:
                found.append((start, end, "max_length"))
                welcome = (last_speech_end(now) + s.silence) / n
                break
            found.append((start, cut, "max_length"))
            start, opened = cut, now + 1
            if opened >= count:
                found.append((start, min(last_speech_end(now) + s.tail, count * n), "flush"))
                break
        if first >= count:
            break
    return found


# --- Strategies ------------------------------------------------------------------------------


def lengths(n: int, low: int, high: int) -> st.SearchStrategy[int]:
    """Return lengths from ``low`` to ``high`` windows, not only whole ones."""
    return st.integers(low * n, high * n)


@st.composite
def valid_settings(draw: st.DrawFn) -> tuple[EndpointerSettings, int]:
    """Draw a window length and settings that fit it: short, so that every rule is met often."""
    n = draw(st.sampled_from([512, 480, 160]))
    min_speech, pre_roll = draw(lengths(n, 0, 4)) + 1, draw(lengths(n, 0, 8))
    silence = draw(lengths(n, 0, 16).map(lambda x: x + 1) | st.integers(1, 16).map(lambda k: k * n))
    shortest = max(8 * n, 2 * (pre_roll + 3 * min_speech))
    max_length = shortest + draw(lengths(n, 0, 40))
    return (
        EndpointerSettings(
            min_speech=min_speech,
            silence=silence,
            pre_roll=pre_roll,
            tail=draw(st.integers(0, silence // 2)),
            max_length=max_length,
            cut_search=draw(st.integers(1, max_length // 2)),
        ),
        n,
    )


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Draw probabilities (random, bursty or on the thresholds) with levels; ties are common."""
    kind = draw(st.sampled_from(["random", "bursty", "edges"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "random":
        size = draw(st.integers(0, 300))
        bias = draw(st.sampled_from([0.3, 1.0, 3.0]))
        probabilities = (rng.random(size) ** bias).tolist()
    else:
        values = (
            st.sampled_from([0.0, 0.1, 0.9, 1.0])
            if kind == "bursty"
            else st.sampled_from([0.0, 0.34999, 0.35, 0.42, 0.49999, 0.5, 1.0])
        )
        bursts = st.tuples(values, st.integers(1, 40 if kind == "bursty" else 5))
        probabilities = [
            p for p, length in draw(st.lists(bursts, max_size=30)) for _ in range(length)
        ]
    levels = rng.integers(-60, -20, len(probabilities)).astype(float).tolist()
    return probabilities, levels


Case = tuple[tuple[EndpointerSettings, int], tuple[list[float], list[float]]]
cases = st.tuples(valid_settings(), streams())
