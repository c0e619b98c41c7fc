"""What one session of a soak was told, as far as it shows whether anything was lost; pure."""

from __future__ import annotations

import msgspec

__all__ = ["Ledger"]


class _Session(msgspec.Struct, frozen=True, gc=False):
    models: dict[str, str | None] = {}


class _Told(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    seq: int = 0
    item_id: str = ""
    kind: str = ""
    dropped: int = 0
    received_frames: int = 0
    session: _Session | None = None


class Ledger:
    """Follow a session's events over all of its connections, in little memory.

    ``last`` is the highest number of an event. ``speaking`` says whether an utterance is open,
    ``closed`` whether goodbye was said. ``received`` is where to send on, in frames, once the
    session has been resumed.
    """

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(_Told)
        self._missing = 0
        self._waiting: dict[str, set[str]] = {}
        self._wanted = {"emotion"}
        self.models: dict[str, str | None] = {}
        self.events = 0
        self.last = 0
        self.failed = 0
        self.left_out = 0
        self.speaking = False
        self.closed = False
        self.received: int | None = None

    @property
    def lost_events(self) -> int:
        """Return how many numbers are missing that nobody answers for."""
        return max(0, self._missing)

    @property
    def lost_finals(self) -> int:
        """Return how many utterances still lack a final."""
        return len(self._waiting)

    def take(self, message: bytes) -> None:
        """Take in an event; what is none that we know only counts."""
        try:
            told = self._decoder.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            told = _Told()
        self.events += 1
        if told.seq > self.last:
            self._missing += told.seq - self.last - 1
            self.last = told.seq
        match told.type:
            case "session.created" | "session.updated" if told.session is not None:
                self.models = told.session.models
                self._wanted = {"emotion"} | ({"words"} if self.models.get("asr") else set())
            case "input_audio_buffer.speech_started":
                self.speaking = True
            case "input_audio_buffer.speech_stopped":
                self.speaking = False
            case "input_audio_buffer.committed":
                self._waiting[told.item_id] = set(self._wanted)
            case "streamser.emotion.completed":
                self._answer(told.item_id, "emotion")
            case "conversation.item.input_audio_transcription.completed":
                self._answer(told.item_id, "words")
            case "conversation.item.input_audio_transcription.failed":
                self.failed += 1
                self._waiting.pop(told.item_id, None)
            case "streamser.overload" if told.kind == "deltas":
                # It has the number of the last event that it stands for.
                self._missing -= told.dropped - 1
                self.left_out += told.dropped
            case "streamser.session.resumed":
                self.received = told.received_frames
            case "streamser.session.closed":
                self.closed = True

    def _answer(self, item_id: str, what: str) -> None:
        waiting = self._waiting.get(item_id)
        if waiting is not None:
            waiting.discard(what)
            if not waiting:
                del self._waiting[item_id]
