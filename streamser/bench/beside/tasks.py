"""What is compared, and how much of it; read by processes that make one comparison each."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from streamser.bench.random_whisper import WhisperSize

__all__ = ["EmotionTask", "LocksTask", "MatrixTask", "Task", "VadTask", "WordsTask"]


class LocksTask(msgspec.Struct, frozen=True, kw_only=True, tag="locks"):
    """Say how it is measured: steps of so many seconds after a warm-up, from ``first`` streams.

    ``most`` bounds the steps, ``fineness`` is the share of the streams held to which the end
    is found. ``asr`` says who recognises words (``asr.engine``); ``processes`` is where ours has
    its models, with the server and without.
    """

    recordings: str | None
    seed: int
    model: str = "compact"
    asr: Literal["none", "whisper"] = "none"
    bound_ms: float = 150.0
    warm_s: float = 3.0
    seconds: float = 10.0
    first: int = 8
    most: int = 256
    fineness: float = 0.15
    processes: int = 1

    @property
    def part(self) -> str:
        """Return what the comparison is called."""
        return "locks" if self.asr == "none" else "words"


class VadTask(msgspec.Struct, frozen=True, kw_only=True, tag="vad"):
    """Say what is listened to: so many seconds, clean and in white noise, so many times."""

    recordings: str | None
    seed: int
    seconds: float
    passes: int
    snr_db: float = 10.0


class EmotionTask(msgspec.Struct, frozen=True, kw_only=True, tag="pipeline"):
    """Say what is judged.

    ``architecture`` is a HuBERT's transformers configuration, ``None``: that of HuBERT base.
    """

    recordings: str | None
    seed: int
    streams: int
    utterances: int
    architecture: dict[str, Any] | None = None
    name: str = "HuBERT base"


class WordsTask(msgspec.Struct, frozen=True, kw_only=True, tag="whisper"):
    """Say what is transcribed; ``model`` is a directory, or ``None`` for random weights.

    ``size`` is that of random weights. Both transcribers have ``threads`` CPU threads.
    """

    recordings: str | None
    seed: int
    streams: int
    utterances: int
    threads: int
    size: str | WhisperSize = "tiny"
    model: str | None = None


class MatrixTask(msgspec.Struct, frozen=True, kw_only=True, tag="matrix"):
    """Say which training preset's model is timed, at which batches of how long utterances."""

    preset: str = "base"
    batches: tuple[int, ...] = (1, 2, 4, 8)
    seconds: float = 5.0


Task: TypeAlias = LocksTask | VadTask | EmotionTask | WordsTask | MatrixTask
