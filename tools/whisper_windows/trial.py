"""A Whisper that hears in windows of any kind, and what it made of a set of utterances."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from streamser.audio.clip import Clip
from streamser.bench.word_errors import word_errors
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from streamser.speech.whisper_window import Encoded, Features, complete, frames_needed, pad
from tools.whisper_windows.material import Said, bare

__all__ = ["Outcome", "TrialWhisper", "Way", "hear", "is_loop"]


class Way(msgspec.Struct, frozen=True):
    """Say what is encoded behind an utterance, and what the decoder gets behind that.

    ``margin_s``: seconds of silence that are encoded; ``None``: up to 30 s. ``remembered``: how
    much silence is put behind what the encoder gave: ``"none"``, ``"all"`` (up to 30 s), ``"last"``
    (the last 4 s of the window alone), ``"fourth"`` (every fourth step up to 30 s).
    """

    margin_s: float | None
    remembered: str = "none"


class Outcome(msgspec.Struct, frozen=True):
    """Hold what was heard of a set, CPU seconds an utterance, and how much of it was wrong.

    ``loops`` counts transcripts with far more words than can be true.
    """

    heard: tuple[tuple[str, ...], ...]
    words: int
    errors: int
    loops: int
    encode_s: float
    decode_s: float

    @property
    def error_rate(self) -> float:
        """Return errors a word of the truth."""
        return self.errors / max(1, self.words)


class TrialWhisper(WhisperTranscriber):
    """Hear every window in the ``way`` that is set."""

    def __init__(self, options: WhisperOptions) -> None:
        super().__init__(options)
        self.way = Way(None)
        self.encode_s = 0.0

    def _encode(self, features: Sequence[Features]) -> Any:
        import ctranslate2

        began = time.process_time()
        encoded = np.stack([self._window(each) for each in features])
        self.encode_s += time.process_time() - began
        return ctranslate2.StorageView.from_array(encoded)

    def _window(self, features: Features) -> Encoded:
        most, margin = int(self._extract.nb_max_frames), self.way.margin_s
        content = features.shape[1]
        frames = most if margin is None else frames_needed(content, most, margin)
        encoded = self._encode_one(pad(features, frames))
        assert self._silent is not None
        match self.way.remembered:
            case "all":
                return complete(encoded, self._silent)
            case "fourth":
                return np.concatenate([encoded, self._silent[len(encoded) :: 4]])
            case "last":
                return np.concatenate([encoded, self._silent[max(len(encoded), most // 2 - 200) :]])
        return encoded


def hear(
    whisper: TrialWhisper, way: Way, said: Sequence[Said], truth: Sequence[Sequence[str]]
) -> Outcome:
    """Hear utterances one by one in one way, and compare them with what is the truth of each."""
    whisper.way, whisper.encode_s = way, 0.0
    heard: list[tuple[str, ...]] = []
    began = time.process_time()
    for number, one in enumerate(said):
        clip = Clip("windows", number, 0, one.samples, final=True)
        (transcript,) = whisper.transcribe([clip])
        heard.append(bare(transcript.text, one.language))
    whole = time.process_time() - began
    return Outcome(
        heard=tuple(heard),
        words=sum(map(len, truth)),
        errors=sum(map(word_errors, truth, heard)),
        loops=sum(map(is_loop, said, heard)),
        encode_s=whisper.encode_s / len(said),
        decode_s=(whole - whisper.encode_s) / len(said),
    )


def is_loop(said: Said, heard: Sequence[str]) -> bool:
    """Tell whether more was heard than can be said in the time, or half again what was said."""
    if said.words and len(heard) > 1.5 * len(said.words) + 3:
        return True
    return len(heard) > 6.0 * said.seconds + 3
