"""A Whisper that hears in windows of any kind, and what it made of a set of utterances."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from streamser.audio.clip import Clip
from streamser.speech.whisper import WhisperOptions, WhisperTranscriber
from streamser.speech.whisper_encoder import (
    Encoded,
    LogMel,
    complete,
    frames_needed,
    pad,
    silence,
)
from tools.bench.measure import word_errors
from tools.whisper_windows.material import Said, bare

__all__ = ["Outcome", "TrialWhisper", "Way", "hear", "is_loop"]


class Way(msgspec.Struct, frozen=True):
    """Say what is encoded behind an utterance, and what is remembered of silence.

    ``margin_s``: seconds of silence that are encoded; ``None``: up to 30 s. ``remembered``:
    ``"nothing"``; what the encoder gives, ``"behind"`` the utterance up to 30 s, or of that the
    last 4 s or every fourth step alone; ``"in every layer"``: what the program does.
    """

    margin_s: float | None
    remembered: str = "nothing"


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

        self._still = self._by_ctranslate2(silence(int(self._model.model.n_mels), self._most))

    @property
    def _most(self) -> int:
        return int(self._extract.nb_max_frames)

    def _encode(self, features: Sequence[LogMel]) -> Any:
        import ctranslate2

        began = time.process_time()
        encoded = np.stack([self._window(each) for each in features])
        self.encode_s += time.process_time() - began
        return ctranslate2.StorageView.from_array(encoded)

    def _window(self, features: LogMel) -> Encoded:
        most, margin = self._most, self.way.margin_s
        content = features.shape[1]
        window = pad(features, most if margin is None else frames_needed(content, most, margin))
        if self.way.remembered == "in every layer":
            assert self._encoder is not None
            return complete(self._encoder.encode(window), self._encoder.silent)
        encoded, still = self._by_ctranslate2(window), self._still
        match self.way.remembered:
            case "behind":
                return complete(encoded, still)
            case "behind, every 4th":
                return np.concatenate([encoded, still[len(encoded) :: 4]])
            case "behind, the last 4 s":
                return np.concatenate([encoded, still[max(len(encoded), most // 2 - 200) :]])
        return encoded

    def _by_ctranslate2(self, window: LogMel) -> Encoded:
        import ctranslate2

        encoded = self._model.model.encode(ctranslate2.StorageView.from_array(window[None]))
        found: Encoded = np.array(encoded.to(ctranslate2.DataType.float32))[0]
        return found


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
