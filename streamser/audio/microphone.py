"""Sound from a microphone: choose one, and record from it without losing count."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence

import numpy as np

from streamser.audio.clip import SAMPLE_RATE
from streamser.audio.portaudio import AudioBackend, InputDevice, InputStream, PortAudio
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError

__all__ = ["InputDevice", "MicrophoneSource", "find_input", "list_inputs", "pick_input"]

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
