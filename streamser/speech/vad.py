"""Voice activity detection, and the turns that are found by it.

The protocol, Silero, and WebRTC, which is cheap and poor in noise; ``VadTurnDetector`` goes from
a session's sound to its utterances.
"""

from __future__ import annotations

import importlib.util
import math
from collections import deque
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from msgspec.structs import replace

from streamser.audio.clip import SAMPLE_RATE, Ring, Samples
from streamser.errors import ConfigError, ModelError
from streamser.machine import forbid_telemetry
from streamser.speech.endpointing import (
    Closed,
    Commit,
    Endpointer,
    EndpointerSettings,
    EndpointEvent,
    Extended,
    Opened,
    PauseDetected,
)

_MOST_AHEAD = 16
"""Windows judged at once: half a second of sound, so that no other stream waits long."""


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


class VadTurnDetector:
    """Cut where a detector hears pauses; begins at the end of what ``ring`` holds."""

    def __init__(self, ring: Ring, vad: Vad, settings: EndpointerSettings) -> None:
        self.window = vad.window
        self._ring = ring
        self._vad = vad
        self._endpointer = Endpointer(settings, vad.window)
        self._origin = ring.end
        self._block = np.zeros(vad.window, np.float32)
        self._filled = 0
        self._heard = ring.end
        self._ahead: deque[float] = deque()

    @property
    def heard(self) -> int:
        """Return how many samples the session has heard."""
        return self._heard

    @property
    def idle(self) -> bool:
        """Return whether no utterance is open and none has begun to."""
        return self._endpointer.idle

    def detect(self, samples: Samples) -> tuple[int, list[EndpointEvent]]:
        """Hear up to the end of the detector's window."""
        if not self._ahead:
            self._judge_ahead(samples)
        take = min(len(samples), self.window - self._filled)
        self._block[self._filled : self._filled + take] = samples[:take]
        self._filled += take
        self._heard += take
        return take, self._hear_block() if self._filled == self.window else []

    def commit(self, reason: Commit = "commit") -> list[EndpointEvent]:
        """Close what is open at the last window, since the next has not been heard whole."""
        return [self._placed(event, reason) for event in self._endpointer.flush()]

    def clear(self) -> None:
        """Throw away what is open."""
        self._endpointer.drop()

    def flush(self) -> list[EndpointEvent]:
        """Close what is open; a last window that was not filled counts as if silence followed."""
        events = self._hear_rest()
        # What is left at the end of a stream, less than a window, belongs to whoever speaks there.
        whole = self._heard - (self._heard - self._origin) % self.window
        for event in self._endpointer.flush():
            placed = self._placed(event)
            if isinstance(placed, Closed) and placed.end == whole:
                placed = replace(placed, end=self._heard)
            events.append(placed)
        return events

    def release(self) -> None:
        """Let the window that was not filled be held as it is."""
        self._ring.append(self._block[: self._filled])
        self._filled = 0

    def _judge_ahead(self, samples: Samples) -> None:
        """Judge the whole windows that are here, which takes a detector less than one by one.

        All of them are heard next: who pushes sound pushes the rest of it before anything else.
        """
        count = min((self._filled + len(samples)) // self.window, _MOST_AHEAD)
        if count > 1:
            new = samples[: count * self.window - self._filled]
            windows = np.concatenate([self._block[: self._filled], new])
            self._ahead.extend(self._vad.probabilities(windows.reshape(count, self.window)))

    def _hear_block(self) -> list[EndpointEvent]:
        block = self._block
        self._filled = 0
        self._ring.append(block)
        level = 10.0 * math.log10(float(np.dot(block, block)) / len(block) + 1e-10)
        judged = self._ahead.popleft() if self._ahead else self._vad.probability(block)
        events = self._endpointer.push(judged, level)
        return [self._placed(event) for event in events]

    def _hear_rest(self) -> list[EndpointEvent]:
        if not self._filled:
            return []
        self._block[self._filled :] = 0
        # An utterance may be cut in the middle of a block, which must have been heard.
        if self._filled > self.window // 2:
            return self._hear_block()
        self._ring.append(self._block)
        self._filled = 0
        return []

    def _placed(self, event: EndpointEvent, reason: Commit | None = None) -> EndpointEvent:
        """Return an endpointer's event in the session's own samples, none beyond what was heard."""
        origin, heard = self._origin, self._heard
        match event:
            case Opened(start):
                return Opened(origin + start)
            case Extended(end):
                return Extended(min(origin + end, heard))
            case PauseDetected(start, end):
                return PauseDetected(origin + start, min(origin + end, heard))
            case Closed(start, end, why):
                return Closed(origin + start, min(origin + end, heard), reason or why)
        return event
