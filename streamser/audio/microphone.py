"""Sound from a microphone: the devices of PortAudio, one chosen, recorded without losing count."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
import numpy as np

from streamser.audio.clip import SAMPLE_RATE
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError

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


_FIRST_BLOCK_S = 8.0
_NEXT_BLOCK_S = 3.0
# Windows' oldest host API (MME) cuts names to this length.
_SHORT_NAME = 31


def list_inputs() -> list[InputDevice]:
    """List the devices that can record; raise ``AudioError`` without PortAudio."""
    return PortAudio().inputs()


def find_input(spec: str | int | None = None) -> InputDevice:
    """Find a device among those of this machine; see ``pick_input``."""
    return pick_input(list_inputs(), spec)


def pick_input(devices: Sequence[InputDevice], spec: str | int | None) -> InputDevice:
    """Choose by index, exact name or part of ``"name, host API"``; ``None`` is the default device.

    Letter case does not matter. An exact name wins over parts of names. Where several host APIs
    offer the same device, the default device's host API wins. Raises ``AudioError`` that lists
    the devices, or those that match, where none or more than one is meant.
    """
    if not devices:
        raise AudioError(
            "no sound input was found: connect a microphone and see that the sound server runs",
            code="no_input_device",
        )
    default = next((device for device in devices if device.is_default), None)
    if spec is None:
        return default or devices[0]
    wanted = str(spec).strip().casefold()
    named = [device for device in devices if device.name.strip().casefold() == wanted]
    if not named and (isinstance(spec, int) or wanted.isdecimal()):
        named = [device for device in devices if device.index == int(wanted)]
    elif not named and wanted:
        named = [
            device for device in devices if wanted in f"{device.name}, {device.host_api}".casefold()
        ]
    if not named:
        raise AudioError(
            f"there is no input {str(spec)!r}; there are {_listed(devices)}", code="unknown_device"
        )
    if default is not None and len({device.name[:_SHORT_NAME] for device in named}) == 1:
        preferred = [device for device in named if device.host_api == default.host_api]
        named = preferred or named
    if len(named) > 1:
        raise AudioError(
            f"{str(spec)!r} may be any of {_listed(named)}: give the number", code="unknown_device"
        )
    return named[0]


class MicrophoneSource:
    """Record from a device until stopped.

    ``device`` is an index, a name or a part of it, ``None`` for the default. Two channels are
    recorded where there are two, so that a microphone on the right-hand input is heard as well,
    and no sound server mixes both into one; more where ``channel``, from 0, is beyond them. Opens
    at 16 kHz where the device can, else at its default rate. ``block_ms`` is the length of a
    block from the driver.

    Whole blocks wait in a queue of at most ``queue_ms``. A consumer later than that loses the
    newest blocks: they are counted in ``dropped`` (frames) and reported as one
    ``Gap(n, "dropped")`` at the place where they are missing. What the driver lost comes as
    ``Gap(0, "overflow")``: it does not say how much.

    Raises ``AudioError``: in the constructor where there is no PortAudio (``no_portaudio``) or
    no such device, or it cannot be opened; in ``chunks`` with the code ``device_lost``, after
    all that was heard, where the device ends by itself or sends nothing for 3 s (8 s before
    the first block: a Bluetooth headset takes its time).
    """

    def __init__(
        self,
        device: str | int | None = None,
        *,
        channel: int | None = None,
        block_ms: int = 20,
        queue_ms: int = 10_000,
        backend: AudioBackend | None = None,
    ) -> None:
        backend = backend or PortAudio()
        self.device = pick_input(backend.inputs(), device)
        there = self.device.channels
        if channel is not None and not 0 <= channel < there:
            valid = "its only channel is 0" if there == 1 else f"there are 0 to {there - 1}"
            raise AudioError(f"{self.device.name}: there is no channel {channel}: {valid}")
        self.name = self.device.name
        self.channels = max(min(2, there), 1 if channel is None else channel + 1)
        self.live = True
        self.duration: float | None = None
        self.dropped = 0
        self._limit = max(1, queue_ms // block_ms)
        self._lost_frames = 0
        self._overflowed = False
        self._stopped = False
        # SimpleQueue: its ends may be used in PortAudio's thread and in a signal handler.
        self._queue: queue.SimpleQueue[bytes | Gap | None] = queue.SimpleQueue()
        self.rate, self._stream = self._open(backend, block_ms)

    def chunks(self) -> Iterator[Frames | Gap]:
        """Yield blocks of float32 [frames, channels], and gaps where sound is missing."""
        if self._stopped:
            self._stream.close()
            return
        ending = "it was disconnected or its sound server ended"
        patience = _FIRST_BLOCK_S
        try:
            self._stream.start()
            while True:
                try:
                    item = self._queue.get(timeout=patience)
                except queue.Empty:
                    ending = f"it has sent no sound for {patience:.0f} s"
                    break
                if item is None:
                    break
                patience = _NEXT_BLOCK_S
                yield self._frames(item)
        finally:
            self._stream.close()
        # Closed: the callback adds nothing any more, so what it left behind is all there is.
        yield from map(self._frames, self._left_behind())
        if not self._stopped:
            raise AudioError(f"the microphone {self.name} was lost: {ending}", code="device_lost")

    def stop(self) -> None:
        """End the recording; ``chunks`` still yields what was heard before, then ends."""
        self._stopped = True
        self._queue.put(None)

    def _open(self, backend: AudioBackend, block_ms: int) -> tuple[int, InputStream]:
        refused: AudioError | None = None
        for rate in dict.fromkeys((SAMPLE_RATE, self.device.default_rate)):
            block = max(1, rate * block_ms // 1000)
            try:
                return rate, backend.open(
                    self.device, rate, self.channels, block, self._deliver, self._finished
                )
            except AudioError as fault:
                refused = fault
        assert refused is not None
        raise refused

    def _deliver(self, data: bytes, overflowed: bool) -> None:
        """Take a block, in PortAudio's thread: no lock, no wait, no array."""
        if self._stopped:
            return
        self._overflowed |= overflowed
        if self._queue.qsize() >= self._limit:
            frames = len(data) // (4 * self.channels)
            self._lost_frames += frames
            self.dropped += frames
            return
        for gap in self._missing():
            self._queue.put(gap)
        self._queue.put(data)

    def _finished(self) -> None:
        self._queue.put(None)

    def _missing(self) -> list[Gap]:
        gaps = []
        if self._lost_frames:
            gaps.append(Gap(self._lost_frames, "dropped"))
        if self._overflowed:
            gaps.append(Gap(0, "overflow"))
        self._lost_frames = 0
        self._overflowed = False
        return gaps

    def _left_behind(self) -> list[bytes | Gap]:
        left: list[bytes | Gap] = []
        while not self._queue.empty():
            if (item := self._queue.get()) is not None:
                left.append(item)
        return left + self._missing()

    def _frames(self, item: bytes | Gap) -> Frames | Gap:
        if isinstance(item, Gap):
            return item
        return np.frombuffer(item, dtype=np.float32).reshape(-1, self.channels)


def _listed(devices: Sequence[InputDevice]) -> str:
    return ", ".join(f"{device.index}: {device.name} ({device.host_api})" for device in devices)
