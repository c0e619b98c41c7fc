"""Talk to measure with: the turns of the bundled conversation, and sound cut as it is live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import soundfile

import streamser
from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.speech.endpointing import Closed, Endpointer, EndpointerSettings
from streamser.speech.vad import load_silero

__all__ = ["ASSETS", "Turn", "turns", "utterances"]

ASSETS: Final = Path(streamser.__file__).parent / "assets"
"""What comes with the program: the conversation, and the models."""


class Turn(msgspec.Struct, frozen=True, eq=False):
    """Hold a turn: who says what, in which of the four moods, from when to when, and its sound.

    ``samples`` is mono float32 at 16 kHz.
    """

    speaker: str
    style: str
    text: str
    start_ms: int
    end_ms: int
    samples: Samples


def turns() -> list[Turn]:
    """Return the turns of the bundled conversation, in their order."""
    lines = msgspec.json.decode((ASSETS / "demo.json").read_bytes())["utterances"]
    sound, _ = soundfile.read(ASSETS / "demo.flac", dtype="float32")
    found = []
    for line in lines:
        known = {name: line[name] for name in Turn.__struct_fields__ if name in line}
        start, end = (line[at] * SAMPLE_RATE // 1000 for at in ("start_ms", "end_ms"))
        found.append(Turn(**known, samples=sound[start:end]))
    return found


def utterances(sound: Samples) -> Iterator[Samples]:
    """Yield what the detector finds in a sound, mono float32 at 16 kHz, cut as it is live."""
    vad = load_silero().stream()
    segmenter = Endpointer(EndpointerSettings.from_ms(), vad.window)
    whole = len(sound) // vad.window * vad.window
    windows = sound[:whole].reshape(-1, vad.window)
    events = [event for window in windows for event in segmenter.push(vad.probability(window))]
    for event in (*events, *segmenter.flush()):
        if isinstance(event, Closed):
            yield sound[event.start : event.end]
