"""From a session's sound to what begins and ends in it, however that is set up; pure."""

from __future__ import annotations

import msgspec

from streamser.audio.clip import Ring, Samples
from streamser.pipeline.session_config import SessionConfig, reach_of
from streamser.speech.endpointing import EndpointerSettings, EndpointEvent
from streamser.speech.turns import (
    Commit,
    ManualTurnDetector,
    TurnDetector,
    TurnState,
    VadTurnDetector,
)
from streamser.speech.vad import Vad


class Detection(msgspec.Struct, frozen=True):
    """Say how utterances are found."""

    endpointing: EndpointerSettings
    manual: bool

    @classmethod
    def of(cls, config: SessionConfig) -> Detection:
        """Return how a session that is set up so finds them."""
        return cls(config.endpointing, config.manual)


class Hearing:
    """Find the utterances of one session, and keep the sound they are of in ``ring``."""

    def __init__(self, config: SessionConfig, vad: Vad) -> None:
        self._vad = vad
        self._detection = Detection.of(config)
        self._next: Detection | None = None
        self.ring = Ring(self._reach())
        self._turns = self._detector()

    @property
    def position(self) -> int:
        """Return how many samples have been heard."""
        return self._turns.heard

    @property
    def idle(self) -> bool:
        """Return whether no utterance is open and none has begun to."""
        return self._turns.idle

    @property
    def window(self) -> int:
        """Return how many samples of speech each ``Extended`` stands for."""
        return self._turns.window

    def configure(self, config: SessionConfig) -> None:
        """Find utterances in another way from the next pause on."""
        wanted = Detection.of(config)
        # A change that is taken back before it came into force is none.
        self._next = None if wanted == self._detection else wanted
        self.change()

    def change(self) -> bool:
        """Let the other way come into force, if one was asked for and nobody speaks."""
        if self._next is None or not self._turns.idle:
            return False
        self._detection, self._next = self._next, None
        self._turns.release()
        self.ring = self.ring.resized(self._reach())
        self._turns = self._detector()
        return True

    def detect(self, samples: Samples) -> tuple[int, list[EndpointEvent]]:
        """Hear from the beginning of ``samples``; return how many, and what they change."""
        return self._turns.detect(samples)

    def commit(self, reason: Commit = "commit") -> list[EndpointEvent]:
        """Close what is open here; nothing comes where there is nothing to close."""
        return self._turns.commit(reason)

    def clear(self) -> None:
        """Throw away what is open."""
        self._turns.clear()

    def flush(self) -> list[EndpointEvent]:
        """Close what is open because the sound ends here."""
        return self._turns.flush()

    def snapshot(self) -> HearingState:
        """Return where it is; see ``TurnDetector.snapshot``."""
        return HearingState(self._detection, self._next, self._turns.snapshot())

    def restore(self, state: HearingState, sound: Samples) -> None:
        """Go on from where another was; ``sound`` is what it needs, up to its position."""
        self._detection, self._next = state.detection, state.next
        self.ring = Ring(self._reach(), state.turns.position - len(sound))
        self.ring.append(sound)
        self._turns = self._detector()
        self._turns.restore(state.turns)

    def _reach(self) -> int:
        return reach_of(self._detection.endpointing, self._vad.window)

    def _detector(self) -> TurnDetector:
        settings = self._detection.endpointing
        if self._detection.manual:
            return ManualTurnDetector(self.ring, settings.max_length, self._vad.window)
        self._vad.reset()
        return VadTurnDetector(self.ring, self._vad, settings)


class HearingState(msgspec.Struct, frozen=True):
    """Hold where a session's hearing is: how it finds utterances, and will, and its detector's."""

    detection: Detection
    next: Detection | None
    turns: TurnState
