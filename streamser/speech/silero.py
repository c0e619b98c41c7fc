"""Silero voice activity detection: one set of weights in memory, a small state per stream."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from streamser.audio.clip import Samples
from streamser.errors import ModelError
from streamser.machine import forbid_telemetry

__all__ = ["SileroModel", "SileroVad", "find_weights", "load_silero"]

_WINDOW = 512
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
    window = _WINDOW

    def __init__(self, session: Any) -> None:
        self._session = session
        self._run = session.run_with_iobinding
        self._input: Samples = np.zeros((1, _CONTEXT + _WINDOW), np.float32)
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
        if window.shape != (_WINDOW,):
            raise ValueError(f"a window has {_WINDOW} samples, not {window.shape}")
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
        if windows.ndim != 2 or windows.shape[1] != _WINDOW:
            raise ValueError(f"windows have {_WINDOW} samples each, not shape {windows.shape}")
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
        rows = np.empty((len(windows), _CONTEXT + _WINDOW), np.float32)
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
