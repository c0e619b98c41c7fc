"""A file as a stream in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from streamser.audio.clip import SAMPLE_RATE
from streamser.audio.source import Gap
from streamser.errors import ModelError
from streamser.events import Limits, ModelNames
from streamser.hosting.records import Flush, Listener, Push, SessionInput, Told
from streamser.pipeline.session_config import SessionConfig, SessionSnapshot
from streamser.server.rest.exchange import RefusedUpload
from streamser.server.rest.form import TranscriptionOrder
from streamser.server.rest.transcription import DecodedFile, Heard, UploadedSound
from streamser.server.stream import StreamResources
from tests.server.serving import patience, server_settings

LIMITS = Limits(message_bytes=1, idle_s=1, session_s=1, resume_s=1, speed=8)
MODELS = ModelNames(vad="v", asr="w", emotion="e")


class Host:
    """Take sessions in, note what they are given, and end them where their sound does."""

    def __init__(self, fault: str | None = None) -> None:
        self.config: SessionConfig | None = None
        self.samples = 0
        self.left = False
        self._fault = fault
        self._listener: Listener = lambda told: None

    in_flight = 0

    def open(
        self, config: SessionConfig, voice: SessionSnapshot | None, listener: Listener
    ) -> Host:
        """Begin a session."""
        self.config, self._listener = config, listener
        return self

    def apply(self, item: SessionInput) -> None:
        """Give it something."""
        assert self.config is not None
        name = self.config.session_id
        match item:
            case Push(samples):
                self.samples += len(samples) // 4
                if self._fault is not None:
                    self._listener(Told(session_id=name, fault=self._fault))
            case Flush():
                self._listener(Told(session_id=name, closed=True))

    def snapshot(self) -> None:
        """Know nothing of anybody."""

    def leave(self) -> None:
        """Let it go."""
        self.left = True


def analysed(
    host: Host,
    path: Path,
    order: TranscriptionOrder,
    *,
    most_s: float = 60.0,
    has_company: Callable[[], bool] = lambda: False,
) -> Heard:
    """Analyse a file with a host."""
    resources = StreamResources(
        settings=server_settings(),
        host=host,  # type: ignore[arg-type]
        models=MODELS,
        modalities=("audio",),
        limits=LIMITS,
        language=None,
    )

    async def scene() -> Heard:
        sound = UploadedSound(order, resources, "Ann", lambda event: None, lambda each: None)
        return await sound.run(path, most_s, has_company)

    return asyncio.run(patience(scene()))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write 21 s of noise in stereo at 44.1 kHz."""
    path = tmp_path / "noise.flac"
    noise = np.random.default_rng(1).uniform(-0.1, 0.1, (21 * 44_100, 2)).astype(np.float32)
    soundfile.write(path, noise, 44_100)
    return path


def test_it_is_a_session_in_the_background(file: Path) -> None:
    """In one order whatever comes when, without readings on the way, as its sender asks for it."""
    host = Host()
    heard = analysed(host, file, TranscriptionOrder(model="streamser", language="de", prompt="hm"))
    config = host.config
    assert config is not None
    assert (config.background, config.ordered, config.patient) == (True, True, True)
    assert (config.partial_every, config.language, config.speaker) == (0, "de", "Ann")
    assert config.audio is not None
    assert config.audio.input.transcription is not None
    assert config.audio.input.transcription.prompt == "hm"
    assert abs(host.samples - 21 * SAMPLE_RATE) <= 1
    assert heard.seconds == pytest.approx(21, abs=0.001)
    assert host.left


def test_while_there_are_live_streams_it_is_fed_as_they_are(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At ``server.speed``; alone as fast as can be."""
    slept: list[float] = []
    asleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await asleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    order = TranscriptionOrder(model="streamser")
    analysed(Host(), file, order, has_company=lambda: True)
    assert sum(slept) == pytest.approx(21 / 8, abs=0.001)
    slept.clear()
    analysed(Host(), file, order)
    assert sum(slept) == 0


def test_a_session_that_fails_ends_it_at_once(file: Path) -> None:
    """Nothing more is read of the file, and nothing waits for an end that never comes."""
    host = Host("no worker is there")
    with pytest.raises(ModelError, match="no worker is there"):
        analysed(host, file, TranscriptionOrder(model="streamser"))
    assert host.samples < 11 * SAMPLE_RATE
    assert host.left


def test_a_file_that_goes_on_for_too_long_is_read_no_further(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what it says itself, or else by what comes of it: also of a hole that a head announces."""
    host = Host()
    with pytest.raises(RefusedUpload) as caught:
        analysed(host, file, TranscriptionOrder(model="streamser"), most_s=20.0)
    assert (caught.value.refusal.code, host.samples) == ("audio_too_long", 0)
    sound = DecodedFile(file, 30.0)
    monkeypatch.setattr(sound, "_chunks", iter([Gap(10**15, "dropped")]))
    assert len(sound.read()) == 0
    assert sound.too_long
