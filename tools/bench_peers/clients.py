"""The three servers' own protocols: what a client sends, and how it reads what comes; pure."""

from __future__ import annotations

import uuid
from typing import Final, Protocol

import msgspec

from tools.bench.streams.load_figures import Hangover
from tools.bench_peers.errors import BenchError
from tools.bench_peers.log import Read, StreamLog

__all__ = [
    "CLIENTS",
    "PeerClient",
    "StreamserClient",
    "WhisperLiveClient",
    "WhisperLiveKitClient",
]


class PeerClient(Protocol):
    """Speak a server's protocol for one stream; sound goes out as binary messages of PCM16."""

    path: str
    hello: tuple[str | bytes, ...]
    goodbye: str | bytes

    def ready(self, message: str | bytes) -> bool:
        """Say whether this message lets the stream begin; raises ``BenchError`` at a refusal."""
        ...

    def hear(self, at: float, message: str | bytes, log: StreamLog) -> bool:
        """Note a message in the log; return whether it was the last."""
        ...


class _Emotion(msgspec.Struct, frozen=True):
    class Window(msgspec.Struct, frozen=True):
        end_ms: int

    window: Window


class _Session(msgspec.Struct, frozen=True):
    class Models(msgspec.Struct, frozen=True):
        vad: str

    models: Models
    silence_ms: int


class _Event(msgspec.Struct, frozen=True):
    type: str = ""
    item_id: str = ""
    text: str = ""
    transcript: str = ""
    audio_end_ms: int = 0
    reason: str = ""
    session: _Session | None = None
    emotion: _Emotion | None = None
    error: dict[str, object] | None = None


class StreamserClient:
    """Speak to `/v1/realtime` of ``streamser serve``."""

    path = "/v1/realtime?intent=transcription&rate=16000&encoding=s16le"
    hello: tuple[str | bytes, ...] = ()
    goodbye: str | bytes = '{"type":"streamser.finish"}'

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Event)
        self._texts: dict[str, str] = {}
        self._finals: set[str] = set()
        self._stops: dict[str, tuple[int, str]] = {}
        self._hangover = Hangover(silence_ms=0, heard_ms=0, tail_ms=0)

    def ready(self, message: str | bytes) -> bool:
        """Take ``session.created``, which also says how long the silence at the end is."""
        event = self._decoder.decode(message)
        if event.error is not None:
            raise BenchError(f"streamser refused the stream: {event.error.get('message')}")
        if event.session is None:
            return False
        self._hangover = Hangover.of(event.session.models.vad, event.session.silence_ms)
        return True

    def hear(self, at: float, message: str | bytes, log: StreamLog) -> bool:
        """Note partials, transcripts, readings; the session's goodbye is the last."""
        event = self._decoder.decode(message)
        match event.type:
            case "streamser.transcript.partial":
                if event.item_id not in self._finals:
                    self._texts[event.item_id] = event.text
                    self._show(at, log)
            case "conversation.item.input_audio_transcription.completed":
                self._texts[event.item_id] = event.transcript
                self._finals.add(event.item_id)
                self._show(at, log)
            case "input_audio_buffer.speech_started":
                self._texts.setdefault(event.item_id, "")
            case "input_audio_buffer.speech_stopped":
                self._stops[event.item_id] = (event.audio_end_ms, event.reason)
            case "streamser.emotion.delta" if event.emotion is not None:
                end_s = event.emotion.window.end_ms / 1000
                log.readings.append(Read(at, at - log.began - end_s, final=False))
            case "streamser.emotion.completed":
                self._read(at, event.item_id, log)
        return event.type == "streamser.session.closed"

    def _read(self, at: float, item: str, log: StreamLog) -> None:
        end_ms, reason = self._stops.get(item, (0, ""))
        lag = at - log.began - (end_ms - self._hangover.tail_ms) / 1000
        beyond = lag - self._hangover.heard_ms / 1000 if reason == "pause" else None
        log.readings.append(Read(at, lag, final=True, beyond_s=beyond))

    def _show(self, at: float, log: StreamLog) -> None:
        settled: list[str] = []
        rest: list[str] = []
        # What stands behind an utterance that is still open may yet move.
        for item, text in self._texts.items():
            (rest if rest or item not in self._finals else settled).append(text)
        log.show(at, " ".join(settled), " ".join(rest))


class _Segment(msgspec.Struct, frozen=True):
    text: str
    start: str
    end: str
    completed: bool = False


class _Whisper(msgspec.Struct, frozen=True):
    message: str | float | None = None
    status: str | None = None
    segments: tuple[_Segment, ...] = ()


class WhisperLiveClient:
    """Speak to WhisperLive with the defaults of its own client, but PCM16 for float32."""

    path = "/"
    goodbye: str | bytes = b"END_OF_AUDIO"

    def __init__(self) -> None:
        self.hello: tuple[str | bytes, ...] = (
            msgspec.json.encode(
                {
                    "uid": str(uuid.uuid4()),
                    "language": "en",
                    "task": "transcribe",
                    "model": "tiny.en",
                    "use_vad": True,
                    "send_last_n_segments": 10,
                    "no_speech_thresh": 0.45,
                    "clip_audio": False,
                    "same_output_threshold": 10,
                    "audio_format": "int16",
                }
            ).decode(),
        )
        self._decoder = msgspec.json.Decoder(_Whisper)
        self._done: list[_Segment] = []
        self._open = ""

    def ready(self, message: str | bytes) -> bool:
        """Take ``SERVER_READY``, which comes once the model is loaded."""
        told = self._decoder.decode(message)
        if told.status in ("WAIT", "ERROR"):
            raise BenchError(f"WhisperLive refused the stream: {told.status} {told.message}")
        return told.message == "SERVER_READY"

    def hear(self, at: float, message: str | bytes, log: StreamLog) -> bool:
        """Keep text as its own client does.

        Completed segments are those that begin after the last one; an open segment is shown until
        another, or a completed one, takes its place: it may be missing for a while.
        """
        told = self._decoder.decode(message)
        for segment in told.segments:
            if not segment.completed:
                self._open = segment.text
            elif not self._done or float(segment.start) >= float(self._done[-1].end):
                self._done.append(segment)
                self._open = ""
        if told.segments:
            log.show(at, " ".join(each.text for each in self._done), self._open)
        # It says nothing at the end: the connection closes.
        return False


class _Line(msgspec.Struct, frozen=True):
    text: str | None = None


class _Front(msgspec.Struct, frozen=True):
    type: str = ""
    error: str = ""
    lines: tuple[_Line, ...] | None = None
    buffer_transcription: str = ""


class WhisperLiveKitClient:
    """Speak to `/asr` of WhisperLiveKit, which tells the whole text each time."""

    path = "/asr"
    hello: tuple[str | bytes, ...] = ()
    goodbye: str | bytes = b""

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Front)

    def ready(self, message: str | bytes) -> bool:
        """Take ``config``, its first message."""
        told = self._decoder.decode(message)
        if told.error:
            raise BenchError(f"WhisperLiveKit refused the stream: {told.error}")
        return told.type == "config"

    def hear(self, at: float, message: str | bytes, log: StreamLog) -> bool:
        """Note its lines, and behind them what it has not confirmed."""
        told = self._decoder.decode(message)
        if told.lines is not None:
            settled = " ".join(line.text for line in told.lines if line.text)
            log.show(at, settled, told.buffer_transcription)
        return told.type == "ready_to_stop"


CLIENTS: Final[dict[str, type[StreamserClient | WhisperLiveClient | WhisperLiveKitClient]]] = {
    "streamser": StreamserClient,
    "whisperlive": WhisperLiveClient,
    "whisperlivekit": WhisperLiveKitClient,
}
