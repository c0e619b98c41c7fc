"""The window in which Whisper hears an utterance: what was said, and silence remembered.

Whisper has learnt from windows of 30 s alone. Fed with less, its decoder repeats itself or ends too
late (OpenNMT/CTranslate2, issue 2100; ``audio_ctx`` of whisper.cpp); fed with 30 s, the encoder
spends most of its time on silence that is the same every time. So only the utterance and half a
second behind it are encoded (``streamser.speech.whisper_encoder``), and what the encoder has made
of silence once, at the same places of the window, is put behind them. The decoder then sees 30 s,
and the words are those of a full window, see docs/windows.md. Whatever the lengths, all windows
come out alike and can be decoded together.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["MARGIN_S", "Encoded", "Features", "complete", "frames_needed", "pad", "silence"]

Features: TypeAlias = npt.NDArray[np.float32]
"""Log-mel spectrograms, scaled as Whisper wants them: [..., bands, frames of 10 ms]."""
Encoded: TypeAlias = npt.NDArray[np.float32]
"""What the encoder makes of them: [..., frames / 2, width]."""

MARGIN_S: Final = 0.5
"""Silence encoded behind what was said, where the two would else meet too abruptly."""

_SILENT_LEVEL: Final = -0.5
"""The floor of the scaled log-mel spectrogram of speech whose peak is at 1.5, as is usual."""
_RANGE: Final = 2.0
_GRAIN: Final = 8
_LOWEST: Final = -1.5


def frames_needed(content: int, most: int, margin_s: float = MARGIN_S) -> int:
    """Return how many frames to encode for ``content`` frames of sound, ``most`` at most.

    A multiple of 8, as the encoder wants them.
    """
    needed = content + round(100 * margin_s)
    return min(most, needed + -needed % _GRAIN)


def pad(features: Features, frames: int) -> Features:
    """Cut features [bands, n] to ``frames``, or fill them up with their own silence.

    As OpenAI's ``pad_or_trim`` before ``log_mel_spectrogram``, but without transforming the
    silence: its value is known, for the dynamic range is cut 8 decades (2.0 after scaling)
    below the peak and at 1e-10.
    """
    floor = max(_LOWEST, float(features.max()) - _RANGE)
    padded = np.full((features.shape[0], frames), floor, dtype=np.float32)
    content = features[:, :frames]
    padded[:, : content.shape[1]] = content
    return padded


def silence(bands: int, frames: int) -> Features:
    """Return the features of silence, at the level that it has behind speech."""
    return np.full((bands, frames), _SILENT_LEVEL, dtype=np.float32)


def complete(encoded: Encoded, silent: Encoded) -> Encoded:
    """Put remembered silence [steps, width] behind an encoded window [n, width], n <= steps."""
    return np.concatenate([encoded, silent[len(encoded) :]])
