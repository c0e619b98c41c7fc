from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

from streamser.audio import microphone
from streamser.audio.microphone import (
    InputDevice,
    InputStream,
    MicrophoneSource,
    list_inputs,
    pick_input,
)
from streamser.audio.source import Frames, Gap
from streamser.errors import AudioError
from tests.audio.sounds import heard


def device(
    index: int, name: str, *, api: str = "ALSA", channels: int = 1, default: bool = False
) -> InputDevice:
    """Describe a device that does not exist."""
    return InputDevice(index, name, api, channels, 48_000, default)


DEVICES = [
    device(0, "HDA Intel PCH: ALC257 Analog", channels=2),
    device(2, "USB Microphone"),
    device(3, "USB Microphone Pro", default=True),
    device(7, "Blue Yeti"),
]


class FakeStream:
    """Play the part of a device: say what to call back with, step by step."""

    def __init__(self, deliver: Callable[[bytes, bool], None], finished: Callable[[], None]):
        self.deliver = deliver
        self.finished = finished
        self.on_start: Callable[[], None] = lambda: None
        self.on_close: Callable[[], None] = lambda: None
        self.closed = 0

    def start(self) -> None:
        self.on_start()

    def close(self) -> None:
        self.closed += 1
        if self.closed == 1:
            self.on_close()

    def say(self, *values: float, frames: int = 320, overflow: bool = False) -> None:
        """Deliver one block per value, filled with it."""
        for value in values:
            self.deliver(np.full(frames, value, dtype=np.float32).tobytes(), overflow)


class FakeBackend:
    """Open fake streams at the rates that it knows."""

    def __init__(
        self, devices: list[InputDevice] | None = None, rates: tuple[int, ...] = (16_000,)
    ):
        self.devices = DEVICES if devices is None else devices
        self.rates = rates
        self.asked: list[tuple[int, int, int, int]] = []

    def inputs(self) -> list[InputDevice]:
        return self.devices

    def open(
        self,
        device: InputDevice,
        rate: int,
        channels: int,
        block: int,
        deliver: Callable[[bytes, bool], None],
        finished: Callable[[], None],
    ) -> InputStream:
        self.asked.append((device.index, rate, channels, block))
        if rate not in self.rates:
            raise AudioError(f"cannot be opened at {rate} Hz")
        self.stream = FakeStream(deliver, finished)
        return self.stream


def blocks(chunks: list[Frames | Gap]) -> list[float | Gap]:
    """Show each block by its value and each gap as it is."""
    return [chunk if isinstance(chunk, Gap) else float(chunk[0, 0]) for chunk in chunks]


def collect(source: MicrophoneSource) -> tuple[list[float | Gap], AudioError | None]:
    """Take all that a source yields, and what it raises at its end."""
    chunks: list[Frames | Gap] = []
    try:
        for chunk in source.chunks():
            chunks.append(chunk)  # noqa: PERF402  (list() would lose them when it raises)
    except AudioError as error:
        return blocks(chunks), error
    return blocks(chunks), None


@pytest.mark.parametrize(
    ("spec", "index"),
    [
        (None, 3),
        (2, 2),
        ("2", 2),
        (" 7 ", 7),
        ("blue", 7),
        ("ANALOG", 0),
        ("usb microphone", 2),
        ("Pro", 3),
    ],
)
def test_input_is_picked_by_number_name_or_part_of_a_name(
    spec: str | int | None, index: int
) -> None:
    """None is the default; letter case does not matter; an exact name wins over parts."""
    assert pick_input(DEVICES, spec).index == index


@pytest.mark.parametrize("spec", ["headset", 1, "99", -1, "--2", ""])
def test_unknown_input_lists_those_there_are(spec: str | int) -> None:
    """The error has the number and name of every device that could be given instead."""
    with pytest.raises(AudioError, match="there is no input") as caught:
        pick_input(DEVICES, spec)
    assert all(f"{one.index}: {one.name}" in str(caught.value) for one in DEVICES)
    assert caught.value.code == "unknown_device"


def test_ambiguous_input_lists_the_matches_only() -> None:
    """A part of two names is not guessed at."""
    with pytest.raises(AudioError, match="give the number") as caught:
        pick_input(DEVICES, "usb")
    assert "2: USB Microphone (ALSA)" in str(caught.value)
    assert "3: USB Microphone Pro (ALSA)" in str(caught.value)
    assert "Yeti" not in str(caught.value)


def test_one_device_behind_several_host_apis_is_one_device() -> None:
    """Windows lists a microphone once per host API; the default's host API is taken."""
    name = "Microphone (Realtek High Definition Audio)"
    windows = [
        device(0, name[:31], api="MME", default=True),
        device(5, name, api="Windows DirectSound"),
        device(9, name, api="Windows WASAPI"),
    ]
    assert pick_input(windows, "realtek").index == 0
    assert pick_input(windows, "audio), windows wasapi").index == 9


def test_no_inputs_at_all_says_what_to_do() -> None:
    """A machine without a microphone gets advice instead of an empty list."""
    with pytest.raises(AudioError, match="connect a microphone") as caught:
        pick_input([], None)
    assert caught.value.code == "no_input_device"


def test_source_opens_at_16_khz_where_it_can() -> None:
    """The device's own converter is used if there is one, with 20 ms blocks."""
    backend = FakeBackend()
    source = MicrophoneSource("yeti", backend=backend)
    assert backend.asked == [(7, 16_000, 1, 320)]
    assert (source.name, source.rate, source.channels) == ("Blue Yeti", 16_000, 1)
    assert (source.live, source.duration) == (True, None)


def test_source_falls_back_to_the_default_rate() -> None:
    """A device that refuses 16 kHz is opened at its own rate."""
    backend = FakeBackend(rates=(48_000,))
    source = MicrophoneSource(backend=backend)
    assert [rate for _, rate, _, _ in backend.asked] == [16_000, 48_000]
    assert source.rate == 48_000


def test_device_that_cannot_be_opened_is_an_error() -> None:
    """The last refusal is what the user sees."""
    with pytest.raises(AudioError, match="cannot be opened at 48000 Hz"):
        MicrophoneSource(backend=FakeBackend(rates=()))


@pytest.mark.parametrize("channel", [None, 0, 1])
def test_two_channels_are_recorded_where_there_are_two(channel: int | None) -> None:
    """Also for the first alone: of one, sound servers make a mix of both."""
    assert MicrophoneSource(0, channel=channel, backend=FakeBackend()).channels == 2


@pytest.mark.parametrize("channel", [-1, 2])
def test_a_channel_that_is_not_there_is_an_error(channel: int) -> None:
    """The error says which the device has, counted as they are asked for."""
    with pytest.raises(AudioError, match=f"ALC257.*no channel {channel}: there are 0 to 1"):
        MicrophoneSource(0, channel=channel, backend=FakeBackend())
    with pytest.raises(AudioError, match="its only channel is 0"):
        MicrophoneSource("yeti", channel=1, backend=FakeBackend())


def test_blocks_keep_their_channels_apart() -> None:
    """Interleaved floats come out as [frames, channels]; a block of no frames is harmless."""
    backend = FakeBackend()
    source = MicrophoneSource(0, backend=backend)
    backend.stream.deliver(np.arange(8, dtype=np.float32).tobytes(), False)
    backend.stream.deliver(b"", False)
    backend.stream.finished()
    chunks = source.chunks()
    first = next(chunks)
    assert not isinstance(first, Gap)
    assert first.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    second = next(chunks)
    assert not isinstance(second, Gap)
    assert second.shape == (0, 2)


def test_slow_consumer_gets_a_gap_where_the_sound_is_missing() -> None:
    """Whole blocks are dropped at the full queue's end, counted, and reported in their place."""
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend, queue_ms=60)
    backend.stream.say(1, 2, 3, 4, 5)
    chunks = source.chunks()
    got = [next(chunks) for _ in range(3)]
    backend.stream.say(6, 7)
    source.stop()
    got += list(chunks)
    assert blocks(got) == [1, 2, 3, Gap(640, "dropped"), 6, 7]
    assert source.dropped == 640


def test_every_frame_is_either_heard_or_in_a_gap() -> None:
    """Whatever the consumer's pace, sound and gaps add up to what was delivered."""
    rng = np.random.default_rng(0)
    for queue_ms in (20, 60, 200):
        backend = FakeBackend()
        source = MicrophoneSource(backend=backend, queue_ms=queue_ms)
        backend.stream.on_start = lambda stream=backend.stream: stream.say(0)  # type: ignore[misc]
        chunks, got, said = source.chunks(), [], 1
        for _ in range(200):
            got.append(next(chunks))
            burst = int(rng.integers(1, 5))
            backend.stream.say(*range(said, said + burst))
            said += burst
        source.stop()
        got += list(chunks)
        at = 0
        for chunk in got:
            if isinstance(chunk, Gap):
                at += chunk.frames // 320
            else:
                assert float(chunk[0, 0]) == at
                at += 1
        assert at == said
        assert source.dropped > 0


def test_gap_at_the_very_end_is_reported() -> None:
    """Blocks dropped just before the stop are not forgotten."""
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend, queue_ms=40)
    backend.stream.say(1, 2, 3)
    source.stop()
    assert collect(source) == ([], None)
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend, queue_ms=40)

    def start() -> None:
        backend.stream.say(1, 2, 3)
        source.stop()

    backend.stream.on_start = start
    assert collect(source) == ([1, 2, Gap(320, "dropped")], None)


def test_overflow_of_the_driver_is_a_gap_of_unknown_length() -> None:
    """PortAudio flags the first block after a loss: the gap comes before that block."""
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend)
    backend.stream.say(1)
    backend.stream.say(2, overflow=True)
    backend.stream.say(3)
    backend.stream.finished()
    got, _ = collect(source)
    assert got == [1, Gap(0, "overflow"), 2, 3]


def test_lost_device_is_an_error_after_what_was_heard() -> None:
    """A stream that ends by itself raises device_lost and is closed."""
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend)
    backend.stream.say(1, 2)
    backend.stream.finished()
    got, error = collect(source)
    assert got == [1, 2]
    assert error is not None
    assert error.code == "device_lost"
    assert "USB Microphone Pro" in str(error)
    assert backend.stream.closed


def test_device_that_falls_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """No block for the time of patience, shorter here, is the same as a lost device."""
    monkeypatch.setattr(microphone, "_NEXT_BLOCK_S", 0.05)
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend)
    backend.stream.say(1)
    got, error = collect(source)
    assert got == [1]
    assert error is not None
    assert error.code == "device_lost"
    assert "sent no sound" in str(error)


def test_stop_from_another_thread_ends_a_waiting_source() -> None:
    """Stopping, twice, wakes the consumer; what was heard is yielded; the stream is closed."""
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend)
    started = threading.Event()
    backend.stream.on_start = started.set
    got: list[Frames | Gap] = []
    thread = threading.Thread(target=lambda: got.extend(source.chunks()))
    thread.start()
    assert started.wait(timeout=60)
    backend.stream.say(1, 2)
    source.stop()
    source.stop()
    thread.join(timeout=60)
    assert not thread.is_alive()
    assert blocks(got) == [1, 2]
    assert backend.stream.closed


def test_sound_queued_when_stopped_is_still_heard_and_later_sound_is_not() -> None:
    """A backlog is yielded to its end; what is said after the stop is nobody's business."""
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend)
    backend.stream.say(1, 2, 3)
    chunks = source.chunks()
    first = next(chunks)
    source.stop()
    backend.stream.say(4)
    assert blocks([first, *chunks]) == [1, 2, 3]


def test_block_that_arrives_while_closing_is_not_lost() -> None:
    """A callback already under way when the device ends still has its block yielded."""
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend)
    backend.stream.say(1)
    backend.stream.finished()
    backend.stream.on_close = lambda: backend.stream.say(2)
    got, error = collect(source)
    assert got == [1, 2]
    assert error is not None


def test_abandoned_iterator_closes_the_device() -> None:
    """A consumer that walks away in the middle leaves no open microphone."""
    backend = FakeBackend()
    source = MicrophoneSource(backend=backend)
    backend.stream.say(1, 2)
    chunks = source.chunks()
    assert len(heard([next(chunks)])) == 320
    chunks.close()  # type: ignore[attr-defined]
    assert backend.stream.closed


def test_missing_portaudio_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The OSError of the import becomes one line for every system."""
    real = builtins.__import__

    def broken(name: str, *rest: object, **more: object) -> object:
        if name == "sounddevice":
            raise OSError("PortAudio library not found")
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(AudioError) as caught:
        list_inputs()
    assert caught.value.code == "no_portaudio"
    for word in ("apt install libportaudio2", "dnf install", "brew install", "Windows"):
        assert word in str(caught.value)
