"""Voice activity detection: the protocol, Silero, and WebRTC, which is cheap and poor in noise."""

from __future__ import annotations

import importlib.util
import math
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from streamser.audio.clip import SAMPLE_RATE, Samples
from streamser.errors import ConfigError, ModelError
from streamser.machine import forbid_telemetry


class Vad(Protocol):
    """Judge one window of sound after another; one object holds the state of one stream."""

    name: str
    window: int
    """Samples per window at 16 kHz (Silero 512, WebRTC 480)."""

    def probability(self, window: Samples) -> float:
        """Return the probability in [0, 1] that the next ``self.window`` samples hold speech."""
        ...

    def probabilities(self, windows: Samples) -> list[float]:
        """Return what ``probability`` says of each of windows [n, window] in turn, n > 0."""
        ...

    def reset(self) -> None:
        """Forget everything heard, as at the start of a stream."""
        ...


_SILERO_WINDOW = 512
_CONTEXT = 64
_STATE = (1, 1, 128)
_CLEAR = 0.1
"""Below this probability a window is clear silence: far from any threshold for speech."""
_LET_GO = 125
"""Windows of clear silence, 4 s, after which the state is let go of."""
_INPUTS = {"input", "h", "c"}
_OUTPUTS = ("speech_probs", "hn", "cn")
_REPAIR = "reinstall it with: pip install --force-reinstall 'faster-whisper>=1.2,<2'"


def find_weights() -> Path:
    """Return the file of Silero weights that the package faster-whisper carries.

    The package is located, not imported: its import costs 0.2 s and pulls in CTranslate2.
    Raises ``ModelError`` where the package or the file is missing.
    """
    spec = importlib.util.find_spec("faster_whisper")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        # The version is part of the name and changes with releases, hence a pattern.
        found = sorted(Path(folder, "assets").glob("silero_vad*.onnx"))
        if found:
            return found[-1]
    raise ModelError(f"Silero VAD weights not found in the package faster-whisper; {_REPAIR}")


def load_silero(weights: Path | None = None) -> SileroModel:
    """Load the Silero weights once, for any number of streams.

    ``weights`` is an ONNX file of Silero v6 as faster-whisper 1.2 ships it (default: that
    file). Takes about 25 ms. Raises ``ModelError`` where it is missing or is something else.
    """
    path = weights or find_weights()
    forbid_telemetry()
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelError("Silero VAD needs onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    # A window is 80 µs of work: handing it to a second thread costs more than it gains, and
    # waiting threads that spin would eat the cores that recognisers need.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's exceptions share no base class but this one
        raise ModelError(f"cannot load Silero VAD from {path.name}; {_REPAIR}") from error
    if {node.name for node in session.get_inputs()} != _INPUTS:
        raise ModelError(f"{path.name} is not a Silero VAD of the known layout; {_REPAIR}")
    return SileroModel(session)


class SileroModel:
    """Share one ONNX session between streams; safe to use from several threads."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def stream(self) -> SileroVad:
        """Start a stream with a state of its own (a few KB)."""
        return SileroVad(self._session)


class SileroVad:
    """Judge the windows of one stream; one object must not be used by two threads at once.

    Each call sees 64 samples of the previous window before its own 512, and carries the
    LSTM's state (h, c) on; so the probabilities equal those of one call over the whole sound
    (snakers4/silero-vad, ``OnnxWrapper``), up to the first long silence. There the state drifts:
    after a minute of zeros or faint noise much of what is said next would not be heard. So after
    each 4 s of clear silence it begins anew, knowing the last samples alone. All buffers are
    bound to the session once: no array is made per window, which saves 10 of 94 µs.
    """

    name = "silero"
    window = _SILERO_WINDOW

    def __init__(self, session: Any) -> None:
        self._session = session
        self._run = session.run_with_iobinding
        self._input: Samples = np.zeros((1, _CONTEXT + _SILERO_WINDOW), np.float32)
        self._context = self._input[0, :_CONTEXT]
        self._fresh = self._input[0, _CONTEXT:]
        self._recent = self._input[0, -_CONTEXT:]
        self._output: Samples = np.zeros(1, np.float32)
        # Two copies of the state change roles at every window, since ONNX Runtime must not
        # write the new state over the one that it still reads.
        self._h: tuple[Samples, Samples] = (
            np.zeros(_STATE, np.float32),
            np.zeros(_STATE, np.float32),
        )
        self._c: tuple[Samples, Samples] = (
            np.zeros(_STATE, np.float32),
            np.zeros(_STATE, np.float32),
        )
        self._bindings = (self._bind(session, 0, 1), self._bind(session, 1, 0))
        self._turn = 0
        self._silent = 0
        self._last = 0.0

    def probability(self, window: Samples) -> float:
        """Return the probability in [0, 1] that the next 512 samples hold speech.

        ``window`` is float32 of shape (512,) in [-1, 1]; another length raises ``ValueError``.
        Samples that are not finite count as silence, and change nothing of what was heard before.
        """
        if window.shape != (_SILERO_WINDOW,):
            raise ValueError(f"a window has {_SILERO_WINDOW} samples, not {window.shape}")
        self._context[:] = self._recent
        self._fresh[:] = window
        if not np.isfinite(window).all():
            self._fresh[:] = _finite(window)
        self._run(self._bindings[self._turn])
        probability = float(self._output[0])
        if probability != probability:
            # Whatever it was is not taken over: what was being said before goes on after it.
            self._fresh.fill(0)
            return self._last
        self._turn ^= 1
        self._note(probability)
        return probability

    def probabilities(self, windows: Samples) -> list[float]:
        """Return what ``probability`` says of each of windows [n, 512] in turn, n > 0.

        In one call of the model, which runs its LSTM along them: three windows cost little more
        than one. Raises ``ValueError`` for another shape.
        """
        if windows.ndim != 2 or windows.shape[1] != _SILERO_WINDOW:
            raise ValueError(
                f"windows have {_SILERO_WINDOW} samples each, not shape {windows.shape}"
            )
        if len(windows) == 1:
            return [self.probability(windows[0])]
        if not np.isfinite(windows).all():
            windows = _finite(windows)
        found: list[float] = []
        while len(found) < len(windows):
            # Not beyond where the state may be let go of, which is where it is one by one.
            upto = len(found) + _LET_GO - self._silent
            found += self._judge(windows[len(found) : upto])
        return found

    def _judge(self, windows: Samples) -> list[float]:
        if len(windows) == 1:
            return [self.probability(windows[0])]
        rows = np.empty((len(windows), _CONTEXT + _SILERO_WINDOW), np.float32)
        rows[0, :_CONTEXT] = self._recent
        rows[1:, :_CONTEXT] = windows[:-1, -_CONTEXT:]
        rows[:, _CONTEXT:] = windows
        state = {"h": self._h[self._turn], "c": self._c[self._turn]}
        found, h, c = self._session.run(_OUTPUTS, {"input": rows, **state})
        probabilities = np.ravel(found)
        if np.isnan(probabilities).any():
            # Nothing was taken over yet: one by one, so that only the bad ones are lost.
            return [self.probability(window) for window in windows]
        self._h[self._turn][:], self._c[self._turn][:] = h, c
        self._input[0] = rows[-1]
        judged = [float(each) for each in probabilities]
        for probability in judged:
            self._note(probability)
        return judged

    def _note(self, probability: float) -> None:
        """Count clear silence, and let go of the state where there has been enough of it."""
        self._last = probability
        self._silent = self._silent + 1 if probability < _CLEAR else 0
        if self._silent == _LET_GO:
            self._forget()

    def reset(self) -> None:
        """Forget everything heard, as at the start of a stream."""
        self._input.fill(0)
        self._last = 0.0
        self._forget()

    def _forget(self) -> None:
        for state in (*self._h, *self._c):
            state.fill(0)
        self._turn = self._silent = 0

    def _bind(self, session: Any, old: int, new: int) -> Any:
        binding = session.io_binding()
        for name, buffer in (("input", self._input), ("h", self._h[old]), ("c", self._c[old])):
            binding.bind_input(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        outputs = (("speech_probs", self._output), ("hn", self._h[new]), ("cn", self._c[new]))
        for name, buffer in outputs:
            binding.bind_output(name, "cpu", 0, np.float32, buffer.shape, buffer.ctypes.data)
        return binding


def _finite(sound: Samples) -> Samples:
    return np.where(np.isfinite(sound), sound, np.float32(0))


_WEBRTC_WINDOW = 480
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
    window = _WEBRTC_WINDOW

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
        if window.shape != (_WEBRTC_WINDOW,):
            raise ValueError(f"a window has {_WEBRTC_WINDOW} samples, not {window.shape}")
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
