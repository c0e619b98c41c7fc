"""What a server and a model elsewhere say to each other: MessagePack over HTTP.

``GET`` is answered with a ``ModelCard``, ``POST`` of ``AskedClips`` with ``ReadClips``. Readings
cross, and no features: a model that is worth the way learns nothing of its speakers, so that its
light half can be done there, and who asks needs neither its weights nor torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, TypeVar

import msgspec
import numpy as np
from msgspec import Meta

from streamser.emotion.model import Prediction, Segment
from streamser.errors import ModelError, first_line

WIRE: Final = 1
"""Both ends must have the same."""

MOST_BYTES: Final = 64 * 2**20
"""Of a question: 16 minutes of sound."""
MOST_ANSWERED: Final = 2**20
MOST_CLIPS: Final = 256

ModelName = Annotated[str, Meta(min_length=1, max_length=200)]

T = TypeVar("T")


class ModelCard(msgspec.Struct, frozen=True):
    """Say which model is there, and what it reads."""

    wire: int
    model: ModelName
    modalities: tuple[str, ...]


class AskedClip(msgspec.Struct, frozen=True):
    """Hold a clip, float32 little-endian at 16 kHz, mono, with its words where there are any."""

    samples: bytes
    text: str | None = None
    certainty: float | None = None


class AskedClips(msgspec.Struct, frozen=True):
    """Ask what is read of clips; at most ``MOST_CLIPS``."""

    wire: int
    clips: tuple[AskedClip, ...]


class ReadClips(msgspec.Struct, frozen=True):
    """Answer with a reading a clip, in order; ``took_ms`` is the time inside the model."""

    wire: int
    model: ModelName
    readings: tuple[Prediction, ...]
    took_ms: float = 0.0


def to_bytes(message: ModelCard | AskedClips | ReadClips) -> bytes:
    """Write a message."""
    return msgspec.msgpack.encode(message)


def from_bytes(data: bytes, kind: type[T]) -> T:
    """Read a message; raises ``ModelError`` for what is none, with what is wrong."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ModelError(f"{kind.__name__} cannot be read: {first_line(error)}") from None


def ask_about(segments: Sequence[Segment]) -> AskedClips:
    """Ask about segments, float32 [n] at 16 kHz, n >= 0; where they are from stays here."""
    return AskedClips(
        WIRE,
        tuple(
            AskedClip(
                np.ascontiguousarray(each.samples, "<f4").tobytes(), each.text, each.certainty
            )
            for each in segments
        ),
    )


def asked_segments(asked: AskedClips) -> list[Segment]:
    """Return the segments that are asked about.

    Raises ``ModelError`` for another version, too many clips, and for what is no sound.
    """
    if asked.wire != WIRE:
        raise ModelError(f"version {asked.wire} was spoken, and {WIRE} is understood here")
    if len(asked.clips) > MOST_CLIPS:
        raise ModelError(f"{len(asked.clips)} clips were asked about, {MOST_CLIPS} at most")
    if any(len(clip.samples) % 4 for clip in asked.clips):
        raise ModelError("samples are float32, 4 bytes each")
    return [
        Segment(np.frombuffer(clip.samples, "<f4").copy(), clip.text, certainty=clip.certainty)
        for clip in asked.clips
    ]
