"""WebRTC voice activity detection: very cheap, good on clean sound, poor in noise."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import ConfigError, ModelError

__all__ = ["WebRtcVad"]

_WINDOW = 480
_VOTES = 3


class WebRtcVad:
    """Judge the windows of one stream with the Gaussian mixtures of WebRTC.

    The detector only says yes or no. ``probability`` is the share of yes among the last three
    windows (those before the first count as no): one of 0, 1/3, 2/3, 1. With thresholds 0.5
    and 0.35 that is a majority vote: it bridges and ignores single windows, and is one window
    (30 ms) late at both ends, beside the 100 ms that the detector itself holds on. A mean of
    five was measured: 30 ms later at the beginning, 60 at the end, and no more often right.

    Takes 7 µs per window. In noise it calls pauses speech: in white noise from 5 dB of
    signal-to-noise ratio, in changing noise already from 20 dB. Choose Silero there.

    ``mode`` is the detector's aggressiveness: 0 calls the most speech, 3 the least. Raises
    ``ConfigError`` for another mode and ``ModelError`` where the package is missing.
    """

    name = "webrtc"
    window = _WINDOW

    def __init__(self, mode: int = 2) -> None:
        if mode not in (0, 1, 2, 3):
            raise ConfigError(f"the mode of WebRTC VAD must be 0, 1, 2 or 3, not {mode}")
        try:
            import webrtcvad
        except ImportError as error:  # also pkg_resources, which the old package webrtcvad wants
            raise ModelError(
                "WebRTC VAD cannot be loaded; repair it with: "
                "pip uninstall -y webrtcvad && pip install --force-reinstall webrtcvad-wheels"
            ) from error
        self._detector = webrtcvad.Vad
        self._mode = mode
        self.reset()

    def probability(self, window: Samples) -> float:
        """Return the share in [0, 1] of the last three windows that hold speech.

        ``window`` is float32 of shape (480,) in [-1, 1]; another length raises ``ValueError``.
        Louder samples are clipped; those that are not a number count as silence.
        """
        if window.shape != (_WINDOW,):
            raise ValueError(f"a window has {_WINDOW} samples, not {window.shape}")
        scaled = np.minimum(np.maximum(window, -1), 1) * np.float32(32767)
        # One dot product finds a NaN in a tenth of the time of nan_to_num.
        if math.isnan(np.dot(scaled, scaled)):
            scaled = np.nan_to_num(scaled)
        pcm = scaled.astype("<i2").tobytes()
        self._votes.append(self._vad.is_speech(pcm, SAMPLE_RATE))
        return sum(self._votes) / _VOTES

    def probabilities(self, windows: Samples) -> list[float]:
        """Return what ``probability`` says of each of windows [n, 480] in turn."""
        return [self.probability(window) for window in windows]

    def reset(self) -> None:
        """Forget everything heard, as at the start of a stream."""
        # The detector adapts its noise model and has no reset of its own.
        self._vad = self._detector(self._mode)
        self._votes: deque[bool] = deque([False] * _VOTES, maxlen=_VOTES)
