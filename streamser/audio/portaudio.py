"""The sound devices of the machine, reached through PortAudio (package sounddevice)."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from streamser.errors import AudioError

__all__ = ["AudioBackend", "InputDevice", "InputStream", "PortAudio"]

_CLOSING_S = 0.15

_INSTALL = (
    "PortAudio is missing, so no microphone or loudspeaker can be used. Debian/Ubuntu: sudo apt"
    " install libportaudio2; Fedora: sudo dnf install portaudio; macOS: brew install portaudio;"
    " Windows: pip install --force-reinstall sounddevice"
)


class InputDevice(msgspec.Struct, frozen=True):
    """Describe a device that can record; ``default_rate`` in Hz."""

    index: int
    name: str
    host_api: str
    channels: int
    default_rate: int
    is_default: bool


class InputStream(Protocol):
    """Stand for an opened input that calls back until it is closed."""

    def start(self) -> None:
        """Begin to record; raise ``AudioError`` where that fails."""
        ...

    def close(self) -> None:
        """Stop and give the device back; what a lost device complains about is swallowed."""
        ...


class AudioBackend(Protocol):
    """Stand for the library that knows the sound devices."""

    def inputs(self) -> list[InputDevice]:
        """List the devices that can record."""
        ...

    def open(
        self,
        device: InputDevice,
        rate: int,
        channels: int,
        block: int,
        deliver: Callable[[bytes, bool], None],
        finished: Callable[[], None],
    ) -> InputStream:
        """Open an input, or raise ``AudioError``.

        ``deliver(float32 bytes, overflowed)`` is called from a thread of the library for each
        block of ``block`` frames, ``finished()`` once when no more will come.
        """
        ...


class PortAudio:
    """Reach the sound devices through sounddevice.

    The constructor raises ``AudioError`` (code ``no_portaudio``) without the library.
    """

    def __init__(self) -> None:
        try:
            import sounddevice
        except (ImportError, OSError) as fault:
            raise AudioError(_INSTALL, code="no_portaudio") from fault
        self._sd: Any = sounddevice
        self._faults: tuple[type[Exception], ...] = (sounddevice.PortAudioError, ValueError)

    def inputs(self) -> list[InputDevice]:
        """List the devices that can record; empty where there are none."""
        try:
            default = self._sd.query_devices(kind="input")["index"]
        except self._faults:
            default = None
        apis = self._sd.query_hostapis()
        return [
            InputDevice(
                index=device["index"],
                name=device["name"],
                host_api=apis[device["hostapi"]]["name"],
                channels=device["max_input_channels"],
                default_rate=round(device["default_samplerate"]),
                is_default=device["index"] == default,
            )
            for device in self._sd.query_devices()
            if device["max_input_channels"] > 0
        ]

    def open(
        self,
        device: InputDevice,
        rate: int,
        channels: int,
        block: int,
        deliver: Callable[[bytes, bool], None],
        finished: Callable[[], None],
    ) -> InputStream:
        """Open a float32 input that is not yet started; see ``AudioBackend``."""

        def callback(data: Any, frames: int, time: Any, status: Any) -> None:
            deliver(bytes(data), bool(status.input_overflow))

        try:
            stream = self._sd.RawInputStream(
                samplerate=rate,
                blocksize=block,
                device=device.index,
                channels=channels,
                dtype="float32",
                callback=callback,
                finished_callback=finished,
            )
        except self._faults as fault:
            raise AudioError(
                f"the microphone {device.name} cannot be opened at {rate} Hz: {_reason(fault)}",
                code="device_unavailable",
            ) from fault
        return _PortAudioStream(device.name, stream, self._sd)

    def open_output(self, rate: int, channels: int) -> _PortAudioOutput:
        """Open and start the preferred loudspeaker for float32; raises ``AudioError``."""
        try:
            stream = self._sd.RawOutputStream(samplerate=rate, channels=channels, dtype="float32")
            stream.start()
        except self._faults as fault:
            raise AudioError(
                f"no loudspeaker can be opened ({_reason(fault)}): connect one and see that the"
                " sound server runs, or do without (no --play)",
                code="device_unavailable",
            ) from fault
        return _PortAudioOutput(stream, self._faults)


class _PortAudioOutput:
    def __init__(self, stream: Any, faults: tuple[type[Exception], ...]) -> None:
        self._stream = stream
        self._faults = faults

    def write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except self._faults as fault:
            raise AudioError(
                f"the loudspeaker plays no more: {_reason(fault)}", code="device_lost"
            ) from fault

    def close(self) -> None:
        with contextlib.suppress(*self._faults):
            self._stream.stop(ignore_errors=True)
        with contextlib.suppress(*self._faults):
            self._stream.close(ignore_errors=True)


class _PortAudioStream:
    def __init__(self, name: str, stream: Any, library: Any) -> None:
        self._name = name
        self._stream = stream
        self._sd = library
        self._faults: tuple[type[Exception], ...] = (library.PortAudioError, ValueError)
        self._closer: threading.Thread | None = None

    def start(self) -> None:
        try:
            self._stream.start()
        except self._faults as fault:
            raise AudioError(
                f"the microphone {self._name} cannot be started: {_reason(fault)}",
                code="device_unavailable",
            ) from fault

    def close(self) -> None:
        # PortAudio may wait for ever for a device that is gone: it waits in a thread of its own.
        if self._closer is None:
            self._closer = threading.Thread(target=self._close, name="close mic", daemon=True)
            self._closer.start()
        self._closer.join(_CLOSING_S)
        if self._closer.is_alive():
            # Nor may the program wait for it when it ends: sounddevice would, at exit.
            handler: Callable[[], None] | None = getattr(self._sd, "_exit_handler", None)
            if handler is not None:
                atexit.unregister(handler)

    def _close(self) -> None:
        with contextlib.suppress(*self._faults):
            self._stream.abort(ignore_errors=True)
        with contextlib.suppress(*self._faults):
            self._stream.close(ignore_errors=True)


def _reason(fault: Exception) -> str:
    """Return PortAudio's own words: its errors are (what was tried: why [code])."""
    return str(fault.args[0]) if fault.args else str(fault)
