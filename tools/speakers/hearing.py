"""Hear a made meeting as a session does: utterances by the detector, voices by the embedder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Ring, Samples
from streamser.pipeline.hearing import VadTurnDetector
from streamser.speech.clustering import VoiceSpace
from streamser.speech.diarisation import Diariser, Spoken, Telling, VoiceWindow, voice_windows
from streamser.speech.endpointing import Closed, EndpointerSettings
from streamser.speech.speakers import SpeakerEmbedder, embed_windows
from streamser.speech.vad import SileroModel
from tools.speakers.meetings import Meeting
from tools.speakers.scoring import Told

__all__ = ["Kept", "SpaceOf", "diarise", "hear", "said_by", "utterances"]

_CHUNK = 4096
SpaceOf: TypeAlias = Callable[[int], VoiceSpace]


def utterances(samples: Samples, silero: SileroModel) -> Iterator[tuple[int, int]]:
    """Yield where utterances begin and end, as a session with the usual settings finds them."""
    ring = Ring(len(samples) + _CHUNK)
    detector = VadTurnDetector(ring, silero.stream(), EndpointerSettings())
    place, events = 0, []
    while place < len(samples):
        taken, found = detector.detect(samples[place : place + _CHUNK])
        place += taken
        events += found
    events += detector.flush()
    yield from ((each.start, each.end) for each in events if isinstance(each, Closed))


def hear(meeting: Meeting, silero: SileroModel, embedder: SpeakerEmbedder) -> tuple[Spoken, ...]:
    """Return what a session would know of each utterance when it is over."""
    heard = []
    for item, (start, end) in enumerate(utterances(meeting.samples, silero)):
        places = voice_windows(start, end)
        voices = embed_windows(embedder, meeting.samples, places)
        windows = (VoiceWindow(*place, voice) for place, voice in zip(places, voices, strict=True))
        heard.append(Spoken(item, start, end, tuple(windows)))
    return tuple(heard)


def diarise(
    heard: Sequence[Spoken], space_of: SpaceOf, telling: Telling
) -> tuple[list[Told], list[Told]]:
    """Return what was told at once, and what stands at the end of the meeting."""
    diariser = Diariser(space_of, telling)
    at_once: list[Told] = []
    final: dict[int, list[Told]] = {}
    for each in heard:
        outcome = diariser.hear(each)
        now = [Told(part.start, part.end, part.label) for part in outcome.parts]
        at_once += now
        final[each.item] = now
        for change in outcome.changes:
            final[change.item] = [Told(part.start, part.end, part.label) for part in change.parts]
    return at_once, [told for item in sorted(final) for told in final[item]]


def said_by(embedder: SpeakerEmbedder) -> str:
    """Return a name for what an embedder says, another for one that says something else."""
    sound = np.random.default_rng(1).normal(scale=0.05, size=4 * SAMPLE_RATE).astype(np.float32)
    voices = embed_windows(embedder, sound, voice_windows(0, len(sound)))
    # Coarse: another machine computes a little differently.
    said = np.round(10 * np.stack(voices)).astype(np.int8).tobytes()
    return f"{embedder.name}-{hashlib.sha256(said).hexdigest()[:8]}".replace("/", "-")


class _Window(msgspec.Struct, frozen=True):
    start: int
    end: int
    voice: bytes


class _Spoken(msgspec.Struct, frozen=True):
    item: int
    start: int
    end: int
    windows: tuple[_Window, ...]


class Kept:
    """Keep what was heard in a folder, a file a meeting: embedding takes most of the time.

    The folder must be used with one ``--data`` only; names of files and of the folder inside it
    hold the rest: what another embedder said, or this one before it was changed, is not read.
    """

    def __init__(self, folder: Path | None, embedder: SpeakerEmbedder) -> None:
        self._folder = None if folder is None else folder / said_by(embedder)
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> tuple[Spoken, ...] | None:
        """Return what was kept under a name; ``None`` where nothing was."""
        if self._folder is None or not self._file(name).exists():
            return None
        kept = msgspec.msgpack.decode(self._file(name).read_bytes(), type=tuple[_Spoken, ...])
        return tuple(
            Spoken(
                each.item,
                each.start,
                each.end,
                tuple(
                    VoiceWindow(window.start, window.end, np.frombuffer(window.voice, np.float32))
                    for window in each.windows
                ),
            )
            for each in kept
        )

    def write(self, name: str, heard: Sequence[Spoken]) -> None:
        """Keep what was heard, where anything is kept."""
        if self._folder is None:
            return
        kept = [
            _Spoken(
                each.item,
                each.start,
                each.end,
                tuple(
                    _Window(window.start, window.end, window.voice.astype(np.float32).tobytes())
                    for window in each.windows
                ),
            )
            for each in heard
        ]
        self._file(name).write_bytes(msgspec.msgpack.encode(kept))

    def _file(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{name.replace(' ', '-')}.msgpack"
